/* SPDX-License-Identifier: GPL-2.0-only */
/* What the kernel reads about files, control groups and sockets into a dynptr. */
#ifndef KVET_DYNPTR_XATTR_H
#define KVET_DYNPTR_XATTR_H

#include "harness.h"

extern int bpf_get_file_xattr(struct file *file, const char *name__str, struct bpf_dynptr *value) __ksym __weak;
extern int bpf_get_dentry_xattr(struct dentry *dentry, const char *name__str, struct bpf_dynptr *value) __ksym __weak;
extern int bpf_set_dentry_xattr(struct dentry *dentry, const char *name__str, const struct bpf_dynptr *value,
				int flags) __ksym __weak;
extern int bpf_remove_dentry_xattr(struct dentry *dentry, const char *name__str) __ksym __weak;
extern int bpf_get_fsverity_digest(struct file *file, struct bpf_dynptr *digest) __ksym __weak;
extern int bpf_cgroup_read_xattr(struct cgroup *cgroup, const char *name__str, struct bpf_dynptr *value) __ksym __weak;
extern int bpf_sock_read_xattr(struct socket *socket, const char *name__str, struct bpf_dynptr *value) __ksym __weak;
extern struct cgroup *bpf_cgroup_from_id(__u64 id) __ksym __weak;
extern void bpf_cgroup_release(struct cgroup *cgroup) __ksym __weak;

/* Errors that <linux/errno.h> names only for programs on the same architecture. */
#define ENODATA 61
#define EOVERFLOW 75

static __always_inline bool is(const __u8 *bytes, const char *text, int length)
{
	for (int i = 0; i < length; i++)
		if (bytes[i] != (__u8)text[i])
			return false;
	return true;
}

/* Value 0 as `ptr`, its first four bytes as `small`, and `null`. */
#define VALUES()                                                             \
	struct bpf_dynptr small, null;                                       \
	LOCAL_DYNPTR(ptr, mem);                                              \
	EXPECT_EQ(bpf_dynptr_size(&ptr), VALUE_BYTES);                       \
	EXPECT_EQ(bpf_dynptr_from_mem(mem, 4, 0, &small), 0);                \
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &null), -EINVAL)

#endif
