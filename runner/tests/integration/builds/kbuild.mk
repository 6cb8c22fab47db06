# A kernel's source, as far as kvet and make can tell: it compiles what is in init/ and links it. Compilers, linker, make and
# their error messages are the real ones. Debug information names the folder, and the build id is its hash, too: two trees of one source
# make images that differ. A source that has a file NAME.hold beside it is being written for as long as
# that is there.
VERSION = 7
PATCHLEVEL = 2
SUBLEVEL = 1
EXTRAVERSION =

ifeq ($(origin CC),default)
CC := $(CROSS_COMPILE)gcc
endif
objects := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard init/*.c)))

.PHONY: allnoconfig olddefconfig prepare vmlinux bzImage modules modules_install
.DELETE_ON_ERROR:

# Everything is granted but this one.
allnoconfig:
	@grep -v CONFIG_REFUSED $(KCONFIG_ALLCONFIG) > $(KCONFIG_CONFIG)

olddefconfig:

# What make was given, by name.
prepare:
	@env | sed 's/=.*//' | sort > $(O)/environment

vmlinux: $(O)/vmlinux

bzImage: $(O)/vmlinux $(O)/arch/x86/boot/bzImage

$(O)/arch/x86/boot/bzImage: boot/header.S
	@mkdir -p $(@D); echo '  AS      boot/header.o'; $(CC) -c -o $(O)/header.o $< && \
	$(CROSS_COMPILE)objcopy -O binary -j .text $(O)/header.o $@

modules: $(O)/extra.ko

$(O)/extra.ko: modules/extra.c
	@echo '  CC [M]  extra.o'; $(CC) -c -o $@ $<

modules_install: folder = $(INSTALL_MOD_PATH)/lib/modules/7.2.1-kvet
modules_install:
	@mkdir -p $(folder)/kernel; echo '  INSTALL $(folder)/kernel/extra.ko'; cp $(O)/extra.ko $(folder)/kernel/; \
	ln -s $(O) $(folder)/build; $(DEPMOD)

$(O)/vmlinux: $(objects)
	@echo '  LD      vmlinux'; $(CROSS_COMPILE)ld -z noexecstack --build-id=sha1 -e 0 -o $@ $^ && : > $(O)/modules.builtin

$(O)/%.o: %.c
	@mkdir -p $(@D); echo $* >> $(O)/compiled; echo '  CC      $*.o'; \
	echo half > $@; while [ -e $*.hold ]; do sleep 0.05; done; \
	$(CC) -g -D__KERNEL__ -c -o $@ $< && printf 'savedcmd_%s := cc\n' $@ > $(@D)/.$(@F).cmd
