/* The setup header of a compressed image, as far as anybody looks (Documentation/arch/x86/boot.rst). */
	.org 0x1fe
	.word 0xaa55
	.org 0x202
	.ascii "HdrS"
	.word 0x20f
	.org 0x20e
	.word 0x100		/* the version text, less 0x200 */
	.org 0x236
	.word 1			/* 64 bits */
	.org 0x300
	.asciz "7.2.1-kvet (kvet@kvet) #1"
