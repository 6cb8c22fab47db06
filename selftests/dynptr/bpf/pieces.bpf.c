// SPDX-License-Identifier: GPL-2.0-only
/* Packets in several pieces, and packets of all the types of program that get them. */
#include "harness.h"

#include <bpf/bpf_tracing.h>

/* --- an sk_buff whose first `config.linear` bytes are in one piece ------------------------------------------------ */

SEC("tc")
int test_dynptr_skb_slice_non_linear(struct __sk_buff *skb)
{
	__u8 buffer[16] = {}, *slice;
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_size(&ptr), config.bytes);
	EXPECT_EQ((__u32)(skb->data_end - skb->data), config.linear);

	/* In one piece: no copy. */
	slice = bpf_dynptr_slice(&ptr, config.linear - 16, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return TC_OK;
	EXPECT_EQ(slice[15], (config.linear - 1) & 0xff);
	EXPECT_EQ(buffer[15], 0);

	/* In two: a copy, in the buffer. */
	slice = bpf_dynptr_slice(&ptr, config.linear - 8, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return TC_OK;
	EXPECT_EQ(slice[0], (config.linear - 8) & 0xff);
	EXPECT_EQ(slice[15], (config.linear + 7) & 0xff);
	EXPECT_EQ(buffer[15], (config.linear + 7) & 0xff);
	return done();
}

SEC("tc")
int test_skb_pieces_bounds(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[16] = {};

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	EXPECT_TRUE(bpf_dynptr_slice(&ptr, config.bytes - 16, buffer, sizeof(buffer)));
	EXPECT_NULL(bpf_dynptr_slice(&ptr, config.bytes - 15, buffer, sizeof(buffer)));
	EXPECT_NULL(bpf_dynptr_slice(&ptr, config.bytes, buffer, sizeof(buffer)));
	EXPECT_NULL(bpf_dynptr_slice_rdwr(&ptr, config.bytes - 15, buffer, sizeof(buffer)));
	EXPECT_EQ(bpf_dynptr_read(buffer, 16, &ptr, config.bytes - 15, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, config.bytes - 15, buffer, 16, 0), -E2BIG);
	return done();
}

/* What is not in one piece cannot be had without a buffer. */
SEC("tc")
int test_dynptr_skb_no_buff_non_linear(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	EXPECT_TRUE(bpf_dynptr_slice(&ptr, config.linear - 16, NULL, 16));
	EXPECT_NULL(bpf_dynptr_slice(&ptr, config.linear - 15, NULL, 16));
	EXPECT_NULL(bpf_dynptr_slice(&ptr, config.linear, NULL, 16));
	return done();
}

/* Reading and writing need no buffer, wherever it is. */
SEC("tc")
int test_skb_pieces_read_write(struct __sk_buff *skb)
{
	__u8 out[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, in[8] = {};
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_read(in, 8, &ptr, config.linear - 4, 0), 0);
	EXPECT_EQ(in[0], (config.linear - 4) & 0xff);
	EXPECT_EQ(in[7], (config.linear + 3) & 0xff);
	EXPECT_EQ(bpf_dynptr_write(&ptr, config.linear - 4, out, 8, 0), 0);
	EXPECT_EQ(bpf_skb_load_bytes(skb, config.linear - 5, in, 8), 0);
	EXPECT_EQ(in[0], (config.linear - 5) & 0xff);
	EXPECT_EQ(in[1], 1);
	EXPECT_EQ(in[7], 7);
	EXPECT_EQ(bpf_dynptr_write(&ptr, config.bytes - 8, out, 8, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(in, 8, &ptr, config.bytes - 8, 0), 0);
	EXPECT_EQ(in[7], 8);
	return done();
}

/* A slice to write to, over the border: written to the buffer, and not to the packet, until it is put back. */
SEC("tc")
int test_skb_pieces_slice_rdwr(struct __sk_buff *skb)
{
	__u8 buffer[8] = {}, in = 0, *slice;
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	slice = bpf_dynptr_slice_rdwr(&ptr, config.linear - 4, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return TC_OK;
	EXPECT_EQ(slice[7], (config.linear + 3) & 0xff);
	slice[7] = 0xee;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, config.linear + 3, 0), 0);
	EXPECT_EQ(in, (config.linear + 3) & 0xff);
	EXPECT_EQ(bpf_dynptr_write(&ptr, config.linear - 4, buffer, 8, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, config.linear + 3, 0), 0);
	EXPECT_EQ(in, 0xee);
	return done();
}

/* Bounds that adjusting has set are those of slices, too. */
SEC("tc")
int test_skb_pieces_adjust(struct __sk_buff *skb)
{
	__u8 buffer[8] = {}, *slice;
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, config.linear - 4, config.linear + 12), 0);
	slice = bpf_dynptr_slice(&ptr, 8, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return TC_OK;
	EXPECT_EQ(slice[0], (config.linear + 4) & 0xff);
	EXPECT_NULL(bpf_dynptr_slice(&ptr, 9, buffer, sizeof(buffer)));
	EXPECT_NULL(bpf_dynptr_slice(&ptr, 16, buffer, sizeof(buffer)));
	return done();
}

/* A packet as they really come: headers in one piece, the payload of a TCP segment in others. */
SEC("tcx/ingress")
int test_skb_pieces_tcp(struct __sk_buff *skb)
{
	__u8 buffer[8] = {}, out[2] = { 0xaa, 0xbb }, *slice;
	struct bpf_dynptr ptr;
	__u32 payload;

	/* Those that carry nothing come before it. */
	if (skb->len < config.bytes)
		return TC_OK;
	payload = skb->len - config.bytes;
	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_size(&ptr), skb->len);
	EXPECT_TRUE((__u32)(skb->data_end - skb->data) < skb->len);
	EXPECT_EQ(bpf_dynptr_read(buffer, 8, &ptr, payload + 3000, 0), 0);
	EXPECT_EQ(buffer[0], 3000 & 0xff);
	slice = bpf_dynptr_slice(&ptr, payload + 100, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return TC_OK;
	EXPECT_EQ(slice[7], 107);
	EXPECT_EQ(bpf_dynptr_write(&ptr, payload + 2000, out, 2, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(buffer, 2, &ptr, payload + 2000, 0), 0);
	EXPECT_EQ(buffer[1], 0xbb);
	EXPECT_EQ(bpf_dynptr_read(buffer, 2, &ptr, skb->len - 1, 0), -E2BIG);
	done();
	return TC_OK;
}

/* Without a buffer, nothing behind the first piece can be had, however far behind it. */
SEC("tcx/ingress")
int test_skb_pieces_tcp_no_buffer(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	if (skb->len < config.bytes)
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	EXPECT_NULL(bpf_dynptr_slice(&ptr, skb->len - 1000, NULL, 8));
	done();
	return TC_OK;
}

SEC("tc")
int test_skb_pieces_no_buffer(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return TC_OK;
	EXPECT_NULL(bpf_dynptr_slice(&ptr, config.linear + 1000, NULL, 8));
	return done();
}

/* --- XDP: the first piece is a page, less what the kernel keeps around it ------------------------------------------ */

/* This is behind the first piece, and these bytes are in two. */
#define BEHIND 6000
#define ACROSS (xdp->data_end - xdp->data - 4)

SEC("xdp.frags")
int test_xdp_frags_read_write(struct xdp_md *xdp)
{
	__u8 out[8] = { 1, 2, 3, 4, 5, 6, 7, 8 }, in[8] = {};
	__u32 across = ACROSS;
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_dynptr_size(&ptr), config.bytes);
	EXPECT_TRUE(across + 4 < config.bytes);
	EXPECT_EQ(bpf_dynptr_read(in, 8, &ptr, across, 0), 0);
	EXPECT_EQ(in[0], across & 0xff);
	EXPECT_EQ(in[7], (across + 7) & 0xff);
	EXPECT_EQ(bpf_dynptr_write(&ptr, across, out, 8, 0), 0);
	EXPECT_EQ(bpf_xdp_load_bytes(xdp, across, in, 8), 0);
	EXPECT_EQ(in[0], 1);
	EXPECT_EQ(in[7], 8);
	EXPECT_EQ(bpf_dynptr_read(in, 8, &ptr, config.bytes - 7, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, config.bytes - 7, in, 8, 0), -E2BIG);
	done();
	return XDP_PASS;
}

SEC("xdp.frags")
int test_xdp_frags_slice(struct xdp_md *xdp)
{
	__u8 buffer[8] = {}, *slice;
	__u32 across = ACROSS;
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	/* Any piece will do, as long as it is one. */
	slice = bpf_dynptr_slice(&ptr, BEHIND, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return XDP_PASS;
	EXPECT_EQ(slice[0], BEHIND & 0xff);
	EXPECT_EQ(buffer[0], 0);
	slice = bpf_dynptr_slice(&ptr, across, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return XDP_PASS;
	EXPECT_EQ(slice[7], (across + 7) & 0xff);
	EXPECT_EQ(buffer[7], (across + 7) & 0xff);
	EXPECT_NULL(bpf_dynptr_slice(&ptr, config.bytes - 7, buffer, sizeof(buffer)));
	done();
	return XDP_PASS;
}

SEC("xdp.frags")
int test_xdp_frags_slice_rdwr(struct xdp_md *xdp)
{
	__u8 buffer[8] = {}, in = 0, *slice;
	__u32 across = ACROSS;
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	slice = bpf_dynptr_slice_rdwr(&ptr, BEHIND, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return XDP_PASS;
	slice[7] = 0xee;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, BEHIND + 7, 0), 0);
	EXPECT_EQ(in, 0xee);
	/* A copy is not the packet. */
	slice = bpf_dynptr_slice_rdwr(&ptr, across, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice) || !slice)
		return XDP_PASS;
	slice[7] = 0xdd;
	EXPECT_EQ(buffer[7], 0xdd);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, across + 7, 0), 0);
	EXPECT_EQ(in, (across + 7) & 0xff);
	done();
	return XDP_PASS;
}

SEC("xdp.frags")
int test_xdp_frags_adjust(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr, clone;
	__u32 across = ACROSS;
	__u8 in[8] = {};

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, across, BEHIND), 0);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_size(&clone), BEHIND - across);
	EXPECT_EQ(bpf_dynptr_read(in, 8, &clone, 0, 0), 0);
	EXPECT_EQ(in[7], (across + 7) & 0xff);
	EXPECT_EQ(bpf_dynptr_read(in, 8, &clone, BEHIND - across - 7, 0), -E2BIG);
	done();
	return XDP_PASS;
}

/* --- the types of program that may make one of a packet -------------------------------------------------------------- */

/*
 * What every one of them does. `header` bytes are not there for those that see the packet from behind its Ethernet
 * header; `writing` is what a write gives.
 */
static __always_inline void test_type(struct __sk_buff *skb, __u32 header, int writing)
{
	struct bpf_dynptr ptr;
	__u8 in = 0, out = 0xee;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return;
	EXPECT_EQ(bpf_dynptr_size(&ptr), config.bytes - header);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 40 - header, 0), 0);
	EXPECT_EQ(in, 40);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), writing != 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 40 - header, &out, 1, 0), writing);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 40 - header, 0), 0);
	EXPECT_EQ(in, writing ? 40 : 0xee);
	done();
}

SEC("tc")
int skb_in_tc(struct __sk_buff *skb)
{
	test_type(skb, 0, 0);
	return TC_OK;
}

SEC("action")
int skb_in_action(struct __sk_buff *skb)
{
	test_type(skb, 0, 0);
	return TC_OK;
}

SEC("socket")
int skb_in_socket(struct __sk_buff *skb)
{
	test_type(skb, ETH_HEADER, -EINVAL);
	return 0;
}

SEC("cgroup_skb/ingress")
int skb_in_cgroup_ingress(struct __sk_buff *skb)
{
	test_type(skb, ETH_HEADER, -EINVAL);
	return 1;
}

SEC("cgroup_skb/egress")
int skb_in_cgroup_egress(struct __sk_buff *skb)
{
	test_type(skb, ETH_HEADER, -EINVAL);
	return 1;
}

SEC("lwt_in")
int skb_in_lwt_in(struct __sk_buff *skb)
{
	test_type(skb, ETH_HEADER, -EINVAL);
	return 0;
}

SEC("lwt_out")
int skb_in_lwt_out(struct __sk_buff *skb)
{
	test_type(skb, ETH_HEADER, -EINVAL);
	return 0;
}

SEC("lwt_xmit")
int skb_in_lwt_xmit(struct __sk_buff *skb)
{
	test_type(skb, ETH_HEADER, 0);
	return 0;
}

/* A packet that somebody is about to free; it can be looked at, and not be written. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(test_dynptr_skb_tp_btf, void *skb)
{
	struct bpf_dynptr ptr;
	__u8 in = 0, again = 0xff, out = 0;

	if (!called_by_harness())
		return 0;
	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	EXPECT_TRUE(bpf_dynptr_size(&ptr) > 0);
	/* What it is depends on the packet. */
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 0, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&again, 1, &ptr, 0, 0), 0);
	EXPECT_EQ(again, in);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), true);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &out, 1, 0), -EINVAL);
	return done();
}
