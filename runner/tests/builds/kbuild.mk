# A kernel's source, as far as kvet and make can tell: it compiles what is in init/ and links it. Compilers, linker, make and
# their error messages are the real ones. A source that has a file NAME.hold beside it is being written for as long as
# that is there.
VERSION = 7
PATCHLEVEL = 2
SUBLEVEL = 1
EXTRAVERSION =

ifeq ($(origin CC),default)
CC := $(CROSS_COMPILE)gcc
endif
objects := $(patsubst %.c,$(O)/%.o,$(sort $(wildcard init/*.c)))

.PHONY: allnoconfig olddefconfig prepare vmlinux
.DELETE_ON_ERROR:

# Everything is granted but this one.
allnoconfig:
	@grep -v CONFIG_REFUSED $(KCONFIG_ALLCONFIG) > $(KCONFIG_CONFIG)

olddefconfig prepare:

vmlinux: $(O)/vmlinux

$(O)/vmlinux: $(objects)
	@echo '  LD      vmlinux'; $(CROSS_COMPILE)ld -z noexecstack -e 0 -o $@ $^ && : > $(O)/modules.builtin

$(O)/%.o: %.c
	@mkdir -p $(@D); echo $* >> $(O)/compiled; echo '  CC      $*.o'; \
	echo half > $@; while [ -e $*.hold ]; do sleep 0.05; done; \
	$(CC) -D__KERNEL__ -c -o $@ $< && printf 'savedcmd_%s := cc\n' $@ > $(@D)/.$(@F).cmd
