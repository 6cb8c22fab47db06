// SPDX-License-Identifier: GPL-2.0-only
/* Dynptrs over packets: of an sk_buff where the program may write, where it may only read, and of XDP. */
#include "harness.h"

/* The frame's bytes behind the Ethernet header are their own offset. */
#define PROBE 20

SEC("tc")
int test_skb_read_write(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 in[6] = {}, out[4] = { 0xa, 0xb, 0xc, 0xd };

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	EXPECT_EQ(bpf_dynptr_read(in, 4, &ptr, PROBE, 0), 0);
	EXPECT_EQ(in[0], PROBE);
	EXPECT_EQ(in[3], PROBE + 3);

	EXPECT_EQ(bpf_dynptr_write(&ptr, PROBE, out, 4, 0), 0);
	/* The packet has it, not only the dynptr. */
	EXPECT_EQ(bpf_skb_load_bytes(skb, PROBE - 1, in, 6), 0);
	EXPECT_EQ(in[0], PROBE - 1);
	EXPECT_EQ(in[1], 0xa);
	EXPECT_EQ(in[4], 0xd);
	EXPECT_EQ(in[5], PROBE + 4);
	return done();
}

SEC("tc")
int test_skb_bounds(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 bytes[4] = {};

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	EXPECT_EQ(skb->len, config.bytes);
	EXPECT_EQ(bpf_dynptr_read(bytes, 4, &ptr, skb->len - 4, 0), 0);
	EXPECT_EQ(bytes[3], config.bytes - 1);
	EXPECT_EQ(bpf_dynptr_read(bytes, 4, &ptr, skb->len - 3, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, skb->len - 4, bytes, 4, 0), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, skb->len - 3, bytes, 4, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, skb->len, bytes, 1, 0), -E2BIG);
	return done();
}

SEC("tc")
int test_skb_flags(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr, null;
	__u8 byte = 1;

	EXPECT_EQ(bpf_dynptr_from_skb(skb, 1, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &null, 0, 0), -EINVAL);

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 0, 1), -EINVAL);
	/* Its flags are those of bpf_skb_store_bytes(): these are known to it, the highest is not. */
	EXPECT_EQ(bpf_dynptr_write(&ptr, PROBE, &byte, 1, BPF_F_RECOMPUTE_CSUM | BPF_F_INVALIDATE_HASH), 0);
	byte = 2;
	EXPECT_EQ(bpf_dynptr_write(&ptr, PROBE, &byte, 1, 1ULL << 63), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, PROBE, 0), 0);
	EXPECT_EQ(byte, 1);
	return done();
}

SEC("tc")
int test_skb_slice(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	slice = bpf_dynptr_slice(&ptr, PROBE, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice))
		return 0;
	EXPECT_EQ(slice[0], PROBE);
	EXPECT_EQ(slice[7], PROBE + 7);
	/* The packet is in one piece: no need to copy it into the buffer. */
	EXPECT_EQ(buffer[0], 0);
	slice = bpf_dynptr_slice(&ptr, PROBE, NULL, 8);
	if (!EXPECT_TRUE(slice))
		return 0;
	EXPECT_EQ(slice[7], PROBE + 7);
	return done();
}

SEC("tc")
int test_skb_slice_bounds(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8];

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	EXPECT_TRUE(bpf_dynptr_slice(&ptr, skb->len - 8, buffer, sizeof(buffer)));
	EXPECT_NULL(bpf_dynptr_slice(&ptr, skb->len - 7, buffer, sizeof(buffer)));
	EXPECT_NULL(bpf_dynptr_slice_rdwr(&ptr, skb->len - 7, buffer, sizeof(buffer)));
	EXPECT_NULL(bpf_dynptr_slice(&ptr, skb->len, buffer, sizeof(buffer)));
	return done();
}

SEC("tc")
int test_skb_slice_rdwr(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, in = 0, *slice;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	slice = bpf_dynptr_slice_rdwr(&ptr, PROBE, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice))
		return 0;
	slice[7] = 0xee;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, PROBE + 7, 0), 0);
	EXPECT_EQ(in, 0xee);
	return done();
}

/* An sk_buff need not be in one piece, so bpf_dynptr_data() does not serve it. */
SEC("tc")
int test_dynptr_skb_data(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	EXPECT_NULL(bpf_dynptr_data(&ptr, 0, 1));
	return done();
}

SEC("tc")
int test_skb_adjust(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr, clone;
	__u8 in = 0;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	EXPECT_EQ(bpf_dynptr_size(&ptr), config.bytes);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), false);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, PROBE, PROBE + 10), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 0, 0), 0);
	EXPECT_EQ(in, PROBE);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 10, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_size(&clone), config.bytes);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &clone, PROBE + 10, 0), 0);
	EXPECT_EQ(in, PROBE + 10);
	return done();
}

/* --- where a program may not write --------------------------------------------------------------------------- */

/* These programs see the packet from behind its Ethernet header. */
SEC("cgroup_skb/egress")
int test_skb_readonly(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 in[2] = {}, out[2] = {};

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 1;
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, PROBE - ETH_HEADER, 0), 0);
	EXPECT_EQ(in[0], PROBE);
	EXPECT_EQ(in[1], PROBE + 1);
	EXPECT_EQ(bpf_dynptr_write(&ptr, PROBE - ETH_HEADER, out, 2, 0), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, PROBE - ETH_HEADER, 0), 0);
	EXPECT_EQ(in[0], PROBE);
	done();
	return 1;
}

SEC("socket")
int test_skb_readonly_socket(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 in[2] = {}, out[2] = {};

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 0;
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, PROBE - ETH_HEADER, 0), 0);
	EXPECT_EQ(in[0], PROBE);
	EXPECT_EQ(in[1], PROBE + 1);
	EXPECT_EQ(bpf_dynptr_write(&ptr, PROBE - ETH_HEADER, out, 2, 0), -EINVAL);
	return done();
}

SEC("cgroup_skb/egress")
int test_skb_is_rdonly(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr, clone;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0))
		return 1;
	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), true);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&clone), true);
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 1, 2), 0);
	EXPECT_EQ(bpf_dynptr_size(&clone), 1);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&clone), true);
	done();
	return 1;
}

/* --- XDP ------------------------------------------------------------------------------------------------------ */

SEC("xdp")
int test_xdp_read_write(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;
	__u8 in[4] = {}, out[4] = { 0xa, 0xb, 0xc, 0xd };

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_dynptr_read(in, 4, &ptr, PROBE, 0), 0);
	EXPECT_EQ(in[0], PROBE);
	EXPECT_EQ(in[3], PROBE + 3);
	EXPECT_EQ(bpf_dynptr_write(&ptr, PROBE, out, 4, 0), 0);
	EXPECT_EQ(bpf_xdp_load_bytes(xdp, PROBE, in, 4), 0);
	EXPECT_EQ(in[0], 0xa);
	EXPECT_EQ(in[3], 0xd);
	done();
	return XDP_PASS;
}

SEC("xdp")
int test_xdp_bounds(struct xdp_md *xdp)
{
	__u32 length = config.bytes;
	struct bpf_dynptr ptr;
	__u8 bytes[4] = {};

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_dynptr_read(bytes, 4, &ptr, length - 4, 0), 0);
	EXPECT_EQ(bytes[3], length - 1);
	EXPECT_EQ(bpf_dynptr_read(bytes, 4, &ptr, length - 3, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, length - 3, bytes, 4, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, bytes, 4, 1), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(bytes, 4, &ptr, 0, 1), -EINVAL);
	done();
	return XDP_PASS;
}

SEC("xdp")
int test_xdp_flags(struct xdp_md *xdp)
{
	struct bpf_dynptr null;
	__u8 byte = 1;

	EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 1, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &null, 0, 0), -EINVAL);
	EXPECT_EQ(bpf_dynptr_write(&null, 0, &byte, 1, 0), -EINVAL);
	done();
	return XDP_PASS;
}

SEC("xdp")
int test_xdp_slice(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	slice = bpf_dynptr_slice(&ptr, PROBE, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice))
		return XDP_PASS;
	EXPECT_EQ(slice[0], PROBE);
	EXPECT_EQ(slice[7], PROBE + 7);
	EXPECT_NULL(bpf_dynptr_slice(&ptr, config.bytes - 7, buffer, sizeof(buffer)));
	done();
	return XDP_PASS;
}

SEC("xdp")
int test_xdp_slice_rdwr(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, in = 0, *slice;

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	slice = bpf_dynptr_slice_rdwr(&ptr, PROBE, buffer, sizeof(buffer));
	if (!EXPECT_TRUE(slice))
		return XDP_PASS;
	slice[2] = 0xee;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, PROBE + 2, 0), 0);
	EXPECT_EQ(in, 0xee);
	EXPECT_NULL(bpf_dynptr_slice_rdwr(&ptr, config.bytes - 7, buffer, sizeof(buffer)));
	done();
	return XDP_PASS;
}

SEC("xdp")
int test_xdp_size(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_dynptr_size(&ptr), config.bytes);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), false);
	EXPECT_NULL(bpf_dynptr_data(&ptr, 0, 1));
	done();
	return XDP_PASS;
}
