/* What tells a module: its name and the kernel that it is for. */
const char modinfo[] __attribute__((used, section(".modinfo"))) = "name=extra\0vermagic=7.2.1-kvet SMP";
