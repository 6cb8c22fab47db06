// SPDX-License-Identifier: GPL-2.0-only
/*
 * The rest of the contract of the functions that read attributes into a dynptr: other names, other dynptrs, other
 * places to call them from. file.bpf.c has the beginning; the attributes are the same.
 */
#include "xattr.h"

#include <bpf/bpf_tracing.h>

extern int bpf_dynptr_from_file(struct file *file, __u32 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern int bpf_dynptr_file_discard(struct bpf_dynptr *ptr) __ksym __weak;

/* Names that have no right beginning are nobody's to read; `text` is the value of "user.kvet". */
#define TEST_NAMES(get, of)                                           \
	do {                                                          \
		EXPECT_EQ(get(of, "", &ptr), -EPERM);                 \
		EXPECT_EQ(get(of, "user", &ptr), -EPERM);             \
		EXPECT_EQ(get(of, "users.kvet", &ptr), -EPERM);       \
		EXPECT_EQ(get(of, "system.kvet", &ptr), -EPERM);      \
		EXPECT_EQ(get(of, "security.kvet", &ptr), -EPERM);    \
		EXPECT_EQ(get(of, "user.kve", &ptr), -ENODATA);       \
		EXPECT_EQ(get(of, "user.kvet.", &ptr), -ENODATA);     \
		EXPECT_EQ(mem->bytes[0], 0);                          \
		EXPECT_EQ(bpf_dynptr_size(&ptr), VALUE_BYTES);        \
	} while (0)

/* The value goes to where the dynptr begins, needs all of its length, and goes through a clone as well. */
#define TEST_PLACES(get, of, text)                                    \
	do {                                                          \
		const int length = sizeof(text) - 1;                  \
		struct bpf_dynptr clone;                              \
		EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);         \
		EXPECT_EQ(bpf_dynptr_adjust(&clone, 100, VALUE_BYTES), 0); \
		EXPECT_EQ(bpf_dynptr_adjust(&clone, 0, length), 0);   \
		EXPECT_EQ(get(of, "user.kvet", &clone), length);      \
		EXPECT_EQ(mem->bytes[99], 0);                         \
		EXPECT_TRUE(is(mem->bytes + 100, text, length));      \
		EXPECT_EQ(mem->bytes[100 + length], 0);               \
		EXPECT_EQ(bpf_dynptr_adjust(&clone, 1, length), 0);   \
		EXPECT_EQ(get(of, "user.kvet", &clone), -ERANGE);     \
		EXPECT_EQ(bpf_dynptr_adjust(&clone, 0, 0), 0);        \
		EXPECT_EQ(get(of, "user.kvet", &clone), -ERANGE);     \
		EXPECT_EQ(mem->bytes[0], 0);                          \
		/* The dynptr that was cloned is as it was. */        \
		EXPECT_EQ(get(of, "user.kvet", &ptr), length);        \
		EXPECT_TRUE(is(mem->bytes, text, length));            \
	} while (0)

SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr_names, struct file *file)
{
	LOCAL_DYNPTR(ptr, mem);

	TEST_NAMES(bpf_get_file_xattr, file);
	return done();
}

SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr_places, struct file *file)
{
	LOCAL_DYNPTR(ptr, mem);

	TEST_PLACES(bpf_get_file_xattr, file, "value of kvet");
	return done();
}

/* A record of a ring buffer is memory like any other. */
SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr_record, struct file *file)
{
	struct bpf_dynptr record;
	__u8 in[13] = {};

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, sizeof(in), 0, &record), 0);
	EXPECT_EQ(bpf_get_file_xattr(file, "user.kvet", &record), sizeof(in));
	EXPECT_EQ(bpf_dynptr_read(in, sizeof(in), &record, 0, 0), 0);
	EXPECT_TRUE(is(in, "value of kvet", 13));
	bpf_ringbuf_discard_dynptr(&record, 0);
	return done();
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(get_dentry_xattr_names, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	TEST_NAMES(bpf_get_dentry_xattr, dentry);
	return done();
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(get_dentry_xattr_places, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	TEST_PLACES(bpf_get_dentry_xattr, dentry, "value of kvet");
	return done();
}

/* What is read from files cannot be written to. */
SEC("lsm.s/file_ioctl")
int BPF_PROG(get_file_xattr_readonly, struct file *file)
{
	struct bpf_dynptr ptr;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_get_file_xattr(file, "user.kvet", &ptr), -EINVAL);
	EXPECT_EQ(bpf_get_fsverity_digest(file, &ptr), -EINVAL);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 0, 64), 0);
	EXPECT_EQ(bpf_get_file_xattr(file, "user.kvet", &ptr), -EINVAL);
	EXPECT_EQ(bpf_get_fsverity_digest(file, &ptr), -EINVAL);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* The part of the dynptr that is left after an adjustment is the value, also of a clone; none is a value, too. */
SEC("lsm.s/inode_getxattr")
int BPF_PROG(set_xattr_places, struct dentry *dentry)
{
	struct bpf_dynptr clone;
	LOCAL_DYNPTR(ptr, mem);

	for (int i = 0; i < 8; i++)
		mem->bytes[i] = 'a' + i;
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 2, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 0, 4), 0);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.bpf.part", &clone, 0), 0);
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.bpf.part", &ptr), 4);
	EXPECT_TRUE(is(mem->bytes, "cdef", 4));
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 0, 0), 0);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.bpf.part", &clone, 2 /* XATTR_REPLACE */), 0);
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.bpf.part", &ptr), 0);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.kvet", &ptr, 0), -EPERM);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.bpf", &ptr, 0), -EPERM);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "", &ptr, 0), -EPERM);
	EXPECT_EQ(bpf_remove_dentry_xattr(dentry, "security.bpf"), -EPERM);
	EXPECT_EQ(bpf_remove_dentry_xattr(dentry, ""), -EPERM);
	EXPECT_EQ(bpf_remove_dentry_xattr(dentry, "security.bpf.part"), 0);
	return done();
}

/* Where the kernel holds the lock of the file already, it must not be taken again. */
SEC("lsm.s/inode_setxattr")
int BPF_PROG(set_xattr_locked, void *idmap, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	mem->bytes[VALUE_BYTES - 1] = '7';
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, VALUE_BYTES - 1, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_set_dentry_xattr(dentry, "security.bpf.lock", &ptr, 0), 0);
	mem->bytes[VALUE_BYTES - 1] = 0;
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.bpf.lock", &ptr), 1);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], '7');
	EXPECT_EQ(bpf_remove_dentry_xattr(dentry, "security.bpf.lock"), 0);
	EXPECT_EQ(bpf_get_dentry_xattr(dentry, "security.bpf.lock", &ptr), -ENODATA);
	return done();
}

/* Exactly as long as it has to be, and one byte less; through a clone. */
SEC("lsm.s/file_open")
int BPF_PROG(fsverity_clone, struct file *file)
{
	struct bpf_dynptr clone;
	struct value *expected;
	LOCAL_DYNPTR(ptr, mem);

	expected = value_of(1);
	if (!expected)
		return 0;
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 8, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 0, 36), 0);
	EXPECT_EQ(bpf_get_fsverity_digest(file, &clone), 0);
	EXPECT_EQ(mem->bytes[7], 0);
	EXPECT_EQ(mem->bytes[8], expected->bytes[0]);
	EXPECT_EQ(mem->bytes[10], expected->bytes[2]);
	EXPECT_EQ(mem->bytes[8 + 35], expected->bytes[35]);
	EXPECT_EQ(mem->bytes[8 + 36], 0);
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 0, 35), 0);
	EXPECT_EQ(bpf_get_fsverity_digest(file, &clone), -EOVERFLOW);
	return done();
}

SEC("lsm/file_open")
int BPF_PROG(cgroup_read_xattr_places, struct file *file)
{
	struct cgroup *cgroup;
	LOCAL_DYNPTR(ptr, mem);

	cgroup = bpf_cgroup_from_id(bpf_get_current_cgroup_id());
	if (!EXPECT_TRUE(cgroup))
		return 0;
	if (!cgroup)
		return 0;
	TEST_NAMES(bpf_cgroup_read_xattr, cgroup);
	/* These are files' alone. */
	EXPECT_EQ(bpf_cgroup_read_xattr(cgroup, "security.bpf.kvet", &ptr), -EPERM);
	TEST_PLACES(bpf_cgroup_read_xattr, cgroup, "group of kvet");
	bpf_cgroup_release(cgroup);
	return done();
}

SEC("lsm.s/socket_connect")
int BPF_PROG(read_sock_xattr_places, struct socket *socket)
{
	LOCAL_DYNPTR(ptr, mem);

	TEST_NAMES(bpf_sock_read_xattr, socket);
	EXPECT_EQ(bpf_sock_read_xattr(socket, "security.bpf.kvet", &ptr), -EPERM);
	TEST_PLACES(bpf_sock_read_xattr, socket, "socket of kvet");
	return done();
}

/* --- refused ------------------------------------------------------------------------------------------------------ */

SEC("lsm/inode_getxattr")
int BPF_PROG(get_dentry_xattr_not_sleepable, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_dentry_xattr(dentry, "user.kvet", &ptr);
	return 0;
}

SEC("lsm/inode_getxattr")
int BPF_PROG(set_dentry_xattr_not_sleepable, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_set_dentry_xattr(dentry, "security.bpf.kvet", &ptr, 0);
	return 0;
}

SEC("lsm/inode_getxattr")
int BPF_PROG(remove_dentry_xattr_not_sleepable, struct dentry *dentry)
{
	bpf_remove_dentry_xattr(dentry, "security.bpf.kvet");
	return 0;
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(set_dentry_xattr_uninitialised, struct dentry *dentry)
{
	struct bpf_dynptr none;

	bpf_set_dentry_xattr(dentry, "security.bpf.kvet", &none, 0);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(cgroup_read_xattr_uninitialised, struct file *file)
{
	struct bpf_dynptr none;
	struct cgroup *cgroup;

	cgroup = bpf_cgroup_from_id(1);
	if (!cgroup)
		return 0;
	bpf_cgroup_read_xattr(cgroup, "user.kvet", &none);
	bpf_cgroup_release(cgroup);
	return 0;
}

SEC("lsm.s/socket_connect")
int BPF_PROG(read_sock_xattr_uninitialised, struct socket *socket)
{
	struct bpf_dynptr none;

	bpf_sock_read_xattr(socket, "user.kvet", &none);
	return 0;
}

/* Names are constant strings: the verifier wants to see that they end. */
SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr_name_on_stack, struct file *file)
{
	volatile char name[16] = "user.kvet";
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_file_xattr(file, (const char *)name, &ptr);
	return 0;
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(get_dentry_xattr_name_in_map, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_dentry_xattr(dentry, (const char *)mem->bytes, &ptr);
	return 0;
}

SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr_of_nothing, struct file *file)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_file_xattr(NULL, "user.kvet", &ptr);
	return 0;
}

/* An entry of a directory is no file. */
SEC("lsm.s/inode_getxattr")
int BPF_PROG(get_file_xattr_of_dentry, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_file_xattr((struct file *)dentry, "user.kvet", &ptr);
	return 0;
}

/* A dynptr, and nothing else that is on the stack. */
SEC("lsm.s/file_open")
int BPF_PROG(get_file_xattr_into_buffer, struct file *file)
{
	__u64 buffer[8] = {};

	bpf_get_file_xattr(file, "user.kvet", (struct bpf_dynptr *)buffer);
	return 0;
}

SEC("lsm.s/file_open")
int BPF_PROG(fsverity_into_map, struct file *file)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_fsverity_digest(file, (struct bpf_dynptr *)mem);
	return 0;
}

/* Only programs of security modules may ask. */
SEC("syscall")
int get_file_xattr_in_syscall(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_file_xattr(ctx, "user.kvet", &ptr);
	return 0;
}

SEC("syscall")
int get_dentry_xattr_in_syscall(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_dentry_xattr(ctx, "user.kvet", &ptr);
	return 0;
}

SEC("syscall")
int set_dentry_xattr_in_syscall(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_set_dentry_xattr(ctx, "security.bpf.kvet", &ptr, 0);
	return 0;
}

SEC("syscall")
int fsverity_in_syscall(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_fsverity_digest(ctx, &ptr);
	return 0;
}

SEC("syscall")
int read_sock_xattr_in_syscall(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_sock_read_xattr(ctx, "user.kvet", &ptr);
	return 0;
}

SEC("syscall")
int remove_dentry_xattr_in_syscall(void *ctx)
{
	bpf_remove_dentry_xattr(ctx, "security.bpf.kvet");
	return 0;
}

/* Every program may call this one, with a control group. */
SEC("syscall")
int cgroup_read_xattr_of_context(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_cgroup_read_xattr(ctx, "user.kvet", &ptr);
	return 0;
}

/* There may be no such control group: whoever does not ask has none. */
SEC("lsm/file_open")
int BPF_PROG(cgroup_read_xattr_maybe_null, struct file *file)
{
	struct cgroup *cgroup;
	LOCAL_DYNPTR(ptr, mem);

	cgroup = bpf_cgroup_from_id(1);
	bpf_cgroup_read_xattr(cgroup, "user.kvet", &ptr);
	if (cgroup)
		bpf_cgroup_release(cgroup);
	return 0;
}

/* The others want a constant name, too. */
SEC("lsm.s/inode_getxattr")
int BPF_PROG(set_dentry_xattr_name_in_map, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_set_dentry_xattr(dentry, (const char *)mem->bytes, &ptr, 0);
	return 0;
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(remove_dentry_xattr_name_in_map, struct dentry *dentry)
{
	struct value *mem = value_of(0);

	if (mem)
		bpf_remove_dentry_xattr(dentry, (const char *)mem->bytes);
	return 0;
}

SEC("lsm/file_open")
int BPF_PROG(cgroup_read_xattr_name_in_map, struct file *file)
{
	struct cgroup *cgroup;
	LOCAL_DYNPTR(ptr, mem);

	cgroup = bpf_cgroup_from_id(1);
	if (!cgroup)
		return 0;
	bpf_cgroup_read_xattr(cgroup, (const char *)mem->bytes, &ptr);
	bpf_cgroup_release(cgroup);
	return 0;
}

SEC("lsm.s/socket_connect")
int BPF_PROG(read_sock_xattr_name_in_map, struct socket *socket)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_sock_read_xattr(socket, (const char *)mem->bytes, &ptr);
	return 0;
}

/* And something that has attributes. */
SEC("lsm.s/inode_getxattr")
int BPF_PROG(get_dentry_xattr_of_nothing, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_dentry_xattr(NULL, "user.kvet", &ptr);
	return 0;
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(set_dentry_xattr_of_nothing, struct dentry *dentry)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_set_dentry_xattr(NULL, "security.bpf.kvet", &ptr, 0);
	return 0;
}

SEC("lsm.s/inode_getxattr")
int BPF_PROG(remove_dentry_xattr_of_nothing, struct dentry *dentry)
{
	bpf_remove_dentry_xattr(NULL, "security.bpf.kvet");
	return 0;
}

SEC("lsm.s/file_open")
int BPF_PROG(fsverity_of_nothing, struct file *file)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_fsverity_digest(NULL, &ptr);
	return 0;
}

SEC("lsm.s/socket_connect")
int BPF_PROG(read_sock_xattr_of_nothing, struct socket *socket)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_sock_read_xattr(NULL, "user.kvet", &ptr);
	return 0;
}

/* A file is no entry of a directory. */
SEC("lsm.s/file_open")
int BPF_PROG(get_dentry_xattr_of_file, struct file *file)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_get_dentry_xattr((struct dentry *)file, "user.kvet", &ptr);
	return 0;
}
