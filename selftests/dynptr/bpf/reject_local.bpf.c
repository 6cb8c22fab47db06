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
int ringbuf_missing_release1(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	return 0;
}

/* Released on one way out, forgotten on the other. */
SEC("raw_tp")
int ringbuf_missing_release2(void *ctx)
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
int ringbuf_release_uninit_dynptr(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

SEC("raw_tp")
int use_after_invalid(void *ctx)
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
int ringbuf_invalid_api(void *ctx)
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
int data_slice_use_after_release1(void *ctx)
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
int data_slice_missing_null_check1(void *ctx)
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
int dynptr_adjust_invalid(void *ctx)
{
	struct bpf_dynptr ptr = {};

	bpf_dynptr_adjust(&ptr, 1, 2);
	return 0;
}

SEC("raw_tp")
int dynptr_size_invalid(void *ctx)
{
	struct bpf_dynptr ptr = {};

	bpf_dynptr_size(&ptr);
	return 0;
}

SEC("raw_tp")
int dynptr_is_null_invalid(void *ctx)
{
	struct bpf_dynptr ptr = {};

	bpf_dynptr_is_null(&ptr);
	return 0;
}

SEC("raw_tp")
int dynptr_is_rdonly_invalid(void *ctx)
{
	struct bpf_dynptr ptr = {};

	bpf_dynptr_is_rdonly(&ptr);
	return 0;
}

SEC("raw_tp")
int clone_invalid1(void *ctx)
{
	struct bpf_dynptr ptr = {}, clone;

	bpf_dynptr_clone(&ptr, &clone);
	return 0;
}

/* All clones of a record go with it. */
SEC("raw_tp")
int clone_invalidate1(void *ctx)
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
int clone_invalidate2(void *ctx)
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
int dynptr_from_mem_invalid_api(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 mem = 0;

	bpf_dynptr_from_mem(&mem, sizeof(mem), 0, &ptr);
	return 0;
}

SEC("raw_tp")
int global(void *ctx)
{
	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &in_map);
	return 0;
}

/* --- its place on the stack ---------------------------------------------------------------------------------- */

SEC("raw_tp")
int invalid_helper2(void *ctx)
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
int invalid_read1(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 peek;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	peek = *(volatile __u64 *)&ptr;
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return peek;
}

SEC("raw_tp")
int invalid_write4(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &ptr);
	*(volatile __u64 *)&ptr = 0;
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* Its second half counts as well. */
SEC("raw_tp")
int dynptr_overwrite_ref(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &ptr);
	((volatile __u8 *)&ptr)[12] = 1;
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* One without a reference may be overwritten; it is none afterwards. */
SEC("raw_tp")
int dynptr_overwrite_unref_use(void *ctx)
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
int dynptr_read_into_slot(void *ctx)
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
int add_dynptr_to_map2(void *ctx)
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
int invalid_write3(void *ctx)
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

/* The dynptr alone as a value. */
SEC("raw_tp")
int add_dynptr_to_map1(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;
	__u32 key = 0;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_map_update_elem(&pairs, &key, &ptr, 0);
	return 0;
}

/* A helper that wants plain memory gets none of a dynptr. */
SEC("raw_tp")
int invalid_helper1(void *ctx)
{
	struct bpf_dynptr ptr;
	long number;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_strtol((const char *)&ptr, sizeof(ptr), 0, &number);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

/* Not even one that looks like a dynptr to a function which takes one. */
SEC("raw_tp")
int invalid_write1(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;
	__u8 byte = 0;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	*(volatile __u8 *)&ptr = 0;
	bpf_dynptr_data(&ptr, 0, 1);
	bpf_dynptr_write(&ptr, 0, &byte, 1, 0);
	return 0;
}

/* A helper that fills memory of the program must not reach a dynptr that lies in it. */
SEC("raw_tp")
int invalid_write2(void *ctx)
{
	struct {
		__u64 before;
		struct bpf_dynptr ptr;
	} frame = {};

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &frame.ptr);
	bpf_get_current_comm(&frame, 16);
	bpf_ringbuf_submit_dynptr(&frame.ptr, 0);
	return 0;
}

/* Through a pointer into its middle. */
SEC("raw_tp")
int invalid_read2(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 in;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &ptr);
	bpf_dynptr_read(&in, sizeof(in), (struct bpf_dynptr *)((void *)&ptr + 1), 0, 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

/* One byte of it. */
SEC("raw_tp")
int invalid_read3(void *ctx)
{
	struct bpf_dynptr one, two;
	__u8 peek;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &one);
	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &two);
	peek = ((volatile __u8 *)&two)[8];
	bpf_ringbuf_discard_dynptr(&one, 0);
	bpf_ringbuf_discard_dynptr(&two, 0);
	return peek;
}

/* A byte whose place is not known. */
SEC("raw_tp")
int invalid_read4(void *ctx)
{
	struct bpf_dynptr ptr;
	__u8 peek;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &ptr);
	peek = ((volatile __u8 *)&ptr)[unknown() & 15];
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return peek;
}

/* A place that is no multiple of 8 is none for a dynptr. */
SEC("raw_tp")
int invalid_offset(void *ctx)
{
	struct {
		struct bpf_dynptr ptr;
		__u64 after;
	} frame;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, (void *)&frame + 1);
	bpf_ringbuf_submit_dynptr((void *)&frame + 1, 0);
	return 0;
}

/* Half of it outside of the stack. */
SEC("raw_tp")
int beyond_the_stack(void *ctx)
{
	__u64 half = 0;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, (void *)&half);
	bpf_ringbuf_submit_dynptr((void *)&half, 0);
	return half;
}

/* A helper is to make a dynptr where one with a reference is. */
SEC("raw_tp")
int reinit_referenced(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr);
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

/* One function's output and input at once: where the dynptr is going to be, nothing may be written on the way. */
SEC("raw_tp")
int uninit_write_into_slot(void *ctx)
{
	struct {
		__u8 before[56];
		struct bpf_dynptr ptr;
	} frame = {};

	bpf_ringbuf_reserve_dynptr(&ringbuf, 64, 0, &frame.ptr);
	bpf_get_current_comm(&frame.before, sizeof(frame.before) + 16);
	bpf_ringbuf_submit_dynptr(&frame.ptr, 0);
	return 0;
}

/* Slices belong to the dynptr that they were cut from. */
SEC("raw_tp")
int data_slice_use_after_release2(void *ctx)
{
	struct bpf_dynptr one, two;
	__u64 *slice;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &one);
	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &two);
	slice = bpf_dynptr_data(&two, 8, 8);
	if (slice) {
		bpf_ringbuf_submit_dynptr(&two, 0);
		*slice = 5;
	} else {
		bpf_ringbuf_submit_dynptr(&two, 0);
	}
	bpf_ringbuf_submit_dynptr(&one, 0);
	return 0;
}

/* That one slice is not NULL says nothing about another. */
SEC("raw_tp")
int data_slice_missing_null_check2(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 *checked, *unchecked;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &ptr);
	checked = bpf_dynptr_data(&ptr, 0, 8);
	unchecked = bpf_dynptr_data(&ptr, 8, 8);
	if (checked)
		*unchecked = 1;
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

/* Many slices, one dynptr: all of them are gone with it. */
SEC("raw_tp")
int invalid_data_slices(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;
	__u8 *one, *two;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	one = bpf_dynptr_data(&ptr, 0, 4);
	if (!one)
		return 0;
	two = bpf_dynptr_data(&ptr, 4, 4);
	if (!two)
		return 0;
	*(volatile __u64 *)&ptr = 0;
	return one[0] + two[0];
}

/* A dynptr over a part of another one would outlive it. */
SEC("raw_tp")
int dynptr_from_dynptr_data(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr, part;
	__u8 *slice;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 0, 16);
	if (!slice)
		return 0;
	bpf_dynptr_from_mem(slice, 16, 0, &part);
	return 0;
}

/* Whichever way round an offset into a slice is computed, it stays a slice. */
SEC("raw_tp")
int dynptr_slice_commuted_invalidate(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 index;
	__u8 *slice, *byte;

	bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &ptr);
	slice = bpf_dynptr_data(&ptr, 0, 16);
	if (!slice) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return 0;
	}
	index = unknown() & 7;
	/* Number plus pointer: C alone would not keep that order. */
	asm volatile("%[byte] = %[index];\n\t%[byte] += %[slice];"
		     : [byte] "=&r"(byte)
		     : [index] "r"(index), [slice] "r"(slice));
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return byte[0];
}

/* A number is no dynptr. */
SEC("raw_tp")
int test_dynptr_reg_type(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();

	bpf_dynptr_is_null((void *)task);
	return 0;
}

/* --- what may not be written, read or taken -------------------------------------------------------------------- */

/* The value of a map that programs may only read. */
SEC("raw_tp")
int from_mem_readonly_map(void *ctx)
{
	struct bpf_dynptr ptr;
	struct value *mem;
	__u32 key = 0;

	mem = bpf_map_lookup_elem(&constants, &key);
	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	return 0;
}

/* More than the value has. */
SEC("raw_tp")
int from_mem_too_long(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES + 1, 0, &ptr);
	return 0;
}

SEC("raw_tp")
int from_mem_maybe_null(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_mem(value_of(unknown()), VALUE_BYTES, 0, &ptr);
	return 0;
}

/* The length of a slice has to be known when the program is loaded. */
SEC("raw_tp")
int data_unknown_length(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_dynptr_data(&ptr, 0, unknown() & 7);
	return 0;
}

/* Only a record can be submitted. */
SEC("raw_tp")
int submit_local(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return 0;
}

SEC("raw_tp")
int discard_local(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* A record is reserved in a ring buffer, and nowhere else. */
SEC("raw_tp")
int reserve_in_array(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&values, 8, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* Memory that is read into has to be as long as is said. */
SEC("raw_tp")
int read_into_too_little(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_dynptr_read(mem, VALUE_BYTES + 1, &ptr, 0, 0);
	return 0;
}

/* And memory that is written from has to have been written. */
SEC("raw_tp")
int write_from_nothing(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_dynptr_write(&ptr, 0, mem, VALUE_BYTES + 1, 0);
	return 0;
}

SEC("raw_tp")
int copy_uninitialised(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr, none = {};

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_dynptr_copy(&ptr, 0, &none, 0, 1);
	return 0;
}

SEC("raw_tp")
int memset_uninitialised(void *ctx)
{
	struct bpf_dynptr none = {};

	bpf_dynptr_memset(&none, 0, 1, 0);
	return 0;
}

SEC("raw_tp")
int copy_into_uninitialised(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr, none = {};

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &ptr);
	bpf_dynptr_copy(&none, 0, &ptr, 0, 1);
	return 0;
}

/* How much memory it is to be has to have a limit. */
SEC("raw_tp")
int from_mem_unknown_length(void *ctx)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr ptr;

	if (!mem)
		return 0;
	bpf_dynptr_from_mem(mem, unknown(), 0, &ptr);
	return 0;
}

/* A ring buffer that the process writes to has no room for the kernel's records. */
SEC("raw_tp")
int reserve_in_user_ringbuf(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_ringbuf_reserve_dynptr(&user_ringbuf, 8, 0, &ptr);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	return 0;
}

/* A clone is on the stack as well. */
SEC("raw_tp")
int clone_into_map(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	bpf_dynptr_clone(&ptr, (struct bpf_dynptr *)mem);
	return 0;
}

/* --- who may call what ------------------------------------------------------------------------------------------- */

/* Without rights, nobody uses dynptrs, however he came by one. */
SEC("socket")
int read_in_unprivileged(void *ctx)
{
	__u64 in = 0, none[2] = {};

	bpf_dynptr_read(&in, sizeof(in), (struct bpf_dynptr *)none, 0, 0);
	return 0;
}

SEC("socket")
int write_in_unprivileged(void *ctx)
{
	__u64 out = 0, none[2] = {};

	bpf_dynptr_write((struct bpf_dynptr *)none, 0, &out, sizeof(out), 0);
	return 0;
}

SEC("socket")
int data_in_unprivileged(void *ctx)
{
	__u64 none[2] = {};

	bpf_dynptr_data((struct bpf_dynptr *)none, 0, 8);
	return 0;
}

SEC("socket")
int submit_in_unprivileged(void *ctx)
{
	__u64 none[2] = {};

	bpf_ringbuf_submit_dynptr((struct bpf_dynptr *)none, 0);
	return 0;
}

SEC("socket")
int discard_in_unprivileged(void *ctx)
{
	__u64 none[2] = {};

	bpf_ringbuf_discard_dynptr((struct bpf_dynptr *)none, 0);
	return 0;
}

/* Nor does he call functions that have a name and no number. */
SEC("socket")
int clone_in_unprivileged(void *ctx)
{
	__u64 none[2] = {}, clone[2] = {};

	bpf_dynptr_clone((struct bpf_dynptr *)none, (struct bpf_dynptr *)clone);
	return 0;
}
