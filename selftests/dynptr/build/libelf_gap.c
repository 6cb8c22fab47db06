// SPDX-License-Identifier: GPL-2.0-only
/*
 * elfutils 0.191 and 0.192 (Debian 13) left two functions out of libelf.a, which opening and closing an object
 * calls: https://sourceware.org/bugzilla/show_bug.cgi?id=32293. They prepare and clear a tree that only
 * elf_getdata_rawchunk() ever fills, which libbpf does not use; the memory is zeroed beforehand. Weak, so that the
 * real ones come first where both are linked.
 */
void eu_search_tree_init(void *tree);
void eu_search_tree_fini(void *tree, void (*release)(void *));

__attribute__((weak)) void eu_search_tree_init(void *tree)
{
	(void)tree;
}

__attribute__((weak)) void eu_search_tree_fini(void *tree, void (*release)(void *))
{
	(void)tree;
	(void)release;
}
