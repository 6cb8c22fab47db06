// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs that the verifier has to refuse: dynptrs over packets and their metadata. Each breaks one rule and would
 * otherwise be sound; none of them ever runs.
 */
#include "harness.h"

#include <bpf/bpf_tracing.h>

/* --- where they may be made ---------------------------------------------------------------------------------- */

SEC("xdp")
int skb_invalid_ctx(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_skb((void *)xdp, 0, &ptr);
	return XDP_PASS;
}

/* Since 7.0 programs of this type may call it, and have no packet to give it. */
SEC("raw_tp")
int skb_in_raw_tp(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_skb(ctx, 0, &ptr);
	return 0;
}

SEC("tc")
int xdp_invalid_ctx(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_xdp((void *)skb, 0, &ptr);
	return TC_OK;
}

SEC("xdp")
int skb_meta_invalid_ctx(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_skb_meta((void *)xdp, 0, &ptr);
	return XDP_PASS;
}

/* --- what may be written ------------------------------------------------------------------------------------- */

SEC("tc")
int skb_invalid_slice_write(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	if (slice)
		slice[0] = 1;
	return TC_OK;
}

SEC("tc")
int skb_meta_invalid_slice_write(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 *slice;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	slice = bpf_dynptr_slice(&meta, 0, NULL, 4);
	if (slice)
		slice[0] = 1;
	return TC_OK;
}

SEC("cgroup_skb/ingress")
int invalid_slice_rdwr_rdonly(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {};

	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_dynptr_slice_rdwr(&ptr, 0, buffer, sizeof(buffer));
	return 1;
}

/* --- how far a slice goes ------------------------------------------------------------------------------------ */

SEC("tc")
int data_slice_out_of_bounds_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	slice = bpf_dynptr_slice_rdwr(&ptr, 0, buffer, sizeof(buffer));
	if (slice)
		slice[8] = 1;
	return TC_OK;
}

SEC("tc")
int data_slice_out_of_bounds_skb_meta(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 *slice;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	slice = bpf_dynptr_slice_rdwr(&meta, 0, NULL, 4);
	if (slice)
		slice[4] = 1;
	return TC_OK;
}

SEC("tc")
int dynptr_slice_var_len1(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {};

	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_dynptr_slice(&ptr, 0, buffer, skb->len);
	return TC_OK;
}

SEC("tc")
int skb_slice_missing_null_check(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	return slice[0];
}

/* --- how long a slice lasts ---------------------------------------------------------------------------------- */

/* The helper may move the packet. */
SEC("tc")
int skb_invalid_data_slice1(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	if (!slice)
		return TC_OK;
	if (bpf_skb_pull_data(skb, skb->len))
		return TC_OK;
	return slice[0];
}

/* So may a write through the dynptr, if the packet is shared. */
SEC("tc")
int skb_invalid_data_slice3(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, out[4] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	if (!slice)
		return TC_OK;
	bpf_dynptr_write(&ptr, 16, out, sizeof(out), 0);
	return slice[0];
}

/* Its clone is the same packet. */
SEC("tc")
int clone_skb_packet_data(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr, clone;
	__u8 buffer[8] = {}, out[4] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_dynptr_clone(&ptr, &clone);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	if (!slice)
		return TC_OK;
	bpf_dynptr_write(&clone, 16, out, sizeof(out), 0);
	return slice[0];
}

SEC("xdp")
int xdp_invalid_data_slice1(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	bpf_dynptr_from_xdp(xdp, 0, &ptr);
	slice = bpf_dynptr_slice(&ptr, 0, buffer, sizeof(buffer));
	if (!slice)
		return XDP_PASS;
	if (bpf_xdp_adjust_head(xdp, 4))
		return XDP_PASS;
	return slice[0] ? XDP_DROP : XDP_PASS;
}

SEC("tc")
int ro_skb_slice_invalid_after_metadata_write(struct __sk_buff *skb)
{
	struct bpf_dynptr packet, meta;
	__u8 buffer[8] = {}, out[4] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &packet);
	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	slice = bpf_dynptr_slice(&packet, 0, buffer, sizeof(buffer));
	if (!slice)
		return TC_OK;
	bpf_dynptr_write(&meta, 0, out, sizeof(out), 0);
	return slice[0];
}

SEC("tc")
int ro_skb_meta_slice_invalid_after_payload_write(struct __sk_buff *skb)
{
	struct bpf_dynptr packet, meta;
	__u8 out[4] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &packet);
	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	slice = bpf_dynptr_slice(&meta, 0, NULL, 4);
	if (!slice)
		return TC_OK;
	bpf_dynptr_write(&packet, 16, out, sizeof(out), 0);
	return slice[0];
}

SEC("tc")
int rw_skb_meta_slice_invalid_after_payload_helper(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 *slice;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	slice = bpf_dynptr_slice_rdwr(&meta, 0, NULL, 4);
	if (!slice)
		return TC_OK;
	if (bpf_skb_pull_data(skb, skb->len))
		return TC_OK;
	slice[0] = 1;
	return TC_OK;
}

SEC("tc")
int ro_skb_meta_slice_invalid_after_metadata_write(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 out[4] = {}, *slice;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	slice = bpf_dynptr_slice(&meta, 0, NULL, 4);
	if (!slice)
		return TC_OK;
	bpf_dynptr_write(&meta, 0, out, sizeof(out), 0);
	return slice[0];
}

/* --- the same, slices that may be written ---------------------------------------------------------------------- */

/* A slice of eight bytes to write to; leaves the program where there is none. */
#define RDWR_SLICE(ptr, slice)                                              \
	__u8 buffer[8] = {}, *slice;                                        \
	slice = bpf_dynptr_slice_rdwr(&ptr, 0, buffer, sizeof(buffer));     \
	if (!slice)                                                         \
		return 0

SEC("tc")
int skb_invalid_data_slice2(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	RDWR_SLICE(ptr, slice);
	if (bpf_skb_pull_data(skb, skb->len))
		return TC_OK;
	slice[0] = 1;
	return TC_OK;
}

SEC("tc")
int skb_invalid_data_slice4(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 out[4] = {};

	bpf_dynptr_from_skb(skb, 0, &ptr);
	RDWR_SLICE(ptr, slice);
	bpf_dynptr_write(&ptr, 16, out, sizeof(out), 0);
	slice[0] = 1;
	return TC_OK;
}

SEC("xdp")
int xdp_invalid_data_slice2(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_xdp(xdp, 0, &ptr);
	RDWR_SLICE(ptr, slice);
	if (bpf_xdp_adjust_tail(xdp, -4))
		return XDP_PASS;
	slice[0] = 1;
	return XDP_PASS;
}

SEC("tc")
int rw_skb_slice_invalid_after_metadata_write(struct __sk_buff *skb)
{
	struct bpf_dynptr packet, meta;
	__u8 out[4] = {};

	bpf_dynptr_from_skb(skb, 0, &packet);
	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	RDWR_SLICE(packet, slice);
	bpf_dynptr_write(&meta, 0, out, sizeof(out), 0);
	slice[0] = 1;
	return TC_OK;
}

SEC("tc")
int rw_skb_meta_slice_invalid_after_payload_write(struct __sk_buff *skb)
{
	struct bpf_dynptr packet, meta;
	__u8 out[4] = {};

	bpf_dynptr_from_skb(skb, 0, &packet);
	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	RDWR_SLICE(meta, slice);
	bpf_dynptr_write(&packet, 16, out, sizeof(out), 0);
	slice[0] = 1;
	return TC_OK;
}

SEC("tc")
int rw_skb_meta_slice_invalid_after_metadata_write(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 out[4] = {};

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	RDWR_SLICE(meta, slice);
	bpf_dynptr_write(&meta, 0, out, sizeof(out), 0);
	slice[0] = 1;
	return TC_OK;
}

SEC("tc")
int ro_skb_meta_slice_invalid_after_payload_helper(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;
	__u8 *slice;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	slice = bpf_dynptr_slice(&meta, 0, NULL, 4);
	if (!slice)
		return TC_OK;
	if (bpf_skb_pull_data(skb, skb->len))
		return TC_OK;
	return slice[0];
}

/* --- clones ------------------------------------------------------------------------------------------------------ */

SEC("tc")
int clone_skb_packet_meta(struct __sk_buff *skb)
{
	struct bpf_dynptr meta, clone;
	__u8 out[4] = {}, *slice;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	bpf_dynptr_clone(&meta, &clone);
	slice = bpf_dynptr_slice(&clone, 0, NULL, 4);
	if (!slice)
		return TC_OK;
	bpf_dynptr_write(&meta, 0, out, sizeof(out), 0);
	return slice[0];
}

SEC("xdp")
int clone_xdp_packet_data(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr, clone;

	bpf_dynptr_from_xdp(xdp, 0, &ptr);
	bpf_dynptr_clone(&ptr, &clone);
	RDWR_SLICE(clone, slice);
	if (bpf_xdp_adjust_head(xdp, 4))
		return XDP_PASS;
	slice[0] = 1;
	return XDP_PASS;
}

/* --- buffers and lengths ----------------------------------------------------------------------------------------- */

/* The buffer is smaller than is said. */
SEC("cgroup_skb/egress")
int test_dynptr_skb_small_buff(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[4] = {};

	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_dynptr_slice(&ptr, 0, buffer, 12);
	return 1;
}

/* A length with limits is no known length. */
SEC("tc")
int dynptr_slice_var_len2(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {};

	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_dynptr_slice(&ptr, 0, buffer, bpf_get_prandom_u32() & 7);
	return TC_OK;
}

SEC("xdp")
int xdp_slice_out_of_bounds(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_xdp(xdp, 0, &ptr);
	RDWR_SLICE(ptr, slice);
	slice[8] = 1;
	return XDP_PASS;
}

SEC("tc")
int dynptr_from_dynptr_slice(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr, part;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	RDWR_SLICE(ptr, slice);
	bpf_dynptr_from_mem(slice, 8, 0, &part);
	return TC_OK;
}

SEC("tc")
int slice_uninitialised(struct __sk_buff *skb)
{
	struct bpf_dynptr none = {};
	__u8 buffer[8] = {};

	bpf_dynptr_slice(&none, 0, buffer, sizeof(buffer));
	return TC_OK;
}

SEC("tc")
int slice_rdwr_uninitialised(struct __sk_buff *skb)
{
	struct bpf_dynptr none = {};
	__u8 buffer[8] = {};

	bpf_dynptr_slice_rdwr(&none, 0, buffer, sizeof(buffer));
	return TC_OK;
}

/* The same of slices that may be written. */
SEC("tc")
int slice_rdwr_small_buffer(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[4] = {};

	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_dynptr_slice_rdwr(&ptr, 0, buffer, 12);
	return TC_OK;
}

SEC("tc")
int slice_rdwr_unknown_length(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {};

	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_dynptr_slice_rdwr(&ptr, 0, buffer, bpf_get_prandom_u32() & 7);
	return TC_OK;
}

SEC("tc")
int slice_rdwr_missing_null_check(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	slice = bpf_dynptr_slice_rdwr(&ptr, 0, buffer, sizeof(buffer));
	slice[0] = 1;
	return TC_OK;
}

/* --- where a packet comes from ------------------------------------------------------------------------------------ */

/* The packet of a function that is being traced may be gone, for all that is known. */
SEC("fentry/skb_tx_error")
int BPF_PROG(skb_invalid_ctx_fentry, void *skb)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	return 0;
}

SEC("fexit/skb_tx_error")
int BPF_PROG(skb_invalid_ctx_fexit, void *skb)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_skb(skb, 0, &ptr);
	return 0;
}

SEC("cgroup_skb/egress")
int skb_meta_in_cgroup(struct __sk_buff *skb)
{
	struct bpf_dynptr meta;

	bpf_dynptr_from_skb_meta(skb, 0, &meta);
	return 1;
}

SEC("raw_tp")
int xdp_in_raw_tp(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_xdp(ctx, 0, &ptr);
	return 0;
}

/* --- where the dynptr is to be ------------------------------------------------------------------------------------ */

/* On the stack, and nowhere else. */
SEC("tc")
int skb_into_map(struct __sk_buff *skb)
{
	struct value *mem = value_of(0);

	if (mem)
		bpf_dynptr_from_skb(skb, 0, (struct bpf_dynptr *)mem);
	return TC_OK;
}

SEC("tc")
int skb_meta_into_map(struct __sk_buff *skb)
{
	struct value *mem = value_of(0);

	if (mem)
		bpf_dynptr_from_skb_meta(skb, 0, (struct bpf_dynptr *)mem);
	return TC_OK;
}

SEC("xdp")
int xdp_into_map(struct xdp_md *xdp)
{
	struct value *mem = value_of(0);

	if (mem)
		bpf_dynptr_from_xdp(xdp, 0, (struct bpf_dynptr *)mem);
	return XDP_PASS;
}

/* Not where a record is that nobody could give back any more. */
SEC("tc")
int skb_over_record(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_from_skb(skb, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return TC_OK;
}

SEC("tc")
int skb_meta_over_record(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_from_skb_meta(skb, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return TC_OK;
}

SEC("xdp")
int xdp_over_record(struct xdp_md *xdp)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_from_xdp(xdp, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return XDP_PASS;
}
