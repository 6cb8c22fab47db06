// SPDX-License-Identifier: GPL-2.0-only
/*
 * The types of program that may make a dynptr: what is in pieces.bpf.c can be run on request, most of these have to be
 * attached; src/trigger/ does that, a file for each way.
 */
#include "harness.h"

#include <bpf/bpf_tracing.h>

/* --- packets ------------------------------------------------------------------------------------------------- */

/*
 * Byte i of the payload is i, and `header` bytes of protocols come before it. `writing` is what a write gives. True if
 * the test can go on.
 */
static __always_inline bool test_packet(struct bpf_dynptr *ptr, __u32 header, int writing)
{
	__u8 in = 0, out = 0xee, buffer[8] = {}, *slice;

	if (!EXPECT_EQ(bpf_dynptr_size(ptr), header + config.bytes))
		return false;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, ptr, header + config.bytes - 1, 0), 0);
	EXPECT_EQ(in, config.bytes - 1);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, ptr, header + config.bytes, 0), -E2BIG);
	slice = bpf_dynptr_slice(ptr, header + config.bytes - 8, buffer, sizeof(buffer));
	if (!slice) {
		EXPECT_TRUE(slice);
		return false;
	}
	EXPECT_EQ(slice[0], config.bytes - 8);
	EXPECT_EQ(slice[7], config.bytes - 1);
	EXPECT_NULL(bpf_dynptr_data(ptr, 0, 1));
	EXPECT_EQ(bpf_dynptr_is_rdonly(ptr), writing != 0);
	EXPECT_EQ(bpf_dynptr_write(ptr, header + 40, &out, 1, 0), writing);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, ptr, header + 40, 0), 0);
	return EXPECT_EQ(in, writing ? 40 : 0xee);
}

#define IP_UDP_HEADERS 28

/* The payload of a segment, on its way to a socket in a map: may be written, and the socket gets what was written. */
SEC("sk_skb/verdict")
int skb_in_sk_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	/* The end of the connection, on kernels before 7.0. */
	if (!skb->len)
		return SK_PASS;
	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return SK_PASS;
	if (test_packet(&ptr, 0, 0))
		done();
	return SK_PASS;
}

/* What a netfilter program gets. */
struct netfilter_context {
	void *state;
	struct __sk_buff *skb;
};

#define NF_ACCEPT 1

/* A datagram of IPv4 on its way out. */
SEC("netfilter")
int skb_in_netfilter(struct netfilter_context *ctx)
{
	struct bpf_dynptr ptr;
	__u8 in = 0;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(ctx->skb, 0, &ptr), 0))
		return NF_ACCEPT;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 0, 0), 0);
	EXPECT_EQ(in, 0x45);
	if (test_packet(&ptr, IP_UDP_HEADERS, -EINVAL))
		done();
	return NF_ACCEPT;
}

/* IPv6, a routing header with two segments, and UDP. */
#define SEG6_HEADERS (40 + 40 + 8)

/* A packet of IPv6 that has come to a segment: its headers have functions of their own, which may write. */
SEC("lwt_seg6local")
int skb_in_lwt_seg6local(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 in = 0;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return BPF_DROP;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 0, 0), 0);
	EXPECT_EQ(in >> 4, 6);
	/* The kernel has gone on to the last segment. */
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 40 + 3, 0), 0);
	EXPECT_EQ(in, 0);
	if (test_packet(&ptr, SEG6_HEADERS, -EINVAL))
		done();
	return BPF_DROP;
}

/* --- a queueing discipline ------------------------------------------------------------------------------------- */

struct sk_buff {
	void *unused;
};
struct Qdisc {
	void *unused;
};
struct bpf_sk_buff_ptr {
	void *unused;
};

/* The members that we set; libbpf finds the kernel's by name. */
struct Qdisc_ops {
	int (*enqueue)(struct sk_buff *skb, struct Qdisc *qdisc, struct bpf_sk_buff_ptr *to_free);
	struct sk_buff *(*dequeue)(struct Qdisc *qdisc);
	int (*init)(struct Qdisc *qdisc, void *options, void *answer);
	void (*reset)(struct Qdisc *qdisc);
	void (*destroy)(struct Qdisc *qdisc);
	char id[16];
};

extern void bpf_qdisc_skb_drop(struct sk_buff *skb, struct bpf_sk_buff_ptr *to_free) __ksym __weak;

#define NET_XMIT_DROP 1

/* Ethernet, IPv4, UDP: the packet is dropped when it has been looked at. */
SEC("struct_ops")
int BPF_PROG(skb_in_qdisc, struct sk_buff *skb, struct Qdisc *qdisc, struct bpf_sk_buff_ptr *to_free)
{
	struct bpf_dynptr ptr;

	if (EXPECT_EQ(bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &ptr), 0))
		if (test_packet(&ptr, ETH_HEADER + IP_UDP_HEADERS, -EINVAL))
			done();
	bpf_qdisc_skb_drop(skb, to_free);
	return NET_XMIT_DROP;
}

SEC("struct_ops")
int BPF_PROG(qdisc_dequeue, struct Qdisc *qdisc)
{
	return 0;
}

SEC("struct_ops")
int BPF_PROG(qdisc_init, struct Qdisc *qdisc)
{
	return 0;
}

SEC("struct_ops")
int BPF_PROG(qdisc_reset, struct Qdisc *qdisc)
{
	return 0;
}

SEC("struct_ops")
int BPF_PROG(qdisc_destroy, struct Qdisc *qdisc)
{
	return 0;
}

/* The packet is gone, and what was made of it. */
SEC("struct_ops")
int BPF_PROG(qdisc_read_after_drop, struct sk_buff *skb, struct Qdisc *qdisc, struct bpf_sk_buff_ptr *to_free)
{
	struct bpf_dynptr ptr;
	__u8 in = 0;

	bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &ptr);
	bpf_qdisc_skb_drop(skb, to_free);
	bpf_dynptr_read(&in, 1, &ptr, 0, 0);
	return NET_XMIT_DROP;
}

SEC("struct_ops")
int BPF_PROG(qdisc_slice_after_drop, struct sk_buff *skb, struct Qdisc *qdisc, struct bpf_sk_buff_ptr *to_free)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8], *slice;

	bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &ptr);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	bpf_qdisc_skb_drop(skb, to_free);
	return slice ? slice[0] : NET_XMIT_DROP;
}

static __noinline int drop(struct sk_buff *skb, struct bpf_sk_buff_ptr *to_free)
{
	bpf_qdisc_skb_drop(skb, to_free);
	return 0;
}

/* The same where another function does it. */
SEC("struct_ops")
int BPF_PROG(qdisc_slice_after_call, struct sk_buff *skb, struct Qdisc *qdisc, struct bpf_sk_buff_ptr *to_free)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8], *slice;

	bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &ptr);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	drop(skb, to_free);
	return slice ? slice[0] : NET_XMIT_DROP;
}

/* A clone that is no more takes nothing of the other with it. */
SEC("struct_ops")
int BPF_PROG(qdisc_clone_overwritten, struct sk_buff *skb, struct Qdisc *qdisc, struct bpf_sk_buff_ptr *to_free)
{
	struct bpf_dynptr ptr, clone;
	__u8 buffer[8], in = 0, *slice;

	EXPECT_EQ(bpf_dynptr_from_skb((struct __sk_buff *)skb, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_size(&clone), ETH_HEADER + IP_UDP_HEADERS + config.bytes);
	slice = bpf_dynptr_slice(&ptr, ETH_HEADER + IP_UDP_HEADERS + config.bytes - 8, buffer, sizeof(buffer));
	*(volatile __u64 *)&clone = 0;
	if (slice) {
		EXPECT_EQ(slice[7], config.bytes - 1);
		EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, ETH_HEADER, 0), 0);
		EXPECT_EQ(in, 0x45);
		done();
	}
	bpf_qdisc_skb_drop(skb, to_free);
	return NET_XMIT_DROP;
}

SEC(".struct_ops.link")
struct Qdisc_ops kvet_qdisc_call = {
	.enqueue = (void *)qdisc_slice_after_call,
	.id = "kvet_call",
};

SEC(".struct_ops.link")
struct Qdisc_ops kvet_qdisc_clone = {
	.enqueue = (void *)qdisc_clone_overwritten,
	.dequeue = (void *)qdisc_dequeue,
	.init = (void *)qdisc_init,
	.reset = (void *)qdisc_reset,
	.destroy = (void *)qdisc_destroy,
	.id = "kvet",
};

SEC(".struct_ops.link")
struct Qdisc_ops kvet_qdisc_read = {
	.enqueue = (void *)qdisc_read_after_drop,
	.id = "kvet_read",
};

SEC(".struct_ops.link")
struct Qdisc_ops kvet_qdisc_slice = {
	.enqueue = (void *)qdisc_slice_after_drop,
	.id = "kvet_slice",
};

SEC(".struct_ops.link")
struct Qdisc_ops kvet_qdisc = {
	.enqueue = (void *)skb_in_qdisc,
	.dequeue = (void *)qdisc_dequeue,
	.init = (void *)qdisc_init,
	.reset = (void *)qdisc_reset,
	.destroy = (void *)qdisc_destroy,
	.id = "kvet",
};

/* --- memory of the program's own, and records -------------------------------------------------------------------- */

/* Every type of program may have these. Returns `verdict`, with which all goes on as if the program was not there. */
static __always_inline int test_memory(int verdict)
{
	struct bpf_dynptr ptr, record;
	__u8 in[4] = {}, out[4] = { 1, 2, 3, 4 };
	struct value *mem;

	mem = value_of(0);
	if (!mem)
		return verdict;
	if (!EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr), 0))
		return verdict;
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES - 4, out, 4, 0), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES - 3, out, 4, 0), -E2BIG);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 4);
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &record), 0);
	EXPECT_EQ(bpf_dynptr_write(&record, 60, out, 4, 0), 0);
	EXPECT_EQ(bpf_dynptr_write(&record, 61, out, 4, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_read(in, 4, &record, 60, 0), 0);
	EXPECT_EQ(in[3], 4);
	bpf_ringbuf_discard_dynptr(&record, 0);
	done();
	return verdict;
}

SEC("action")
int memory_in_action(void *ctx)
{
	return test_memory(TC_OK);
}

SEC("cgroup/dev")
int memory_in_cgroup_device(void *ctx)
{
	return test_memory(1);
}

SEC("cgroup_skb/egress")
int memory_in_cgroup_skb(void *ctx)
{
	return test_memory(1);
}

SEC("cgroup/sock_create")
int memory_in_cgroup_sock(void *ctx)
{
	return test_memory(1);
}

SEC("cgroup/connect4")
int memory_in_cgroup_sock_addr(void *ctx)
{
	return test_memory(1);
}

SEC("cgroup/getsockopt")
int memory_in_cgroup_sockopt(void *ctx)
{
	return test_memory(1);
}

SEC("cgroup/sysctl")
int memory_in_cgroup_sysctl(void *ctx)
{
	return test_memory(1);
}

SEC("flow_dissector")
int memory_in_flow_dissector(void *ctx)
{
	return test_memory(BPF_OK);
}

SEC("ksyscall/nanosleep")
int memory_in_kprobe(void *ctx)
{
	return test_memory(0);
}

SEC("lwt_in")
int memory_in_lwt_in(void *ctx)
{
	return test_memory(BPF_OK);
}

SEC("lwt_out")
int memory_in_lwt_out(void *ctx)
{
	return test_memory(BPF_OK);
}

SEC("lwt_seg6local")
int memory_in_lwt_seg6local(void *ctx)
{
	return test_memory(BPF_DROP);
}

SEC("lwt_xmit")
int memory_in_lwt_xmit(void *ctx)
{
	return test_memory(BPF_OK);
}

SEC("netfilter")
int memory_in_netfilter(void *ctx)
{
	return test_memory(NF_ACCEPT);
}

SEC("perf_event")
int memory_in_perf_event(void *ctx)
{
	return test_memory(0);
}

SEC("sk_lookup")
int memory_in_sk_lookup(void *ctx)
{
	return test_memory(SK_PASS);
}

SEC("sk_msg")
int memory_in_sk_msg(void *ctx)
{
	return test_memory(SK_PASS);
}

SEC("sk_reuseport")
int memory_in_sk_reuseport(void *ctx)
{
	return test_memory(SK_PASS);
}

SEC("sk_skb/verdict")
int memory_in_sk_skb(void *ctx)
{
	return test_memory(SK_PASS);
}

SEC("sockops")
int memory_in_sock_ops(void *ctx)
{
	return test_memory(1);
}

/* An operation of a queueing discipline. */
SEC("struct_ops")
int BPF_PROG(memory_in_struct_ops, struct sk_buff *skb, struct Qdisc *qdisc, struct bpf_sk_buff_ptr *to_free)
{
	test_memory(0);
	bpf_qdisc_skb_drop(skb, to_free);
	return NET_XMIT_DROP;
}

SEC(".struct_ops.link")
struct Qdisc_ops kvet_qdisc_memory = {
	.enqueue = (void *)memory_in_struct_ops,
	.dequeue = (void *)qdisc_dequeue,
	.init = (void *)qdisc_init,
	.reset = (void *)qdisc_reset,
	.destroy = (void *)qdisc_destroy,
	.id = "kvet",
};

SEC("socket")
int memory_in_socket(void *ctx)
{
	return test_memory(0);
}

SEC("syscall")
int memory_in_syscall(void *ctx)
{
	return test_memory(0);
}

SEC("tc")
int memory_in_tc(void *ctx)
{
	return test_memory(TC_OK);
}

SEC("tp/syscalls/sys_enter_nanosleep")
int memory_in_tracepoint(void *ctx)
{
	return test_memory(0);
}

SEC("tp_btf/sys_enter")
int memory_in_tracing(void *ctx)
{
	return test_memory(0);
}

SEC("xdp")
int memory_in_xdp(void *ctx)
{
	return test_memory(XDP_PASS);
}

/* --- refused ------------------------------------------------------------------------------------------------------ */

/* Not all that see a packet may make a dynptr of it. */
SEC("flow_dissector")
int skb_in_flow_dissector(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	return BPF_OK;
}

SEC("syscall")
int skb_in_syscall(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_skb(ctx, 0, &ptr);
	return 0;
}

/* Nor of its metadata, which are there for TC alone. */
SEC("sk_skb/verdict")
int skb_meta_in_sk_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	return SK_PASS;
}

SEC("lwt_xmit")
int skb_meta_in_lwt_xmit(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	return BPF_OK;
}

SEC("netfilter")
int skb_meta_in_netfilter(struct netfilter_context *ctx)
{
	struct bpf_dynptr meta;

	bpf_dynptr_from_skb_meta(ctx->skb, 0, &meta);
	return NF_ACCEPT;
}

SEC("sk_skb/verdict")
int xdp_in_sk_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_xdp((void *)skb, 0, &ptr);
	return SK_PASS;
}

/* A slice to write to, where the packet is not to be written. */
SEC("netfilter")
int slice_rdwr_in_netfilter(struct netfilter_context *ctx)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8];

	bpf_dynptr_from_skb(ctx->skb, 0, &ptr);
	bpf_dynptr_slice_rdwr(&ptr, 0, buffer, sizeof(buffer));
	return NF_ACCEPT;
}

SEC("lwt_seg6local")
int slice_rdwr_in_lwt_seg6local(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8];

	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_dynptr_slice_rdwr(&ptr, 0, buffer, sizeof(buffer));
	return BPF_DROP;
}

extern int bpf_dynptr_from_file(struct file *file, __u32 flags, struct bpf_dynptr *ptr) __ksym __weak;
extern int bpf_dynptr_file_discard(struct bpf_dynptr *ptr) __ksym __weak;

/* What a program gets for each file that a process has open. */
struct iterator_context {
	void *meta;
	struct task_struct *task;
	__u32 number;
	__u32 unused;
	struct file *file;
};

/* What a function of the kernel gets, or an iterator comes by, may be on its way out. */
SEC("fentry/filp_close")
int BPF_PROG(file_in_fentry, struct file *file)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_file(file, 0, &ptr);
	bpf_dynptr_file_discard(&ptr);
	return 0;
}

SEC("iter/task_file")
int file_in_iterator(struct iterator_context *ctx)
{
	struct file *file = ctx->file;
	struct bpf_dynptr ptr;

	if (!file)
		return 0;
	bpf_dynptr_from_file(file, 0, &ptr);
	bpf_dynptr_file_discard(&ptr);
	return 0;
}

/* Whoever has no right to BPF may load programs of this type, where the kernel lets him, and none with dynptrs. */
SEC("socket")
int memory_in_unprivileged(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	struct value *mem = value_of(0);

	if (mem)
		bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	return 0;
}

SEC("socket")
int record_in_unprivileged(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}
