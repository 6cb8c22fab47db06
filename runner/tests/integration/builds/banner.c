/* What tells a kernel that QEMU can enter: its banner, and Xen's note about a PVH entry (type 18). */
const char linux_banner[] __attribute__((used)) = "Linux version 7.2.1-kvet (kvet@kvet) #1\n";
__asm__(".pushsection .note.Xen, \"a\", @note\n"
	".long 4, 4, 18\n.asciz \"Xen\"\n.long 0x100000\n"
	".popsection");
