// SPDX-License-Identifier: GPL-2.0-only
/*
 * Metadata that an XDP program put in front of a packet, seen through a dynptr in TC. The harness writes a frame
 * into a tap device; `meta_writer` is attached to it as XDP, and the program under test at TC ingress.
 */
#include "harness.h"

/* Metadata comes in multiples of 4; byte i of it is META_FIRST + i. */
#define META_BYTES 32
#define META_FIRST 0x40

/* Other packets, such as those of IPv6, come along too. */
static __always_inline bool is_our_frame(struct __sk_buff *skb)
{
	return skb->protocol == __builtin_bswap16(FRAME_TYPE);
}

SEC("xdp")
int meta_writer(struct xdp_md *xdp)
{
	__u8 *meta, *data;

	if (!EXPECT_EQ(bpf_xdp_adjust_meta(xdp, -META_BYTES), 0))
		return XDP_DROP;
	meta = (void *)(long)xdp->data_meta;
	data = (void *)(long)xdp->data;
	if (meta + META_BYTES > data)
		return XDP_DROP;
	for (int i = 0; i < META_BYTES; i++)
		meta[i] = META_FIRST + i;
	return XDP_PASS;
}

SEC("xdp")
int meta_none(struct xdp_md *xdp)
{
	return XDP_PASS;
}

SEC("tcx/ingress")
int dynptr_read(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 in[META_BYTES] = {};

	if (!is_our_frame(skb))
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	EXPECT_EQ(bpf_dynptr_size(&meta), META_BYTES);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&meta), false);
	EXPECT_EQ(bpf_dynptr_read(in, META_BYTES, &meta, 0, 0), 0);
	for (int i = 0; i < META_BYTES; i++)
		EXPECT_EQ(in[i], META_FIRST + i);
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int dynptr_write(struct __sk_buff *skb)
{
	__u8 out[4] = { 1, 2, 3, 4 }, in[4] = {}, *data, *direct;
	struct bpf_dynptr meta;

	if (!is_our_frame(skb))
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	EXPECT_EQ(bpf_dynptr_write(&meta, 8, out, sizeof(out), 0), 0);
	EXPECT_EQ(bpf_dynptr_read(in, sizeof(in), &meta, 7, 0), 0);
	EXPECT_EQ(in[0], META_FIRST + 7);
	EXPECT_EQ(in[1], 1);
	EXPECT_EQ(in[3], 3);

	/* The old way to the same memory agrees. */
	direct = (void *)(long)skb->data_meta;
	data = (void *)(long)skb->data;
	if (!EXPECT_TRUE(direct + META_BYTES <= data))
		return TC_SHOT;
	if (direct + META_BYTES > data)
		return TC_SHOT;
	EXPECT_EQ(direct[11], 4);
	EXPECT_EQ(direct[12], META_FIRST + 12);
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int dynptr_slice(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 *slice;

	if (!is_our_frame(skb))
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	slice = bpf_dynptr_slice(&meta, 0, NULL, META_BYTES);
	if (!EXPECT_TRUE(slice))
		return TC_SHOT;
	for (int i = 0; i < META_BYTES; i++)
		EXPECT_EQ(slice[i], META_FIRST + i);
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int dynptr_slice_rdwr(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 in = 0, *slice;

	if (!is_our_frame(skb))
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	slice = bpf_dynptr_slice_rdwr(&meta, 16, NULL, 4);
	if (!EXPECT_TRUE(slice))
		return TC_SHOT;
	EXPECT_EQ(slice[0], META_FIRST + 16);
	slice[0] = 0x7f;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, 16, 0), 0);
	EXPECT_EQ(in, 0x7f);
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int dynptr_offset(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 in = 0, out = 0x7e;

	if (!is_our_frame(skb))
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	EXPECT_EQ(bpf_dynptr_adjust(&meta, 4, 12), 0);
	EXPECT_EQ(bpf_dynptr_size(&meta), 8);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, 0, 0), 0);
	EXPECT_EQ(in, META_FIRST + 4);
	EXPECT_EQ(bpf_dynptr_write(&meta, 7, &out, 1, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, 8, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_adjust(&meta, 6, 8), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, 1, 0), 0);
	EXPECT_EQ(in, 0x7e);
	done();
	return TC_SHOT;
}

/* Neither the last byte nor the packet behind it can be passed. */
SEC("tcx/ingress")
int dynptr_offset_oob(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 bytes[4] = {};

	if (!is_our_frame(skb))
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	EXPECT_EQ(bpf_dynptr_read(bytes, 4, &meta, META_BYTES - 4, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(bytes, 4, &meta, META_BYTES - 3, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&meta, META_BYTES - 3, bytes, 4, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&meta, META_BYTES, bytes, 1, 0), -E2BIG);
	EXPECT_NULL(bpf_dynptr_slice(&meta, META_BYTES - 3, NULL, 4));
	EXPECT_NULL(bpf_dynptr_slice_rdwr(&meta, META_BYTES, NULL, 1));
	EXPECT_EQ(bpf_dynptr_adjust(&meta, 0, META_BYTES + 1), -ERANGE);
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int dynptr_flags(struct __sk_buff *skb)
{
	struct bpf_dynptr meta, null;
	__u8 byte = 1;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 1, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_is_null(&null), true);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &null, 0, 0), -EINVAL);
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	EXPECT_EQ(bpf_dynptr_write(&meta, 0, &byte, 1, 1), -EINVAL);
	done();
	return TC_SHOT;
}

/* No XDP program made room for any. */
SEC("tcx/ingress")
int dynptr_empty(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 byte = 1;

	if (!is_our_frame(skb))
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	EXPECT_EQ(bpf_dynptr_size(&meta), 0);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &meta, 0, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&meta, 0, &byte, 1, 0), -E2BIG);
	EXPECT_NULL(bpf_dynptr_slice(&meta, 0, NULL, 1));
	done();
	return TC_SHOT;
}

/* Writing to the packet leaves the metadata as they were, and the other way round. */
SEC("tcx/ingress")
int dynptr_beside_payload(struct __sk_buff *skb)
{
	struct bpf_dynptr meta, packet;
	__u8 in = 0, out = 0x55;

	if (!is_our_frame(skb))
		return TC_OK;
	if (!EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0))
		return TC_SHOT;
	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &packet), 0))
		return TC_SHOT;
	EXPECT_EQ(bpf_dynptr_write(&packet, ETH_HEADER, &out, 1, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, META_BYTES - 1, 0), 0);
	EXPECT_EQ(in, META_FIRST + META_BYTES - 1);

	EXPECT_EQ(bpf_dynptr_write(&meta, META_BYTES - 1, &out, 1, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &packet, 0, 0), 0);
	EXPECT_EQ(in, 0x02); /* the frame's first byte */
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &packet, ETH_HEADER, 0), 0);
	EXPECT_EQ(in, 0x55);
	done();
	return TC_SHOT;
}
