// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs about the lifetime of dynptrs that share a reference, and of what was made from them: the verifier has to
 * refuse those that use something for longer than it lives, and to take those that do not.
 */
#include "harness.h"

/* --- clones of a record --------------------------------------------------------------------------------------- */

/* A clone of a clone is gone with the first. */
SEC("raw_tp")
int clone_invalidate3(void *ctx)
{
	struct bpf_dynptr ptr, first, second;
	char in[8];

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_clone(&ptr, &first);
	bpf_dynptr_clone(&first, &second);
	bpf_ringbuf_submit_dynptr(&first, 0);
	bpf_dynptr_read(in, sizeof(in), &second, 0, 0);
	return 0;
}

/* Slices go with the record, whichever name it is released by: a slice of the original by the clone … */
SEC("raw_tp")
int clone_invalidate4(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	__u8 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &ptr);
	bpf_dynptr_clone(&ptr, &clone);
	slice = bpf_dynptr_data(&ptr, 0, 16);
	if (!slice) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return 0;
	}
	bpf_ringbuf_submit_dynptr(&clone, 0);
	slice[3] = 3;
	return 0;
}

/* … one of the clone by the original … */
SEC("raw_tp")
int clone_invalidate5(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	__u8 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &ptr);
	bpf_dynptr_clone(&ptr, &clone);
	slice = bpf_dynptr_data(&clone, 0, 16);
	if (!slice) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return 0;
	}
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	slice[3] = 3;
	return 0;
}

/* … and one of a clone by another. */
SEC("raw_tp")
int clone_invalidate6(void *ctx)
{
	struct bpf_dynptr ptr, first, second;
	__u8 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &ptr);
	bpf_dynptr_clone(&ptr, &first);
	bpf_dynptr_clone(&ptr, &second);
	slice = bpf_dynptr_data(&second, 0, 16);
	if (!slice) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return 0;
	}
	bpf_ringbuf_discard_dynptr(&first, 0);
	slice[3] = 3;
	return 0;
}

/* Nothing may be cloned onto a dynptr that still holds a reference. */
SEC("xdp")
int clone_invalid2(struct xdp_md *xdp)
{
	struct bpf_dynptr packet, record;

	bpf_dynptr_from_xdp(xdp, 0, &packet);
	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &record);
	bpf_dynptr_clone(&packet, &record);
	bpf_ringbuf_submit_dynptr(&record, 0);
	return XDP_PASS;
}

/* --- overwriting one of several names --------------------------------------------------------------------------- */

/* While a clone is left, the original's place may be used for something else. */
SEC("raw_tp")
int dynptr_overwrite_ref_with_clone(void *ctx)
{
	struct bpf_dynptr ptr, clone;

	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	*(volatile __u64 *)&ptr = 0;
	bpf_ringbuf_discard_dynptr(&clone, 0);
	EXPECT_EQ(bpf_ringbuf_query(&ringbuf, BPF_RB_PROD_POS), 8 + 32);
	return done();
}

/* And the other way round. */
SEC("raw_tp")
int dynptr_overwrite_clone_with_original(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	__u32 out = 78;

	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	*(volatile __u64 *)&clone = 0;
	EXPECT_EQ(bpf_dynptr_write(&ptr, 28, &out, sizeof(out), 0), 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	EXPECT_EQ(bpf_ringbuf_query(&ringbuf, BPF_RB_PROD_POS), 8 + 32);
	return done();
}

/* The last name may not: nobody could release the record any more. */
SEC("raw_tp")
int dynptr_overwrite_ref_last_clone(void *ctx)
{
	struct bpf_dynptr ptr, clone;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &ptr);
	bpf_dynptr_clone(&ptr, &clone);
	*(volatile __u64 *)&ptr = 0;
	*(volatile __u64 *)&clone = 0;
	bpf_ringbuf_discard_dynptr(&clone, 0);
	return 0;
}

/* Slices of the name that was overwritten go with it … */
SEC("raw_tp")
int dynptr_overwrite_ref_invalidate_slice(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	__u8 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &ptr);
	bpf_dynptr_clone(&ptr, &clone);
	slice = bpf_dynptr_data(&ptr, 0, 8);
	if (!slice) {
		bpf_ringbuf_discard_dynptr(&clone, 0);
		return 0;
	}
	*(volatile __u64 *)&ptr = 0;
	slice[0] = 1;
	bpf_ringbuf_discard_dynptr(&clone, 0);
	return 0;
}

/* … those of the other stay. */
SEC("raw_tp")
int dynptr_overwrite_ref_clone_slice_valid(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	__u8 *slice;

	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	slice = bpf_dynptr_data(&clone, 24, 8);
	if (!slice) {
		bpf_ringbuf_discard_dynptr(&clone, 0);
		return 0;
	}
	*(volatile __u64 *)&ptr = 0;
	slice[1] = 79;
	slice[7] = 0;
	EXPECT_EQ(slice[1], 79);
	bpf_ringbuf_submit_dynptr(&clone, 0);
	return done();
}

/* --- places that are used again ---------------------------------------------------------------------------------- */

/* A dynptr without a reference may be overwritten by another. */
SEC("raw_tp")
int dynptr_overwrite_unref(void *ctx)
{
	struct value *first = value_of(0), *second = value_of(1);
	struct bpf_dynptr ptr;
	__u8 in = 0;

	if (!first || !second)
		return 0;
	second->bytes[15] = 55;
	EXPECT_EQ(bpf_dynptr_from_mem(first, VALUE_BYTES, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_from_mem(second, 16, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 15, 0), 0);
	EXPECT_EQ(in, 55);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &ptr, 16, 0), -E2BIG);
	return done();
}

/* Slices of the one that was there are then gone … */
SEC("raw_tp")
int dynptr_invalidate_slice_reinit(void *ctx)
{
	struct value *first = value_of(0), *second = value_of(1);
	struct bpf_dynptr ptr;
	__u8 *slice;

	if (!first || !second)
		return 0;
	bpf_dynptr_from_mem(first, VALUE_BYTES, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 0, 8);
	if (!slice)
		return 0;
	bpf_dynptr_from_mem(second, VALUE_BYTES, 0, &ptr);
	return slice[0];
}

/* … even before anybody has asked whether they are NULL. */
SEC("raw_tp")
int dynptr_invalidate_slice_or_null(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;
	__u8 *slice;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 0, 8);
	*(volatile __u8 *)&ptr = 1;
	if (slice)
		slice[0] = 1;
	return 0;
}

/* Each place has its own slices: overwriting one dynptr takes those of that one … */
SEC("raw_tp")
int dynptr_invalidate_slice_failure(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr one, two;
	__u8 *of_one, *of_two;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &one);
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &two);
	of_one = bpf_dynptr_data(&one, 0, 8);
	of_two = bpf_dynptr_data(&two, 0, 8);
	if (!of_one || !of_two)
		return 0;
	*(volatile __u64 *)&one = 0;
	return of_one[0];
}

/* … and leaves the others. */
SEC("raw_tp")
int dynptr_invalidate_slice_success(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr one, two;
	__u8 *of_one, *of_two;

	if (!mem)
		return 0;
	mem->bytes[VALUE_BYTES - 7] = 77;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &one);
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &two);
	of_one = bpf_dynptr_data(&one, VALUE_BYTES - 8, 8);
	of_two = bpf_dynptr_data(&two, VALUE_BYTES - 8, 8);
	if (!EXPECT_TRUE(of_one) || !EXPECT_TRUE(of_two))
		return 0;
	if (!of_one || !of_two)
		return 0;
	*(volatile __u64 *)&one = 0;
	EXPECT_EQ(of_two[1], 77);
	EXPECT_EQ(of_two[7], 0);
	return done();
}

/* --- branches ------------------------------------------------------------------------------------------------------ */

/* Two ways to the same place, with a dynptr on the stack in only one of them: the other is not to be taken for it. */
SEC("raw_tp")
int dynptr_pruning_overwrite(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	if (bpf_get_prandom_u32() & 1)
		((volatile __u64 *)&ptr)[1] = 0;
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* The same place may have dynptrs of the same kind on both ways. */
SEC("raw_tp")
int dynptr_pruning_stacksafe(void *ctx)
{
	struct bpf_dynptr ptr;
	__u32 size = 8;

	if (bpf_get_prandom_u32() & 1)
		bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &ptr);
	else
		bpf_ringbuf_reserve_dynptr(&ringbuf, size, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	EXPECT_TRUE(bpf_ringbuf_query(&ringbuf, BPF_RB_PROD_POS) >= 16);
	return done();
}

/* One way has a record there, the other a dynptr without a reference: what is right for one is wrong for the other. */
SEC("raw_tp")
int dynptr_pruning_type_confusion(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	if (bpf_get_prandom_u32() & 1)
		bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	else
		bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	return 0;
}

/* Half of the place is used for something else: the other half is no dynptr. */
SEC("raw_tp")
int dynptr_partial_slot_invalidate(void *ctx)
{
	struct {
		struct bpf_dynptr ptr;
		__u64 after;
	} frame;
	struct bpf_dynptr *overlapping = (void *)&frame + 8;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &frame.ptr);
	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, overlapping);
	bpf_ringbuf_discard_dynptr(overlapping, 0);
	return 0;
}

/* A dynptr has to be at a place that is known when the program is loaded. */
SEC("raw_tp")
int dynptr_var_off_overwrite(void *ctx)
{
	struct bpf_dynptr ptrs[2];
	__u32 index = bpf_get_prandom_u32() & 1;
	void *somewhere = (void *)ptrs + 16 * index;

	barrier_var(somewhere);
	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, somewhere);
	bpf_ringbuf_discard_dynptr(somewhere, 0);
	return 0;
}

/* --- callbacks ------------------------------------------------------------------------------------------------------ */

static long reserve_in_callback(__u32 index, void *data)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	return 0;
}

/* A callback has to release what it reserves. */
SEC("raw_tp")
int ringbuf_missing_release_callback(void *ctx)
{
	bpf_loop(4, reserve_in_callback, NULL, 0);
	return 0;
}

static long release_in_callback(__u32 index, void *data)
{
	bpf_ringbuf_submit_dynptr(data, 0);
	return 0;
}

/* One that runs many times may not release what its caller has reserved once. */
SEC("raw_tp")
int release_twice_callback(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	bpf_loop(4, release_in_callback, &ptr, 0);
	return 0;
}

static long peek_in_callback(__u32 index, void *data)
{
	*(volatile __u8 *)data = 1;
	return 0;
}

/* A callback that writes into its caller's dynptr destroys it. */
SEC("raw_tp")
int overwrite_in_callback(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &ptr);
	bpf_loop(4, peek_in_callback, &ptr, 0);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}
