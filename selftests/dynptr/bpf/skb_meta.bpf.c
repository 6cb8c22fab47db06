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
	return skb->protocol == __builtin_bswap16(config.protocol);
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
	slice = bpf_dynptr_slice_rdwr(&meta, META_BYTES - 4, NULL, 4);
	if (!EXPECT_TRUE(slice))
		return TC_SHOT;
	EXPECT_EQ(slice[0], META_FIRST + META_BYTES - 4);
	EXPECT_EQ(slice[3], META_FIRST + META_BYTES - 1);
	slice[0] = 0x7f;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, META_BYTES - 4, 0), 0);
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

/* --- direct access, and other ways in --------------------------------------------------------------------------- */

/* All that is in the metadata, read the old way. */
static __always_inline bool direct_meta_holds(struct __sk_buff *skb)
{
	__u8 *meta = (void *)(long)skb->data_meta, *data = (void *)(long)skb->data;

	if (meta + META_BYTES > data)
		return false;
	for (int i = 0; i < META_BYTES; i++)
		if (meta[i] != META_FIRST + i)
			return false;
	return true;
}

/* And the new way. */
static __always_inline bool meta_holds(struct bpf_dynptr *meta)
{
	__u8 in[META_BYTES] = {};

	if (bpf_dynptr_size(meta) != META_BYTES || bpf_dynptr_read(in, META_BYTES, meta, 0, 0))
		return false;
	for (int i = 0; i < META_BYTES; i++)
		if (in[i] != META_FIRST + i)
			return false;
	return true;
}

SEC("tcx/ingress")
int data_meta(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_TRUE(direct_meta_holds(skb));
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_TRUE(meta_holds(&meta));
	done();
	return TC_SHOT;
}

/* A frame that an interface of the veth driver has received. */
SEC("tcx/ingress")
int veth(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 out = 0x7d, in = 0;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_TRUE(meta_holds(&meta));
	EXPECT_EQ(bpf_dynptr_write(&meta, 5, &out, 1, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, 5, 0), 0);
	EXPECT_EQ(in, out);
	done();
	return TC_SHOT;
}

/* Of a packet that comes from a test run there are none, and there is no address of metadata to be had. */
SEC("tc")
int test_dynptr_skb_meta_data(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_size(&meta), 0);
	EXPECT_EQ(bpf_dynptr_is_null(&meta), false);
	EXPECT_NULL(bpf_dynptr_data(&meta, 0, 1));
	return done();
}

SEC("tc")
int test_dynptr_skb_meta_flags(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 1, &meta), -EINVAL);
	EXPECT_EQ(bpf_dynptr_is_null(&meta), true);
	return done();
}

SEC("action")
int meta_in_action(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 byte = 1;

	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_write(&meta, 0, &byte, 1, 0), -E2BIG);
	return done();
}

/* Copied, filled and cloned like any other. */
SEC("tcx/ingress")
int dynptr_copy_memset_clone(struct __sk_buff *skb)
{
	struct bpf_dynptr meta, clone, local;
	struct value *mem = value_of(0);
	__u8 in = 0;

	if (!is_our_frame(skb) || !mem)
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &local), 0);
	EXPECT_EQ(bpf_dynptr_copy(&local, VALUE_BYTES - 8, &meta, 4, 8), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 8], META_FIRST + 4);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], META_FIRST + 11);
	EXPECT_EQ(bpf_dynptr_memset(&meta, 30, 2, 0xee), 0);
	EXPECT_EQ(bpf_dynptr_memset(&meta, 31, 2, 0xdd), -E2BIG);
	EXPECT_EQ(bpf_dynptr_clone(&meta, &clone), 0);
	EXPECT_EQ(bpf_dynptr_size(&clone), META_BYTES);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &clone, 31, 0), 0);
	EXPECT_EQ(in, 0xee);
	EXPECT_EQ(bpf_dynptr_copy(&clone, 0, &local, VALUE_BYTES - 1, 1), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, 0, 0), 0);
	EXPECT_EQ(in, META_FIRST + 11);
	done();
	return TC_SHOT;
}

/*
 * What the kernel takes as the context of a test run: metadata of 32 bytes, in front of the data. The harness also
 * tries what it has to refuse.
 */
SEC("xdp")
int xdp_context_test_run(struct xdp_md *xdp)
{
	__u8 *meta = (void *)(long)xdp->data_meta, *data = (void *)(long)xdp->data, in = 0;
	struct bpf_dynptr ptr;

	EXPECT_EQ(data - meta, 32);
	if (meta + 32 > data)
		return XDP_PASS;
	EXPECT_EQ(meta[0], 0);
	EXPECT_EQ(meta[31], 31);
	/* The dynptr is of the packet alone. */
	EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_size(&ptr), config.bytes - 32);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 0, 0), 0);
	EXPECT_EQ(in, 32);
	done();
	return XDP_PASS;
}

/* --- clones: somebody else has the packet as well, and it is copied before it is written ---------------------------- */

/*
 * Until 6.19 (`release_window`), a copy had no metadata; and as a program that writes to the packet is given a copy to begin with,
 * it never saw any. Since then, they are copied, too.
 */
SEC("tcx/ingress")
int clone_data_meta_survives_data_write(struct __sk_buff *skb)
{
	struct bpf_dynptr dynptr;
	__u8 *data, *end;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &dynptr), 0);
	EXPECT_EQ(bpf_dynptr_size(&dynptr), config.in_release_window ? META_BYTES : 0);
	EXPECT_EQ(direct_meta_holds(skb), config.in_release_window);
	data = (void *)(long)skb->data;
	end = (void *)(long)skb->data_end;
	if (data + ETH_HEADER < end)
		data[ETH_HEADER - 1] = 0x42;
	EXPECT_EQ(direct_meta_holds(skb), config.in_release_window);
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int clone_data_meta_survives_meta_write(struct __sk_buff *skb)
{
	struct bpf_dynptr dynptr;
	__u8 *meta, *data;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &dynptr), 0);
	EXPECT_EQ(bpf_dynptr_size(&dynptr), config.in_release_window ? META_BYTES : 0);
	EXPECT_EQ(direct_meta_holds(skb), config.in_release_window);
	meta = (void *)(long)skb->data_meta;
	data = (void *)(long)skb->data;
	if (meta + 1 <= data) {
		meta[0] = 0x42;
		EXPECT_EQ(meta[0], 0x42);
	}
	done();
	return TC_SHOT;
}

/* The same, through dynptrs: slices to write to take a copy at the beginning, like direct access. */
SEC("tcx/ingress")
int clone_meta_dynptr_survives_data_slice_write(struct __sk_buff *skb)
{
	struct bpf_dynptr packet, meta;
	__u8 *slice;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_size(&meta), config.in_release_window ? META_BYTES : 0);
	EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &packet), 0);
	/* The header is all that is to be had. */
	EXPECT_EQ(bpf_dynptr_adjust(&packet, 0, ETH_HEADER), 0);
	slice = bpf_dynptr_slice_rdwr(&packet, 0, NULL, ETH_HEADER);
	if (!EXPECT_TRUE(slice) || !slice)
		return TC_SHOT;
	EXPECT_EQ(slice[ETH_HEADER - 1], FRAME_TYPE & 0xff);
	slice[0] = 0x42;
	EXPECT_EQ(meta_holds(&meta), config.in_release_window);
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int clone_meta_dynptr_survives_meta_slice_write(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 in = 0, *slice;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_size(&meta), config.in_release_window ? META_BYTES : 0);
	slice = bpf_dynptr_slice_rdwr(&meta, META_BYTES - 4, NULL, 4);
	if (slice) {
		EXPECT_EQ(config.in_release_window, 1);
		EXPECT_EQ(slice[3], META_FIRST + META_BYTES - 1);
		slice[0] = 0x42;
		EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, META_BYTES - 4, 0), 0);
		EXPECT_EQ(in, 0x42);
	} else {
		EXPECT_EQ(config.in_release_window, 0);
	}
	done();
	return TC_SHOT;
}

/* A program that writes through dynptrs only has the shared packet until it does. Until 6.19 it may not write those
 * metadata, and loses them with the packet's copy. */
SEC("tcx/ingress")
int clone_meta_dynptr_rw_before_data_dynptr_write(struct __sk_buff *skb)
{
	struct bpf_dynptr packet, meta;
	__u8 in = 0, out = 0x42;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&meta), !config.in_release_window);
	EXPECT_TRUE(meta_holds(&meta));
	EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &packet), 0);
	EXPECT_EQ(bpf_dynptr_write(&packet, 0, &out, 1, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &packet, 0, 0), 0);
	EXPECT_EQ(in, 0x42);
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&meta), false);
	EXPECT_EQ(bpf_dynptr_size(&meta), config.in_release_window ? META_BYTES : 0);
	EXPECT_EQ(meta_holds(&meta), config.in_release_window);
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int clone_meta_dynptr_rw_before_meta_dynptr_write(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 out = 0x42, in = 0;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&meta), !config.in_release_window);
	EXPECT_TRUE(meta_holds(&meta));
	EXPECT_EQ(bpf_dynptr_write(&meta, 0, &out, 1, 0), config.in_release_window ? 0 : -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &meta, 0, 0), 0);
	EXPECT_EQ(in, config.in_release_window ? 0x42 : META_FIRST);
	done();
	return TC_SHOT;
}

/* --- helpers that move what stands before the payload: the metadata move along ---------------------------------------- */

#define STILL_THERE()                                                         \
	do {                                                                  \
		EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);        \
		EXPECT_EQ(bpf_dynptr_size(&meta), META_BYTES);                \
		EXPECT_TRUE(meta_holds(&meta));                               \
	} while (0)

SEC("tcx/ingress")
int helper_skb_vlan_push_pop(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	if (!is_our_frame(skb))
		return TC_OK;
	/* The first tag is kept beside the packet, the second one puts it into the packet. */
	EXPECT_EQ(bpf_skb_vlan_push(skb, 0, 42), 0);
	EXPECT_EQ(bpf_skb_vlan_push(skb, 0, 43), 0);
	STILL_THERE();
	EXPECT_EQ(bpf_skb_vlan_pop(skb), 0);
	EXPECT_EQ(bpf_skb_vlan_pop(skb), 0);
	STILL_THERE();
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int helper_skb_adjust_room(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_skb_adjust_room(skb, 16, BPF_ADJ_ROOM_MAC, 0), 0);
	STILL_THERE();
	EXPECT_EQ(bpf_skb_adjust_room(skb, -8, BPF_ADJ_ROOM_MAC, 0), 0);
	STILL_THERE();
	EXPECT_EQ(bpf_skb_adjust_room(skb, 24, BPF_ADJ_ROOM_NET, 0), 0);
	STILL_THERE();
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int helper_skb_change_head_tail(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_skb_change_tail(skb, skb->len + 100, 0), 0);
	STILL_THERE();
	EXPECT_EQ(bpf_skb_change_tail(skb, 60, 0), 0);
	STILL_THERE();
	EXPECT_EQ(bpf_skb_change_head(skb, 36, 0), 0);
	STILL_THERE();
	done();
	return TC_SHOT;
}

SEC("tcx/ingress")
int helper_skb_change_proto(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	if (!is_our_frame(skb))
		return TC_OK;
	EXPECT_EQ(bpf_skb_change_proto(skb, __builtin_bswap16(0x86dd), 0), 0);
	STILL_THERE();
	EXPECT_EQ(bpf_skb_change_proto(skb, __builtin_bswap16(0x0800), 0), 0);
	STILL_THERE();
	done();
	return TC_SHOT;
}

/* --- tunnels: what stood before the packet is overwritten, or would be taken for what it is not ------------------------- */

/* Nothing else that long leaves the guest. */
#define TUNNELED_BYTES 200

/*
 * The packet is longer by `overhead`; of what was put before it, the bytes at `at` say `kind`: without the tunnel, there would be
 * nothing to test.
 */
static __always_inline int check_tunneled(struct __sk_buff *skb, __u32 overhead, __u16 type, __u32 at, __u8 kind)
{
	struct bpf_dynptr meta;
	__u8 found = 0;

	if (skb->len < TUNNELED_BYTES)
		return TC_OK;
	EXPECT_EQ(skb->len, config.bytes + overhead);
	EXPECT_EQ(skb->protocol, __builtin_bswap16(type));
	EXPECT_EQ(bpf_skb_load_bytes(skb, at, &found, sizeof(found)), 0);
	EXPECT_EQ(found, kind);
	EXPECT_EQ(bpf_dynptr_from_skb_meta(skb, 0, &meta), 0);
	EXPECT_EQ(bpf_dynptr_size(&meta), 0);
	EXPECT_TRUE(skb->data_meta == skb->data);
	done();
	return TC_OK;
}

/* A label: the second byte has the middle of its number. */
SEC("tcx/egress")
int lwt_mpls_encap(struct __sk_buff *skb)
{
	return check_tunneled(skb, 4, 0x8847, ETH_HEADER + 1, 0x06);
}

/* A header of IPv6, and a routing header with one segment behind it: the header says that it follows. */
SEC("tcx/egress")
int lwt_seg6_encap(struct __sk_buff *skb)
{
	return check_tunneled(skb, 40 + 24, 0x86dd, ETH_HEADER + 6, 43);
}

/* A header of IPv6, and one for every hop behind it, with space for what a hop tells of itself: it says that IPv6 follows. */
SEC("tcx/egress")
int lwt_ioam6_encap(struct __sk_buff *skb)
{
	return check_tunneled(skb, 40 + 24, 0x86dd, ETH_HEADER + 40, 41);
}

/* A header of IPv4, which says that another one follows. */
SEC("tcx/egress")
int lwt_bpf_encap(struct __sk_buff *skb)
{
	return check_tunneled(skb, 20, 0x0800, ETH_HEADER + 9, 4);
}

/* Wraps a packet of IPv4 into another of the same kind. */
SEC("lwt_xmit")
int lwt_push(struct __sk_buff *skb)
{
	__u8 header[20] = { 0x45, [8] = 64, [9] = 4, [12] = 10, 78, 0, 1, 10, 78, 0, 2 };
	__u16 length = __builtin_bswap16(skb->len + sizeof(header));

	__builtin_memcpy(header + 2, &length, sizeof(length));
	if (!EXPECT_EQ(bpf_lwt_push_encap(skb, BPF_LWT_ENCAP_IP, header, sizeof(header)), 0))
		return BPF_DROP;
	return BPF_OK;
}
