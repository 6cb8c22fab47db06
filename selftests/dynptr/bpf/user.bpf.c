// SPDX-License-Identifier: GPL-2.0-only
/* What reads memory of the process or of the kernel into a dynptr. src/trigger/mod.rs says what is in the memory. */
#include "harness.h"

#include <bpf/bpf_tracing.h>

extern int bpf_dynptr_from_file(struct file *file, __u32 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern int bpf_dynptr_file_discard(struct bpf_dynptr *ptr) __ksym __weak;

#define USER_BYTES 4096
#define STRING_AT 1024
#define STRING "kvet reads strings"
#define EDGE_AT (USER_BYTES - 4)

static __always_inline const void *user(__u32 offset)
{
	return (const void *)(config.user + offset);
}

/* An address where the kernel has nothing. */
#define NOWHERE ((const void *)-4096L)

/* The contract of the functions that copy a number of bytes; `call` has the function's other arguments. */
#define TEST_COPY(call, at, invalid)                                      \
	do {                                                              \
		EXPECT_EQ(call(&ptr, 8, 16, at(100)), 0);                 \
		EXPECT_EQ(mem->bytes[7], 0);                              \
		EXPECT_EQ(mem->bytes[8], 100);                            \
		EXPECT_EQ(mem->bytes[23], 115);                           \
		EXPECT_EQ(mem->bytes[24], 0);                             \
		/* Up to the end, and no further. */                      \
		EXPECT_EQ(call(&ptr, VALUE_BYTES - 1, 1, at(200)), 0);    \
		EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 200);              \
		EXPECT_EQ(call(&ptr, VALUE_BYTES - 1, 2, at(0)), -E2BIG); \
		EXPECT_EQ(call(&ptr, VALUE_BYTES + 1, 0, at(0)), -E2BIG); \
		EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 200);              \
		EXPECT_EQ(call(&ptr, 0, 0, at(0)), 0);                    \
		EXPECT_EQ(call(&ptr, 64, 8, invalid), -EFAULT);           \
		EXPECT_EQ(bpf_dynptr_adjust(&ptr, 32, 40), 0);            \
		EXPECT_EQ(call(&ptr, 7, 1, at(77)), 0);                   \
		EXPECT_EQ(mem->bytes[39], 77);                            \
		EXPECT_EQ(call(&ptr, 7, 2, at(77)), -E2BIG);              \
		/* What a clone is adjusted by is its own. */             \
		EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);             \
		EXPECT_EQ(bpf_dynptr_adjust(&clone, 4, 6), 0);            \
		EXPECT_EQ(call(&clone, 1, 1, at(55)), 0);                 \
		EXPECT_EQ(mem->bytes[36], 0);                             \
		EXPECT_EQ(mem->bytes[37], 55);                            \
		EXPECT_EQ(call(&clone, 1, 2, at(55)), -E2BIG);            \
		EXPECT_EQ(call(&ptr, 0, 8, at(50)), 0);                   \
		EXPECT_EQ(mem->bytes[31], 0);                             \
		EXPECT_EQ(mem->bytes[37], 55);                            \
		/* Their sum is no offset at all. */                      \
		EXPECT_EQ(call(&ptr, -8ULL, 16, at(0)), -E2BIG);          \
		EXPECT_EQ(call(&ptr, 8, -4ULL, at(0)), -E2BIG);           \
		EXPECT_EQ(mem->bytes[40], 0);                             \
		EXPECT_EQ(call(&null, 0, 1, at(0)), -E2BIG);              \
	} while (0)

/* The same for strings. */
#define TEST_STRING(call, string, invalid)                               \
	do {                                                             \
		EXPECT_EQ(call(&ptr, 8, 64, string), sizeof(STRING));    \
		EXPECT_EQ(mem->bytes[7], 0);                             \
		EXPECT_EQ(mem->bytes[8], 'k');                           \
		EXPECT_EQ(mem->bytes[8 + sizeof(STRING) - 2], 's');      \
		EXPECT_EQ(mem->bytes[8 + sizeof(STRING) - 1], 0);        \
		/* One that is too long is cut, and has an end. */       \
		EXPECT_EQ(call(&ptr, 64, 5, string), 5);                 \
		EXPECT_EQ(mem->bytes[67], 't');                          \
		EXPECT_EQ(mem->bytes[68], 0);                            \
		EXPECT_EQ(call(&ptr, VALUE_BYTES - 4, 5, string), -E2BIG); \
		EXPECT_EQ(mem->bytes[VALUE_BYTES - 4], 0);               \
		EXPECT_EQ(call(&ptr, 128, 8, invalid), -EFAULT);         \
		/* No room at all is none for an end either. */          \
		EXPECT_EQ(call(&ptr, 160, 0, string), 0);                \
		EXPECT_EQ(mem->bytes[160], 0);                           \
		EXPECT_EQ(call(&ptr, VALUE_BYTES, 0, string), 0);        \
		EXPECT_EQ(call(&ptr, VALUE_BYTES + 1, 0, string), -E2BIG); \
		EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);            \
		EXPECT_EQ(bpf_dynptr_adjust(&clone, 200, 204), 0);       \
		EXPECT_EQ(call(&clone, 1, 3, string), 3);                \
		EXPECT_EQ(mem->bytes[200], 0);                           \
		EXPECT_EQ(mem->bytes[201], 'k');                         \
		EXPECT_EQ(mem->bytes[202], 'v');                         \
		EXPECT_EQ(mem->bytes[203], 0);                           \
		EXPECT_EQ(call(&clone, 1, 4, string), -E2BIG);           \
		EXPECT_EQ(call(&ptr, -8ULL, 16, string), -E2BIG);        \
		EXPECT_EQ(call(&ptr, 8, -4ULL, string), -E2BIG);         \
		EXPECT_EQ(call(&null, 0, 1, string), -E2BIG);            \
	} while (0)

/* Value 0 as a dynptr, value 1 as memory of the kernel's that has what the user's has, and a dynptr that is null. */
#define MEMORIES()                                                       \
	struct bpf_dynptr null, clone;                                   \
	struct value *source;                                            \
	LOCAL_DYNPTR(ptr, mem);                                          \
	source = value_of(1);                                            \
	if (!source)                                                     \
		return 0;                                                \
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &null), -EINVAL)

static __always_inline void fill(struct value *source)
{
	for (int i = 0; i < VALUE_BYTES; i++)
		source->bytes[i] = i;
}

#define KERNEL(offset) (&source->bytes[offset])

SEC("raw_tp")
int test_probe_read_user_dynptr(void *ctx)
{
	MEMORIES();

	TEST_COPY(bpf_probe_read_user_dynptr, user, user(EDGE_AT));
	return done();
}

SEC("raw_tp")
int test_probe_read_kernel_dynptr(void *ctx)
{
	MEMORIES();

	fill(source);
	TEST_COPY(bpf_probe_read_kernel_dynptr, KERNEL, NOWHERE);
	return done();
}

SEC("raw_tp")
int test_probe_read_user_str_dynptr(void *ctx)
{
	MEMORIES();

	TEST_STRING(bpf_probe_read_user_str_dynptr, user(STRING_AT), user(EDGE_AT));
	return done();
}

SEC("raw_tp")
int test_probe_read_kernel_str_dynptr(void *ctx)
{
	MEMORIES();

	__builtin_memcpy(source->bytes, STRING, sizeof(STRING));
	TEST_STRING(bpf_probe_read_kernel_str_dynptr, KERNEL(0), NOWHERE);
	return done();
}

/* --- where the program may wait for the memory ------------------------------------------------------------------- */

#define COPY_FROM_TASK(to, offset, size, from) \
	bpf_copy_from_user_task_dynptr(to, offset, size, from, bpf_get_current_task_btf())
#define COPY_STRING_FROM_TASK(to, offset, size, from) \
	bpf_copy_from_user_task_str_dynptr(to, offset, size, from, bpf_get_current_task_btf())

SEC("syscall")
int test_copy_from_user_dynptr(void *ctx)
{
	MEMORIES();

	TEST_COPY(bpf_copy_from_user_dynptr, user, user(EDGE_AT));
	return done();
}

SEC("syscall")
int test_copy_from_user_str_dynptr(void *ctx)
{
	MEMORIES();

	TEST_STRING(bpf_copy_from_user_str_dynptr, user(STRING_AT), user(EDGE_AT));
	return done();
}

SEC("syscall")
int test_copy_from_user_task_dynptr(void *ctx)
{
	MEMORIES();

	TEST_COPY(COPY_FROM_TASK, user, user(EDGE_AT));
	return done();
}

SEC("syscall")
int test_copy_from_user_task_str_dynptr(void *ctx)
{
	MEMORIES();

	TEST_STRING(COPY_STRING_FROM_TASK, user(STRING_AT), user(EDGE_AT));
	return done();
}

/* --- sizes beyond 32 bits ------------------------------------------------------------------------------------------ */

#define FAR (1ULL << 32)

/* Of a number with more than 32 bits, the lower ones alone would be good. */
#define TEST_FAR(call, from)                                             \
	do {                                                             \
		/* Up to the end. */                                     \
		EXPECT_EQ(call(&ptr, VALUE_BYTES - 4, 4, from), 4 * string_result); \
		EXPECT_EQ(call(&ptr, FAR | 8, 4, from), -E2BIG);         \
		EXPECT_EQ(call(&ptr, 8, FAR | 4, from), -E2BIG);         \
		EXPECT_EQ(call(&ptr, FAR, FAR, from), -E2BIG);           \
		EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);            \
		EXPECT_EQ(call(&clone, FAR | 8, 4, from), -E2BIG);       \
		EXPECT_EQ(call(&null, FAR, 4, from), -E2BIG);            \
		EXPECT_EQ(mem->bytes[8], 0);                             \
	} while (0)

SEC("raw_tp")
int test_wide_probe_read(void *ctx)
{
	int string_result = 0;
	MEMORIES();

	fill(source);
	TEST_FAR(bpf_probe_read_user_dynptr, user(100));
	TEST_FAR(bpf_probe_read_kernel_dynptr, KERNEL(100));
	return done();
}

SEC("raw_tp")
int test_wide_probe_read_str(void *ctx)
{
	int string_result = 1;
	MEMORIES();

	__builtin_memcpy(source->bytes, STRING, sizeof(STRING));
	TEST_FAR(bpf_probe_read_user_str_dynptr, user(STRING_AT));
	TEST_FAR(bpf_probe_read_kernel_str_dynptr, KERNEL(0));
	return done();
}

SEC("syscall")
int test_wide_copy_from_user(void *ctx)
{
	int string_result = 0;
	MEMORIES();

	TEST_FAR(bpf_copy_from_user_dynptr, user(100));
	TEST_FAR(COPY_FROM_TASK, user(100));
	return done();
}

SEC("syscall")
int test_wide_copy_from_user_str(void *ctx)
{
	int string_result = 1;
	MEMORIES();

	TEST_FAR(bpf_copy_from_user_str_dynptr, user(STRING_AT));
	TEST_FAR(COPY_STRING_FROM_TASK, user(STRING_AT));
	return done();
}

/* --- of another process ---------------------------------------------------------------------------------------------- */

extern struct task_struct *bpf_task_from_pid(__s32 pid) __ksym __weak;
extern void bpf_task_release(struct task_struct *task) __ksym __weak;

/* It has a string of its own at the same address, and 201 where we have 100. */
#define OTHER_STRING "kvet reads others"

SEC("syscall")
int test_copy_from_other_task(void *ctx)
{
	struct task_struct *other;
	LOCAL_DYNPTR(ptr, mem);

	other = bpf_task_from_pid(config.other);
	if (!EXPECT_TRUE(other) || !other)
		return 0;
	EXPECT_EQ(bpf_copy_from_user_task_dynptr(&ptr, VALUE_BYTES - 2, 2, user(100), other), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 2], 201);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 101);
	EXPECT_EQ(bpf_copy_from_user_task_str_dynptr(&ptr, 64, 64, user(STRING_AT), other), sizeof(OTHER_STRING));
	EXPECT_EQ(mem->bytes[64 + sizeof(OTHER_STRING) - 2], 's');
	EXPECT_EQ(mem->bytes[64 + sizeof(OTHER_STRING) - 7], 'o');
	EXPECT_EQ(bpf_copy_from_user_task_dynptr(&ptr, 16, 8, user(EDGE_AT), other), -EFAULT);
	bpf_task_release(other);
	/* Ours is what it was. */
	EXPECT_EQ(bpf_copy_from_user_dynptr(&ptr, 8, 1, user(100)), 0);
	EXPECT_EQ(mem->bytes[8], 100);
	return done();
}

/* --- into packets, which need not be in one piece ------------------------------------------------------------------ */

#define LONG 1500
#define LONG_AT 3000

/* More than the kernel copies at once, and over the edge of a page of the packet. */
SEC("xdp.frags")
int test_probe_read_user_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;
	__u8 in[2] = {};

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_probe_read_user_dynptr(&ptr, LONG_AT, 1000, user(3)), 0);
	EXPECT_EQ(bpf_dynptr_read(in, 1, &ptr, LONG_AT - 1, 0), 0);
	EXPECT_EQ(in[0], (LONG_AT - 1) & 0xff);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, LONG_AT, 0), 0);
	EXPECT_EQ(in[0], 3);
	EXPECT_EQ(in[1], 4);
	EXPECT_EQ(bpf_dynptr_read(in, 1, &ptr, LONG_AT + 999, 0), 0);
	EXPECT_EQ(in[0], (3 + 999) & 0xff);
	EXPECT_EQ(bpf_dynptr_read(in, 1, &ptr, LONG_AT + 1000, 0), 0);
	EXPECT_EQ(in[0], (LONG_AT + 1000) & 0xff);
	EXPECT_EQ(bpf_probe_read_user_dynptr(&ptr, config.bytes - 1, 2, user(0)), -E2BIG);
	done();
	return XDP_PASS;
}

SEC("xdp.frags")
int test_probe_read_user_str_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;
	__u8 in[2] = { 1, 1 };

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_probe_read_user_str_dynptr(&ptr, LONG_AT, 600, user(STRING_AT)), sizeof(STRING));
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, LONG_AT + sizeof(STRING) - 2, 0), 0);
	EXPECT_EQ(in[0], 's');
	EXPECT_EQ(in[1], 0);
	done();
	return XDP_PASS;
}

/* --- into what may only be read -------------------------------------------------------------------------------------- */

#define PROBE 40

/* The packet stays as it is. */
SEC("cgroup_skb/egress")
int test_probe_read_readonly(struct __sk_buff *skb)
{
	struct value *source = value_of(1);
	struct bpf_dynptr ptr;
	__u8 in[2] = {};

	if (!source)
		return 1;
	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 1;
	EXPECT_EQ(bpf_probe_read_user_dynptr(&ptr, PROBE - ETH_HEADER, 2, user(3)), -EINVAL);
	EXPECT_EQ(bpf_probe_read_kernel_dynptr(&ptr, PROBE - ETH_HEADER, 2, KERNEL(0)), -EINVAL);
	EXPECT_EQ(bpf_probe_read_user_str_dynptr(&ptr, PROBE - ETH_HEADER, 2, user(STRING_AT)), -EINVAL);
	EXPECT_EQ(bpf_probe_read_kernel_str_dynptr(&ptr, PROBE - ETH_HEADER, 2, KERNEL(0)), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, PROBE - ETH_HEADER, 0), 0);
	EXPECT_EQ(in[0], PROBE);
	EXPECT_EQ(in[1], PROBE + 1);
	done();
	return 1;
}

/* So does the file: nothing else that is only read is at hand where a program may wait. */
SEC("lsm.s/file_ioctl")
int BPF_PROG(test_copy_from_user_readonly, struct file *file)
{
	struct bpf_dynptr ptr;
	__u8 in = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_file(file, 0, &ptr), 0);
	EXPECT_EQ(bpf_copy_from_user_dynptr(&ptr, 8, 2, user(3)), -EINVAL);
	EXPECT_EQ(bpf_copy_from_user_str_dynptr(&ptr, 8, 2, user(STRING_AT)), -EINVAL);
	EXPECT_EQ(COPY_FROM_TASK(&ptr, 8, 2, user(3)), -EINVAL);
	EXPECT_EQ(COPY_STRING_FROM_TASK(&ptr, 8, 2, user(STRING_AT)), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 8, 0), 0);
	EXPECT_EQ(in, 8);
	EXPECT_EQ(bpf_dynptr_file_discard(&ptr), 0);
	return done();
}

/* --- refused --------------------------------------------------------------------------------------------------------- */

SEC("raw_tp")
int probe_read_user_uninitialised(void *ctx)
{
	struct bpf_dynptr none;

	bpf_probe_read_user_dynptr(&none, 0, 8, user(0));
	return 0;
}

SEC("raw_tp")
int probe_read_kernel_uninitialised(void *ctx)
{
	struct bpf_dynptr none;

	bpf_probe_read_kernel_dynptr(&none, 0, 8, user(0));
	return 0;
}

SEC("raw_tp")
int probe_read_user_str_uninitialised(void *ctx)
{
	struct bpf_dynptr none;

	bpf_probe_read_user_str_dynptr(&none, 0, 8, user(0));
	return 0;
}

SEC("raw_tp")
int probe_read_kernel_str_uninitialised(void *ctx)
{
	struct bpf_dynptr none;

	bpf_probe_read_kernel_str_dynptr(&none, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int copy_from_user_uninitialised(void *ctx)
{
	struct bpf_dynptr none;

	bpf_copy_from_user_dynptr(&none, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int copy_from_user_str_uninitialised(void *ctx)
{
	struct bpf_dynptr none;

	bpf_copy_from_user_str_dynptr(&none, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int copy_from_user_task_uninitialised(void *ctx)
{
	struct bpf_dynptr none;

	bpf_copy_from_user_task_dynptr(&none, 0, 8, user(0), bpf_get_current_task_btf());
	return 0;
}

SEC("syscall")
int copy_from_user_task_str_uninitialised(void *ctx)
{
	struct bpf_dynptr none;

	bpf_copy_from_user_task_str_dynptr(&none, 0, 8, user(0), bpf_get_current_task_btf());
	return 0;
}

/* A program that must not wait cannot call what may. */
SEC("raw_tp")
int copy_from_user_not_sleepable(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_copy_from_user_dynptr(&ptr, 0, 8, user(0));
	return 0;
}

SEC("raw_tp")
int copy_from_user_str_not_sleepable(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_copy_from_user_str_dynptr(&ptr, 0, 8, user(0));
	return 0;
}

SEC("raw_tp")
int copy_from_user_task_not_sleepable(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_copy_from_user_task_dynptr(&ptr, 0, 8, user(0), bpf_get_current_task_btf());
	return 0;
}

SEC("raw_tp")
int copy_from_user_task_str_not_sleepable(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_copy_from_user_task_str_dynptr(&ptr, 0, 8, user(0), bpf_get_current_task_btf());
	return 0;
}

/* Whoever may load programs, and not look into the kernel (CAP_BPF without CAP_PERFMON), may read with these until 7.3. */
SEC("syscall")
int probe_read_user_perfmon(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_probe_read_user_dynptr(&ptr, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int probe_read_kernel_perfmon(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_probe_read_kernel_dynptr(&ptr, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int probe_read_user_str_perfmon(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_probe_read_user_str_dynptr(&ptr, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int probe_read_kernel_str_perfmon(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_probe_read_kernel_str_dynptr(&ptr, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int copy_from_user_perfmon(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_copy_from_user_dynptr(&ptr, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int copy_from_user_str_perfmon(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_copy_from_user_str_dynptr(&ptr, 0, 8, user(0));
	return 0;
}

SEC("syscall")
int copy_from_user_task_perfmon(void *ctx)
{
	struct task_struct *task;
	LOCAL_DYNPTR(ptr, mem);

	task = bpf_task_from_pid(config.pid);
	if (!task)
		return 0;
	bpf_copy_from_user_task_dynptr(&ptr, 0, 8, user(0), task);
	bpf_task_release(task);
	return 0;
}

SEC("syscall")
int copy_from_user_task_str_perfmon(void *ctx)
{
	struct task_struct *task;
	LOCAL_DYNPTR(ptr, mem);

	task = bpf_task_from_pid(config.pid);
	if (!task)
		return 0;
	bpf_copy_from_user_task_str_dynptr(&ptr, 0, 8, user(0), task);
	bpf_task_release(task);
	return 0;
}

/* There may be no such process: whoever does not ask has none. */
SEC("syscall")
int copy_from_user_task_maybe_null(void *ctx)
{
	struct task_struct *task;
	LOCAL_DYNPTR(ptr, mem);

	task = bpf_task_from_pid(config.pid);
	bpf_copy_from_user_task_dynptr(&ptr, 0, 8, user(0), task);
	if (task)
		bpf_task_release(task);
	return 0;
}

SEC("syscall")
int copy_from_user_task_str_maybe_null(void *ctx)
{
	struct task_struct *task;
	LOCAL_DYNPTR(ptr, mem);

	task = bpf_task_from_pid(config.pid);
	bpf_copy_from_user_task_str_dynptr(&ptr, 0, 8, user(0), task);
	if (task)
		bpf_task_release(task);
	return 0;
}
