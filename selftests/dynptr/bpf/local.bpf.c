// SPDX-License-Identifier: GPL-2.0-only
/* Dynptrs over memory of the program's own: a map value. */
#include "harness.h"

SEC("raw_tp")
int test_read_write(void *ctx)
{
	char out[8] = "dynptr!", in[8] = {};
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, out, sizeof(out), 0), 0);
	EXPECT_EQ(bpf_dynptr_read(in, sizeof(in), &ptr, 0, 0), 0);
	EXPECT_EQ(*(__u64 *)in, *(__u64 *)out);
	/* It is the map's memory, not a copy of it. */
	EXPECT_EQ(mem->bytes[6], '!');

	/* At an offset: what is before it stays. */
	EXPECT_EQ(bpf_dynptr_write(&ptr, 3, out, 2, 0), 0);
	EXPECT_EQ(mem->bytes[2], 'n');
	EXPECT_EQ(mem->bytes[3], 'd');
	EXPECT_EQ(mem->bytes[4], 'y');
	EXPECT_EQ(mem->bytes[5], 'r');
	EXPECT_EQ(bpf_dynptr_read(in, 2, &ptr, 3, 0), 0);
	EXPECT_EQ(in[0], 'd');
	EXPECT_EQ(in[1], 'y');

	/* Up to the end. */
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES - 2, out, 2, 0), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 'y');
	return done();
}

/* The last byte can be had, the one behind it not, and a refused write changes nothing. */
SEC("raw_tp")
int test_read_write_bounds(void *ctx)
{
	char two[2] = { 'a', 'b' };
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES - 2, two, 2, 0), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 'b');

	two[0] = 'x';
	two[1] = 'y';
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES - 1, two, 2, 0), -E2BIG);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 'b');
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES, two, 1, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, -1U, two, 2, 0), -E2BIG);

	EXPECT_EQ(bpf_dynptr_read(two, 2, &ptr, VALUE_BYTES - 2, 0), 0);
	EXPECT_EQ(two[0], 'a');
	EXPECT_EQ(bpf_dynptr_read(two, 2, &ptr, VALUE_BYTES - 1, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_read(two, 1, &ptr, VALUE_BYTES, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_read(two, 2, &ptr, -1U, 0), -E2BIG);
	return done();
}

SEC("raw_tp")
int test_zero_size_dynptr(void *ctx)
{
	char byte = 'x';
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &byte, 0, 0), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES, &byte, 0, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&byte, 0, &ptr, VALUE_BYTES, 0), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES + 1, &byte, 0, 0), -E2BIG);
	EXPECT_EQ(mem->bytes[0], 0);
	return done();
}

SEC("raw_tp")
int test_flags(void *ctx)
{
	struct bpf_dynptr refused;
	char byte = 'x';
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &byte, 1, 1), -EINVAL);
	EXPECT_EQ(mem->bytes[0], 0);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 0, 1), -EINVAL);
	EXPECT_EQ(byte, 'x');
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &refused), -EINVAL);

	/* Without one it works, with the last byte as well. */
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES - 1, &byte, 1, 0), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 'x');
	mem->bytes[VALUE_BYTES - 1] = 'y';
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, VALUE_BYTES - 1, 0), 0);
	EXPECT_EQ(byte, 'y');
	return done();
}

/* A dynptr whose making failed is null: it can be passed on, and does nothing. */
SEC("raw_tp")
int test_null(void *ctx)
{
	struct bpf_dynptr null;
	struct value *mem;
	char byte = 'x';

	if (!called_by_harness())
		return 0;
	mem = value_of(0);
	if (!mem)
		return 0;
	if (!EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &null), -EINVAL))
		return 0;

	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &null, 0, 0), -EINVAL);
	EXPECT_EQ(byte, 'x');
	EXPECT_EQ(bpf_dynptr_write(&null, 0, &byte, 1, 0), -EINVAL);
	EXPECT_NULL(bpf_dynptr_data(&null, 0, 1));
	EXPECT_EQ(mem->bytes[0], 0);
	return done();
}

SEC("raw_tp")
int test_dynptr_data(void *ctx)
{
	__u8 byte = 0, *slice;
	LOCAL_DYNPTR(ptr, mem);

	slice = bpf_dynptr_data(&ptr, 10, 20);
	if (!EXPECT_TRUE(slice))
		return 0;
	slice[0] = 1;
	slice[19] = 2;
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 10, 0), 0);
	EXPECT_EQ(byte, 1);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 29, 0), 0);
	EXPECT_EQ(byte, 2);

	byte = 3;
	EXPECT_EQ(bpf_dynptr_write(&ptr, 11, &byte, 1, 0), 0);
	EXPECT_EQ(slice[1], 3);

	/* All of it, and its very end. */
	EXPECT_TRUE(bpf_dynptr_data(&ptr, 0, VALUE_BYTES));
	EXPECT_TRUE(bpf_dynptr_data(&ptr, VALUE_BYTES - 1, 1));
	return done();
}

/* The offset is known only at run time: a slice that does not fit is NULL. */
SEC("raw_tp")
int test_data_slice_bounds(void *ctx)
{
	__u32 key = 1, offset;
	struct value *other;
	LOCAL_DYNPTR(ptr, mem);

	other = bpf_map_lookup_elem(&values, &key);
	if (!other)
		return 0;
	offset = other->bytes[0]; /* 0, but the verifier cannot know */
	EXPECT_TRUE(bpf_dynptr_data(&ptr, offset, VALUE_BYTES));
	EXPECT_TRUE(bpf_dynptr_data(&ptr, offset + 1, VALUE_BYTES - 1));
	EXPECT_NULL(bpf_dynptr_data(&ptr, offset + 1, VALUE_BYTES));
	EXPECT_NULL(bpf_dynptr_data(&ptr, offset + VALUE_BYTES, 1));
	EXPECT_NULL(bpf_dynptr_data(&ptr, offset - 1, 2));
	EXPECT_NULL(bpf_dynptr_data(&ptr, 0, VALUE_BYTES + 1));
	return done();
}

/* --- 6.5: what kfuncs do with a local dynptr ----------------------------------------------------------------- */

SEC("raw_tp")
int test_size(void *ctx)
{
	struct bpf_dynptr small, null;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_size(&ptr), VALUE_BYTES);
	EXPECT_EQ(bpf_dynptr_from_mem(mem, 1, 0, &small), 0);
	EXPECT_EQ(bpf_dynptr_size(&small), 1);
	EXPECT_EQ(bpf_dynptr_from_mem(mem, 1, 1, &null), -EINVAL);
	EXPECT_EQ((__s32)bpf_dynptr_size(&null), -EINVAL);
	return done();
}

SEC("raw_tp")
int test_dynptr_is_null(void *ctx)
{
	struct bpf_dynptr null;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_is_null(&ptr), false);
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_is_null(&null), true);
	/* One of which nothing is left is not. */
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, VALUE_BYTES, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_dynptr_is_null(&ptr), false);
	return done();
}

SEC("raw_tp")
int test_dynptr_is_rdonly(void *ctx)
{
	struct bpf_dynptr null;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), false);
	/* A null one has no memory to protect. */
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&null), false);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, VALUE_BYTES, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), false);
	return done();
}

SEC("raw_tp")
int test_adjust(void *ctx)
{
	__u8 byte = 7;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_size(&ptr), VALUE_BYTES);
	/* From here on, offset 0 is the value's byte 10, and the last is its byte 99. */
	if (!EXPECT_EQ(bpf_dynptr_adjust(&ptr, 10, 100), 0))
		return 0;
	EXPECT_EQ(bpf_dynptr_size(&ptr), 90);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &byte, 1, 0), 0);
	EXPECT_EQ(mem->bytes[10], 7);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 89, &byte, 1, 0), 0);
	EXPECT_EQ(mem->bytes[99], 7);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 90, &byte, 1, 0), -E2BIG);
	EXPECT_EQ(mem->bytes[100], 0);

	/* A second one counts from the first. */
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 5, 15), 0);
	EXPECT_EQ(bpf_dynptr_size(&ptr), 10);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &byte, 1, 0), 0);
	EXPECT_EQ(mem->bytes[15], 7);

	/* Nothing may be left of it. */
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 10, 10), 0);
	EXPECT_EQ(bpf_dynptr_size(&ptr), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &byte, 1, 0), -E2BIG);
	return done();
}

SEC("raw_tp")
int test_adjust_err(void *ctx)
{
	struct bpf_dynptr null;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 20, 10), -EINVAL);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, VALUE_BYTES + 1, VALUE_BYTES + 1), -ERANGE);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 0, VALUE_BYTES + 1), -ERANGE);
	/* None of these changed it. */
	EXPECT_EQ(bpf_dynptr_size(&ptr), VALUE_BYTES);

	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_adjust(&null, 0, 0), -EINVAL);
	return done();
}

/* A clone sees the same memory, and has bounds of its own. */
SEC("raw_tp")
int test_dynptr_clone(void *ctx)
{
	struct bpf_dynptr clone;
	__u8 byte = 9;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 10, VALUE_BYTES), 0);
	if (!EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0))
		return 0;
	EXPECT_EQ(bpf_dynptr_size(&clone), VALUE_BYTES - 10);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&clone), false);
	EXPECT_EQ(bpf_dynptr_write(&clone, 0, &byte, 1, 0), 0);
	EXPECT_EQ(mem->bytes[10], 9);

	EXPECT_EQ(bpf_dynptr_adjust(&clone, 80, 90), 0);
	EXPECT_EQ(bpf_dynptr_size(&clone), 10);
	EXPECT_EQ(bpf_dynptr_size(&ptr), VALUE_BYTES - 10);
	return done();
}

SEC("raw_tp")
int test_clone_null(void *ctx)
{
	struct bpf_dynptr null, clone;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_clone(&null, &clone), -EINVAL);
	EXPECT_EQ(bpf_dynptr_is_null(&clone), true);
	EXPECT_EQ((__s32)bpf_dynptr_size(&clone), -EINVAL);
	EXPECT_EQ(bpf_dynptr_size(&ptr), VALUE_BYTES);
	return done();
}

/* --- 6.15 and 6.17 ------------------------------------------------------------------------------------------- */

SEC("raw_tp")
int test_dynptr_copy(void *ctx)
{
	struct bpf_dynptr to;
	struct value *target;
	LOCAL_DYNPTR(ptr, mem);

	target = value_of(1);
	if (!target)
		return 0;
	mem->bytes[4] = 1;
	mem->bytes[7] = 2;
	EXPECT_EQ(bpf_dynptr_from_mem(target, VALUE_BYTES, 0, &to), 0);
	EXPECT_EQ(bpf_dynptr_copy(&to, VALUE_BYTES - 4, &ptr, 4, 4), 0);
	EXPECT_EQ(target->bytes[VALUE_BYTES - 5], 0);
	EXPECT_EQ(target->bytes[VALUE_BYTES - 4], 1);
	EXPECT_EQ(target->bytes[VALUE_BYTES - 1], 2);

	EXPECT_EQ(bpf_dynptr_copy(&to, VALUE_BYTES - 3, &ptr, 0, 4), -E2BIG);
	EXPECT_EQ(bpf_dynptr_copy(&to, 0, &ptr, VALUE_BYTES - 3, 4), -E2BIG);
	return done();
}

SEC("raw_tp")
int test_dynptr_memset(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_memset(&ptr, 8, 4, 0xab), 0);
	EXPECT_EQ(mem->bytes[7], 0);
	EXPECT_EQ(mem->bytes[8], 0xab);
	EXPECT_EQ(mem->bytes[11], 0xab);
	EXPECT_EQ(mem->bytes[12], 0);

	EXPECT_EQ(bpf_dynptr_memset(&ptr, VALUE_BYTES - 3, 4, 0xcd), -E2BIG);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 0);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, VALUE_BYTES - 4, 4, 0xcd), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 0xcd);
	return done();
}
