// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dynptrs over files, and what the kernel reads about files, control groups and sockets into a dynptr.
 * src/trigger/file.rs and socket.rs make them: byte i of the file is i, "user.kvet" is an attribute of each.
 */
#include "xattr.h"

#include <bpf/bpf_tracing.h>

#define FILE_BYTES 10000
/* Where offsets do not fit in 32 bits any more. */
#define FAR (1ULL << 32)

extern int bpf_dynptr_from_file(struct file *file, __u32 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern int bpf_dynptr_file_discard(struct bpf_dynptr *ptr) __ksym __weak;

/* What is common to all functions that read an attribute. */
#define TEST_XATTR(get, of, text)                                            \
	do {                                                                 \
		const int length = sizeof(text) - 1;                         \
		EXPECT_EQ(get(of, "user.kvet", &small), -ERANGE);            \
		EXPECT_EQ(get(of, "user.kvet", &null), -EINVAL);             \
		EXPECT_EQ(get(of, "user.nothing", &ptr), -ENODATA);          \
		EXPECT_EQ(get(of, "trusted.kvet", &ptr), -EPERM);            \
		EXPECT_EQ(mem->bytes[0], 0);                                 \
		EXPECT_EQ(get(of, "user.kvet", &ptr), length);               \
		EXPECT_TRUE(is(mem->bytes, text, length));                   \
		EXPECT_EQ(mem->bytes[length], 0);                            \
	} while (0)

SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr, struct file *file)
{
	VALUES();

	TEST_XATTR(bpf_get_file_xattr, file, "value of kvet");
	return done();
}

/* At an offset, and no further than the dynptr goes. */
SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr_adjusted, struct file *file)
{
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_adjust(&ptr, VALUE_BYTES - 13, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_get_file_xattr(file, "user.kvet", &ptr), 13);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 14], 0);
	EXPECT_TRUE(is(mem->bytes + VALUE_BYTES - 13, "value of kvet", 13));
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 0, 12), 0);
	EXPECT_EQ(bpf_get_file_xattr(file, "user.kvet", &ptr), -ERANGE);
	return done();
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(get_dentry_xattr, struct dentry *dentry)
{
	VALUES();

	TEST_XATTR(bpf_get_dentry_xattr, dentry, "value of kvet");
	return done();
}

/* Names that are set aside for BPF. */
SEC("lsm.s/inode_getxattr")
int BPF_PROG(security_bpf_xattr, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_adjust(&ptr, VALUE_BYTES - 6, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.bpf.kvet", &ptr), 6);
	EXPECT_TRUE(is(mem->bytes + VALUE_BYTES - 6, "sealed", 6));
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.bpf", &ptr), -EPERM);
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.selinux", &ptr), -EPERM);
	return done();
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(set_remove_xattr, struct dentry *dentry)
{
	VALUES();

	mem->bytes[0] = 'o';
	mem->bytes[1] = 'n';
	mem->bytes[2] = 'c';
	mem->bytes[3] = 'e';
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.bpf.once", &small, 0), 0);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.bpf.once", &small, 1 /* XATTR_CREATE */), -EEXIST);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.bpf.never", &small, 2 /* XATTR_REPLACE */), -ENODATA);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "user.once", &small, 0), -EPERM);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.bpf.once", &null, 0), -EINVAL);
	mem->bytes[0] = 'x';
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.bpf.once", &ptr), 4);
	EXPECT_TRUE(is(mem->bytes, "once", 4));
	EXPECT_EQ(bpf_remove_dentry_xattr(dentry, "user.kvet"), -EPERM);
	EXPECT_EQ(bpf_remove_dentry_xattr(dentry, "security.bpf.once"), 0);
	EXPECT_EQ(bpf_remove_dentry_xattr(dentry, "security.bpf.once"), -ENODATA);
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.bpf.once", &ptr), -ENODATA);
	return done();
}

SEC("lsm.s/file_open")
int BPF_PROG(fsverity_none, struct file *file)
{
	VALUES();

	EXPECT_EQ(bpf_get_fsverity_digest(file, &ptr), -ENODATA);
	EXPECT_EQ(mem->bytes[0], 0);
	/* Not even room for what comes before the digest. */
	EXPECT_EQ(bpf_dynptr_adjust(&small, 0, 3), 0);
	EXPECT_EQ(bpf_get_fsverity_digest(file, &small), -EINVAL);
	EXPECT_EQ(bpf_get_fsverity_digest(file, &null), -EINVAL);
	return done();
}

/* Algorithm and length come before the digest; the harness says in value 1 what they are. */
#define DIGEST_HEADER 4
#define DIGEST_BYTES 32

SEC("lsm.s/file_open")
int BPF_PROG(fsverity_digest, struct file *file)
{
	struct value *expected;
	LOCAL_DYNPTR(ptr, mem);

	expected = value_of(1);
	if (!expected)
		return 0;
	mem->bytes[DIGEST_HEADER + DIGEST_BYTES + 15] = 0xee;
	mem->bytes[DIGEST_HEADER + DIGEST_BYTES + 16] = 0xee;
	/* Between bytes that stay, and with room for more than there is: the rest is cleared. */
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 4, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 0, DIGEST_BYTES + 16), 0);
	EXPECT_EQ(bpf_get_fsverity_digest(file, &ptr), 0);
	EXPECT_EQ(mem->bytes[3], 0);
	for (int i = 0; i < DIGEST_HEADER + DIGEST_BYTES; i++)
		if (!EXPECT_EQ(mem->bytes[4 + i], expected->bytes[i]))
			return 0;
	EXPECT_EQ(mem->bytes[DIGEST_HEADER + DIGEST_BYTES + 15], 0);
	EXPECT_EQ(mem->bytes[DIGEST_HEADER + DIGEST_BYTES + 16], 0xee);
	return done();
}

SEC("lsm/file_open")
int BPF_PROG(cgroup_read_xattr, struct file *file)
{
	struct cgroup *cgroup;
	VALUES();

	cgroup = bpf_cgroup_from_id(bpf_get_current_cgroup_id());
	if (!EXPECT_TRUE(cgroup))
		return 0;
	if (!cgroup)
		return 0;
	TEST_XATTR(bpf_cgroup_read_xattr, cgroup, "group of kvet");
	bpf_cgroup_release(cgroup);
	return done();
}

SEC("lsm.s/socket_connect")
int BPF_PROG(read_sock_xattr, struct socket *socket)
{
	VALUES();

	TEST_XATTR(bpf_sock_read_xattr, socket, "socket of kvet");
	return done();
}

SEC("lsm/socket_connect")
int BPF_PROG(read_sock_xattr_not_sleepable, struct socket *socket)
{
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_adjust(&ptr, VALUE_BYTES - 14, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_sock_read_xattr(socket, "user.kvet", &ptr), 14);
	EXPECT_TRUE(is(mem->bytes + VALUE_BYTES - 14, "socket of kvet", 14));
	return done();
}

/* --- files ------------------------------------------------------------------------------------------------------- */

/*
 * A file cannot be read before it is open: these are called for an ioctl. Its dynptr has no length of its own, because
 * files may grow.
 */
SEC("lsm.s/file_ioctl")
int BPF_PROG(on_open_validate_file_read, struct file *file)
{
	struct bpf_dynptr ptr;
	__u8 in[16] = {};

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_size(&ptr), -1ULL);
	EXPECT_EQ(bpf_dynptr_read(in, 16, &ptr, 0, 0), 0);
	EXPECT_EQ(in[15], 15);
	/* Over the edge of a page. */
	EXPECT_EQ(bpf_dynptr_read(in, 16, &ptr, 4090, 0), 0);
	EXPECT_EQ(in[0], 4090 & 0xff);
	EXPECT_EQ(in[15], 4105 & 0xff);
	EXPECT_EQ(bpf_dynptr_read(in, 16, &ptr, FILE_BYTES - 16, 0), 0);
	EXPECT_EQ(in[15], (FILE_BYTES - 1) & 0xff);
	EXPECT_EQ(bpf_dynptr_read(in, 16, &ptr, FILE_BYTES - 15, 0), -EIO);
	EXPECT_EQ(bpf_dynptr_read(in, 1, &ptr, FILE_BYTES, 0), -EIO);
	EXPECT_EQ(bpf_dynptr_read(in, 1, &ptr, 1 << 30, 0), -EIO);
	/* Of these offsets, the lower 32 bits alone would be good. */
	EXPECT_EQ(bpf_dynptr_read(in, 1, &ptr, FAR, 0), -EIO);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* A file with 16 bytes more, behind a hole of FAR bytes. */
SEC("lsm.s/file_ioctl")
int BPF_PROG(file_beyond_4g, struct file *file)
{
	struct bpf_dynptr ptr;
	__u8 in[4] = {};

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_read(in, 4, &ptr, FAR + 8, 0), 0);
	EXPECT_EQ(in[0], 0xa8);
	EXPECT_EQ(in[3], 0xab);
	/* Over the edge, from the hole. */
	EXPECT_EQ(bpf_dynptr_read(in, 4, &ptr, FAR - 2, 0), 0);
	EXPECT_EQ(in[1], 0);
	EXPECT_EQ(in[2], 0xa0);
	EXPECT_EQ(bpf_dynptr_read(in, 4, &ptr, FAR + 13, 0), -EIO);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, FAR + 4, FAR + 8), 0);
	EXPECT_EQ(bpf_dynptr_size(&ptr), 4);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, 2, 0), 0);
	EXPECT_EQ(in[1], 0xa7);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, 3, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

SEC("lsm.s/file_ioctl")
int BPF_PROG(file_adjust, struct file *file)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr, local;
	__u8 in[4] = {};

	if (!called_by_harness() || !mem)
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_is_null(&ptr), false);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), true);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 5000, 5010), 0);
	EXPECT_EQ(bpf_dynptr_size(&ptr), 10);
	EXPECT_EQ(bpf_dynptr_read(in, 4, &ptr, 6, 0), 0);
	EXPECT_EQ(in[3], 5009 & 0xff);
	EXPECT_EQ(bpf_dynptr_read(in, 4, &ptr, 7, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &local), 0);
	EXPECT_EQ(bpf_dynptr_copy(&local, VALUE_BYTES - 4, &ptr, 1, 4), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 4], 5001 & 0xff);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 5004 & 0xff);
	EXPECT_EQ(bpf_dynptr_copy(&ptr, 0, &local, 0, 4), -EINVAL);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, 0, 4, 0), -EINVAL);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, in, 4, 0), -EINVAL);
	EXPECT_NULL(bpf_dynptr_data(&ptr, 0, 4));
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* Slices are copies, in a buffer that the program gives. */
SEC("lsm.s/file_ioctl")
int BPF_PROG(file_slice, struct file *file)
{
	__u8 buffer[16] = {}, *slice;
	struct bpf_dynptr ptr;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	slice = bpf_dynptr_slice(&ptr, 4090, buffer, sizeof(buffer));
	if (EXPECT_TRUE(slice) && slice) {
		EXPECT_EQ(slice[0], 4090 & 0xff);
		EXPECT_EQ(slice[15], 4105 & 0xff);
	}
	EXPECT_NULL(bpf_dynptr_slice(&ptr, FILE_BYTES - 15, buffer, sizeof(buffer)));
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* A dynptr whose making failed is null, and has to be discarded like any other. */
SEC("lsm.s/file_ioctl")
int BPF_PROG(file_flags, struct file *file)
{
	struct bpf_dynptr ptr;
	__u8 byte = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 1, &ptr), -EINVAL);
	EXPECT_EQ(bpf_dynptr_is_null(&ptr), true);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 0, 0), -EINVAL);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);

	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 0, 1), -EINVAL);
	EXPECT_EQ(byte, 0);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 77, 0), 0);
	EXPECT_EQ(byte, 77);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

SEC("lsm.s/file_ioctl")
int BPF_PROG(file_clone, struct file *file)
{
	struct bpf_dynptr ptr, clone;
	__u8 byte = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &clone, 77, 0), 0);
	EXPECT_EQ(byte, 77);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* Where a program must not wait, what is in the page cache can be read: the file was written just now. */
SEC("lsm/file_ioctl")
int BPF_PROG(file_not_sleepable, struct file *file)
{
	struct bpf_dynptr ptr;
	__u8 byte = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 5000, 0), 0);
	EXPECT_EQ(byte, 5000 & 0xff);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* What is not in the page cache is read from the disk where the program may wait for it … */
SEC("lsm.s/file_ioctl")
int BPF_PROG(file_cold, struct file *file)
{
	struct bpf_dynptr ptr;
	__u8 in[2] = { 1, 1 };

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, 4095, 0), 0);
	EXPECT_EQ(in[0], 4095 & 0xff);
	EXPECT_EQ(in[1], 4096 & 0xff);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* … and cannot be had where it must not. */
SEC("lsm/file_ioctl")
int BPF_PROG(file_cold_not_sleepable, struct file *file)
{
	__u8 buffer[2] = {}, *slice;
	struct bpf_dynptr ptr;
	__u8 in[2] = {};

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, 4095, 0), -EFAULT);
	slice = bpf_dynptr_slice(&ptr, 4095, buffer, sizeof(buffer));
	EXPECT_NULL(slice);
	EXPECT_EQ(in[0], 0);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* --- refused ------------------------------------------------------------------------------------------------------ */

SEC("lsm/file_open")
int BPF_PROG(on_nanosleep_unreleased_ref, struct file *file)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_file(file, 0, &ptr);
	return 0;
}

/* Only a file's dynptr can be discarded as one. */
SEC("xdp")
int xdp_wrong_dynptr_type(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_xdp(xdp, 0, &ptr);
	bpf_dynptr_file_discard(&ptr);
	return XDP_PASS;
}

SEC("xdp")
int xdp_no_dynptr_type(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_file_discard(&ptr);
	return XDP_PASS;
}

extern struct file *bpf_get_task_exe_file(struct task_struct *task) __ksym __weak;
extern void bpf_put_file(struct file *file) __ksym __weak;

/* The dynptr needs the file, which must not be given back before it. */
SEC("lsm/file_open")
int BPF_PROG(use_file_dynptr_after_put_file, struct file *opened)
{
	struct bpf_dynptr ptr;
	struct file *file;
	__u8 byte;

	file = bpf_get_task_exe_file(bpf_get_current_task_btf());
	if (!file)
		return 0;
	if (bpf_dynptr_from_file(file, 0, &ptr)) {
		bpf_dynptr_file_discard(&ptr);
		bpf_put_file(file);
		return 0;
	}
	bpf_put_file(file);
	bpf_dynptr_read(&byte, 1, &ptr, 0, 0);
	bpf_dynptr_file_discard(&ptr);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(use_file_dynptr_slice_after_put_file, struct file *opened)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8], *slice;
	struct file *file;

	file = bpf_get_task_exe_file(bpf_get_current_task_btf());
	if (!file)
		return 0;
	bpf_dynptr_from_file(file, 0, &ptr);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	bpf_put_file(file);
	if (slice)
		EXPECT_EQ(slice[0], 0);
	bpf_dynptr_file_discard(&ptr);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(file_discard_twice, struct file *file)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_file(file, 0, &ptr);
	bpf_dynptr_file_discard(&ptr);
	bpf_dynptr_file_discard(&ptr);
	return 0;
}

/* What reads from a file system may wait: a program that must not, cannot call it. */
SEC("lsm/file_open")
int BPF_PROG(get_file_xattr_not_sleepable, struct file *file)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_file_xattr(file, "user.kvet", &ptr);
	return 0;
}

SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr_uninitialised, struct file *file)
{
	struct bpf_dynptr none;

	bpf_get_file_xattr(file, "user.kvet", &none);
	return 0;
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(get_dentry_xattr_uninitialised, struct dentry *dentry)
{
	struct bpf_dynptr none;

	bpf_get_dentry_xattr(dentry, "user.kvet", &none);
	return 0;
}

SEC("lsm.s/file_open")
int BPF_PROG(fsverity_uninitialised, struct file *file)
{
	struct bpf_dynptr none;

	bpf_get_fsverity_digest(file, &none);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(file_of_nothing, struct file *file)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_file(NULL, 0, &ptr);
	bpf_dynptr_file_discard(&ptr);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(file_into_map, struct file *file)
{
	struct value *mem = value_of(0);

	if (mem)
		bpf_dynptr_from_file(file, 0, (struct bpf_dynptr *)mem);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(file_over_record, struct file *file)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_from_file(file, 0, &ptr);
	bpf_dynptr_file_discard(&ptr);
	return 0;
}
