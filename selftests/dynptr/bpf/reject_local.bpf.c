// SPDX-License-Identifier: GPL-2.0-only
/*
 * Programs that the verifier has to refuse: dynptrs over local memory and ring-buffer records. Each breaks one rule
 * and would otherwise be sound; none of them ever runs.
 */
#include "harness.h"

/* Where a dynptr must not be: outside of the stack. */
struct bpf_dynptr in_map;

/* Takes the place of a value that the verifier cannot know. */
static __always_inline __u32 unknown(void)
{
	return bpf_get_prandom_u32();
}

/* --- references ---------------------------------------------------------------------------------------------- */

SEC("raw_tp")
int ringbuf_missing_release(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	return 0;
}

/* Released on one way out, forgotten on the other. */
SEC("raw_tp")
int ringbuf_missing_release_branch(void *ctx)
{
	struct bpf_dynptr ptr;

	if (bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr))
		return 0;
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

SEC("raw_tp")
int release_twice(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

SEC("raw_tp")
int release_uninitialised(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

SEC("raw_tp")
int use_after_release(void *ctx)
{
	struct bpf_dynptr ptr;
	char in[8];

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	bpf_dynptr_read(in, sizeof(in), &ptr, 0, 0);
	return 0;
}

/* A slice is no record of its own: only its dynptr can be submitted. */
SEC("raw_tp")
int ringbuf_submit_slice(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 0, 8);
	if (slice)
		bpf_ringbuf_submit(slice, 0);
	else
		bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* --- slices -------------------------------------------------------------------------------------------------- */

SEC("raw_tp")
int data_slice_use_after_release(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 0, 8);
	if (!slice) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return 0;
	}
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	*slice = 1;
	return 0;
}

SEC("raw_tp")
int data_slice_missing_null_check(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 0, 8);
	*slice = 1;
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

SEC("raw_tp")
int data_slice_out_of_bounds_ringbuf(void *ctx)
{
	struct bpf_dynptr ptr;
	__u8 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 0, 8);
	if (slice)
		slice[8] = 1;
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

SEC("raw_tp")
int data_slice_out_of_bounds_map_value(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;
	__u8 *slice;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 16, 32);
	if (slice)
		slice[32] = 1;
	return 0;
}

/* --- what is no dynptr --------------------------------------------------------------------------------------- */

SEC("raw_tp")
int uninitialised_read(void *ctx)
{
	struct bpf_dynptr ptr;
	char in[8];

	bpf_dynptr_read(in, sizeof(in), &ptr, 0, 0);
	return 0;
}

SEC("raw_tp")
int uninitialised_write(void *ctx)
{
	struct bpf_dynptr ptr;
	char out[8] = {};

	bpf_dynptr_write(&ptr, 0, out, sizeof(out), 0);
	return 0;
}

SEC("raw_tp")
int uninitialised_data(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_data(&ptr, 0, 8);
	return 0;
}

SEC("raw_tp")
int uninitialised_adjust(void *ctx)
{
	struct bpf_dynptr ptr = {};

	bpf_dynptr_adjust(&ptr, 1, 2);
	return 0;
}

SEC("raw_tp")
int uninitialised_size(void *ctx)
{
	struct bpf_dynptr ptr = {};

	bpf_dynptr_size(&ptr);
	return 0;
}

SEC("raw_tp")
int uninitialised_is_null(void *ctx)
{
	struct bpf_dynptr ptr = {};

	bpf_dynptr_is_null(&ptr);
	return 0;
}

SEC("raw_tp")
int uninitialised_is_rdonly(void *ctx)
{
	struct bpf_dynptr ptr = {};

	bpf_dynptr_is_rdonly(&ptr);
	return 0;
}

SEC("raw_tp")
int uninitialised_clone(void *ctx)
{
	struct bpf_dynptr ptr = {}, clone;

	bpf_dynptr_clone(&ptr, &clone);
	return 0;
}

/* All clones of a record go with it. */
SEC("raw_tp")
int clone_use_after_release(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	char in[8];

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_clone(&ptr, &clone);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	bpf_dynptr_read(in, sizeof(in), &clone, 0, 0);
	return 0;
}

/* And the original with its clone. */
SEC("raw_tp")
int clone_release_original_gone(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	char in[8];

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_clone(&ptr, &clone);
	bpf_ringbuf_discard_dynptr(&clone, 0);
	bpf_dynptr_read(in, sizeof(in), &ptr, 0, 0);
	return 0;
}

SEC("raw_tp")
int from_mem_on_stack(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 mem = 0;

	bpf_dynptr_from_mem(&mem, sizeof(mem), 0, &ptr);
	return 0;
}

SEC("raw_tp")
int dynptr_in_map(void *ctx)
{
	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &in_map);
	return 0;
}

/* --- its place on the stack ---------------------------------------------------------------------------------- */

SEC("raw_tp")
int offset_into_dynptr(void *ctx)
{
	struct bpf_dynptr ptr;
	char in[8];

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_read(in, sizeof(in), (void *)&ptr + 8, 0, 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

/* The verifier's own notes are there; a program may not look at them. */
SEC("raw_tp")
int read_dynptr_bytes(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 peek;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	peek = *(volatile __u64 *)&ptr;
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return peek;
}

SEC("raw_tp")
int overwrite_referenced(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &ptr);
	*(volatile __u64 *)&ptr = 0;
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* Its second half counts as well. */
SEC("raw_tp")
int overwrite_referenced_half(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &ptr);
	((volatile __u8 *)&ptr)[12] = 1;
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* One without a reference may be overwritten; it is none afterwards. */
SEC("raw_tp")
int overwrite_then_use(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;
	char in[8];

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	*(volatile __u64 *)&ptr = 0;
	bpf_dynptr_read(in, sizeof(in), &ptr, 0, 0);
	return 0;
}

/* A helper that writes where the dynptr is overwrites it, too. */
SEC("raw_tp")
int read_into_itself(void *ctx)
{
	union {
		struct bpf_dynptr ptr;
		__u8 bytes[16];
	} slot;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &slot.ptr);
	bpf_dynptr_read(slot.bytes, sizeof(slot.bytes), &slot.ptr, 0, 0);
	bpf_ringbuf_discard_dynptr(&slot.ptr, 0);
	return 0;
}

SEC("raw_tp")
int dynptr_into_map(void *ctx)
{
	struct value *mem = value_of(0);
	struct {
		struct bpf_dynptr ptr;
		__u8 rest[VALUE_BYTES - sizeof(struct bpf_dynptr)];
	} value = {};
	__u32 key = 1;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &value.ptr);
	bpf_map_update_elem(&values, &key, &value, 0);
	return 0;
}

/* Which slot is overwritten is not known: it could be the dynptr's. */
SEC("raw_tp")
int overwrite_at_unknown_offset(void *ctx)
{
	struct {
		__u64 before;
		struct bpf_dynptr ptr;
	} frame = {};
	__u32 index = unknown() & 15;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &frame.ptr);
	((volatile __u8 *)&frame)[index] = 1;
	bpf_ringbuf_discard_dynptr(&frame.ptr, 0);
	return 0;
}
