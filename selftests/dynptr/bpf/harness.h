/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What every program of the suite shares: how the harness tells it what to do, how it answers, and the
 * kernel functions that it may call.
 *
 * All .bpf.c files are linked into one object. The harness loads one program of it at a time, with maps that no
 * other test has touched.
 */
#ifndef KVET_DYNPTR_HARNESS_H
#define KVET_DYNPTR_HARNESS_H

#include <linux/bpf.h>
#include <linux/errno.h>
#include <stdbool.h>
#include <stddef.h>

#include <bpf/bpf_helpers.h>

/* What the harness tells the program; src/report.rs has the same layout. */
struct config {
	__u32 pid; /* the process whose system calls count */
	__u32 bytes; /* length of the packet that is sent, 0 where there is none */
	__u32 linear; /* so much of it is in one piece */
	__u32 in_release_window; /* 1 if the kernel has reached the test's `release_window` */
	__u64 user; /* memory of the process: src/trigger/mod.rs says what is there */
	__u32 interface; /* the number of the interface under test */
	__s32 key; /* the number of a keyring */
	__u32 protocol; /* the type that the frame says it has */
	__u32 other; /* another process */
};

/* What the program answers; src/report.rs has the same layout. */
struct report {
	__u32 runs; /* how often a program reached done() */
	__u32 failures; /* how many expectations did not hold */
	__u32 line; /* of the first one */
	__u32 unused;
	__s64 got;
	__s64 want;
};

/* Both live in a section (and so in a map) of their own, in common.bpf.c. */
extern volatile struct config config;
extern volatile struct report report;

/* The longest value that the maps below hold, and the usual size of a local dynptr in these tests. */
#define VALUE_BYTES 256
/* A multiple of every page size that Linux has. */
#define RINGBUF_BYTES (64 * 1024)
/* The kernel gives dynptrs 24 bits for their size. */
#define DYNPTR_MAX_BYTES ((1 << 24) - 1)

/* Kernel types that programs only pass on. The verifier goes by their names, libbpf by their being structs. */
struct file {
	void *unused;
};
struct dentry {
	void *unused;
};
struct socket {
	void *unused;
};
struct task_struct {
	void *unused;
};
struct cgroup {
	void *unused;
};
struct bpf_key {
	void *unused;
};
struct bpf_crypto_ctx {
	void *unused;
};

struct value {
	__u8 bytes[VALUE_BYTES];
};

struct value_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, struct value);
};

struct ringbuf_map {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RINGBUF_BYTES);
};

/* Values of a dynptr's size. */
struct pair_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64[2]);
};

/* Programs may only read it. */
struct constant_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(map_flags, BPF_F_RDONLY_PROG);
	__type(key, __u32);
	__type(value, struct value);
};

struct user_ringbuf_map {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, RINGBUF_BYTES);
};

/* A message, and what is said to be its signature. */
#define MESSAGE_BYTES 64
#define SIGNATURE_BYTES 1024

struct signed_message {
	__u32 message_length;
	__u32 signature_length;
	__u8 message[MESSAGE_BYTES];
	__u8 signature[SIGNATURE_BYTES];
};

struct signed_message_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct signed_message);
};

/* A context that one program makes and another uses. */
struct crypto_value {
	struct bpf_crypto_ctx __kptr *ctx;
};

struct crypto_map {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct crypto_value);
};

extern struct signed_message_map signed_messages SEC(".maps");
extern struct crypto_map crypto_contexts SEC(".maps");
extern struct user_ringbuf_map user_ringbuf SEC(".maps");
extern struct value_map values SEC(".maps");
extern struct pair_map pairs SEC(".maps");
extern struct constant_map constants SEC(".maps");
extern struct ringbuf_map ringbuf SEC(".maps");

/* --- expectations ------------------------------------------------------------------------------------------ */

/* Keeps the first failure; later ones are often only its consequence, and are counted. */
static __noinline __attribute__((unused)) void note_failure(__u32 line, __s64 got, __s64 want)
{
	if (!report.failures) {
		report.line = line;
		report.got = got;
		report.want = want;
	}
	report.failures += 1;
}

/* True if it holds, so that a program can return where going on makes no sense. */
#define EXPECT_EQ(actual, wanted)                                 \
	({                                                        \
		__s64 got_ = (__s64)(actual);                     \
		__s64 want_ = (__s64)(wanted);                    \
		if (got_ != want_)                                \
			note_failure(__LINE__, got_, want_);      \
		got_ == want_;                                    \
	})

#define EXPECT_TRUE(condition) EXPECT_EQ(!!(condition), 1)
#define EXPECT_NULL(pointer) EXPECT_EQ((pointer) == NULL, 1)

/* The program reached its end: without it a test that was never triggered would pass. */
static __always_inline int done(void)
{
	report.runs += 1;
	return 0;
}

/* Is this the system call that the harness made? */
static __always_inline bool called_by_harness(void)
{
	return bpf_get_current_pid_tgid() >> 32 == config.pid;
}

/* The map value that a test uses as memory; its key, 0 or 1, tells two of them apart. */
static __always_inline struct value *value_of(__u32 key)
{
	return bpf_map_lookup_elem(&values, &key);
}

/* A dynptr over the whole value 0; returns the caller's program early where that cannot be had. */
#define LOCAL_DYNPTR(ptr, mem)                                             \
	struct bpf_dynptr ptr = {};                                        \
	struct value *mem;                                                 \
	if (!called_by_harness())                                          \
		return 0;                                                  \
	mem = value_of(0);                                                 \
	if (!mem)                                                          \
		return 0;                                                  \
	if (!EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr), 0)) \
		return 0

/* --- packets ----------------------------------------------------------------------------------------------- */

/* The harness' frame: Ethernet header, then bytes that are their own offset. src/packet.rs builds it. */
#define ETH_HEADER 14
#define FRAME_TYPE 0x88b5 /* set aside for local experiments */

#define TC_OK 0
#define TC_SHOT 2

/* --- kernel functions -------------------------------------------------------------------------------------- */

/*
 * Weak: the object is prepared on kernels that lack some of them; a program that calls one which is not there is
 * refused. Sizes and offsets are 64 bits wide since 6.19 and were 32 before. libbpf and the verifier do not
 * distinguish them. Tests that pass values which fit in 64 bits only need `wide_sizes`.
 */
extern int bpf_dynptr_from_skb(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern int bpf_dynptr_from_skb_meta(struct __sk_buff *skb, __u64 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern int bpf_dynptr_from_xdp(struct xdp_md *xdp, __u64 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern void *bpf_dynptr_slice(const struct bpf_dynptr *ptr, __u64 offset, void *buffer, __u64 size) __ksym __weak;
extern void *bpf_dynptr_slice_rdwr(const struct bpf_dynptr *ptr, __u64 offset, void *buffer,
				   __u64 size) __ksym __weak;
extern int bpf_dynptr_adjust(const struct bpf_dynptr *ptr, __u64 start, __u64 end) __ksym __weak;
extern bool bpf_dynptr_is_null(const struct bpf_dynptr *ptr) __ksym __weak;
extern bool bpf_dynptr_is_rdonly(const struct bpf_dynptr *ptr) __ksym __weak;
extern __u64 bpf_dynptr_size(const struct bpf_dynptr *ptr) __ksym __weak;
extern int bpf_dynptr_clone(const struct bpf_dynptr *ptr, struct bpf_dynptr *clone) __ksym __weak;
extern int bpf_dynptr_copy(struct bpf_dynptr *to, __u64 to_offset, struct bpf_dynptr *from, __u64 from_offset,
			   __u64 size) __ksym __weak;
extern int bpf_probe_read_user_dynptr(struct bpf_dynptr *to, __u64 offset, __u64 size, const void *from) __ksym __weak;
extern int bpf_probe_read_kernel_dynptr(struct bpf_dynptr *to, __u64 offset, __u64 size, const void *from) __ksym __weak;
extern int bpf_probe_read_user_str_dynptr(struct bpf_dynptr *to, __u64 offset, __u64 size,
					  const void *from) __ksym __weak;
extern int bpf_probe_read_kernel_str_dynptr(struct bpf_dynptr *to, __u64 offset, __u64 size,
					    const void *from) __ksym __weak;
extern int bpf_copy_from_user_dynptr(struct bpf_dynptr *to, __u64 offset, __u64 size, const void *from) __ksym __weak;
extern int bpf_copy_from_user_str_dynptr(struct bpf_dynptr *to, __u64 offset, __u64 size,
					 const void *from) __ksym __weak;
extern int bpf_copy_from_user_task_dynptr(struct bpf_dynptr *to, __u64 offset, __u64 size, const void *from,
					  struct task_struct *task) __ksym __weak;
extern int bpf_copy_from_user_task_str_dynptr(struct bpf_dynptr *to, __u64 offset, __u64 size, const void *from,
					      struct task_struct *task) __ksym __weak;
extern int bpf_dynptr_memset(struct bpf_dynptr *ptr, __u64 offset, __u64 size, __u8 byte) __ksym __weak;

#endif
