// SPDX-License-Identifier: GPL-2.0-only
/* Dynptrs over global variables, which are values of maps that libbpf makes. */
#include "harness.h"

#define GLOBAL_BYTES 64

/* Without and with contents, between neighbours; and one that programs may only read. */
struct neighbours {
	__u8 before[8];
	__u8 bytes[GLOBAL_BYTES];
	__u8 behind[8];
};

struct neighbours zeroed = {};
struct neighbours filled = { .before = { 1 }, .bytes = { 'g', 'l', 'o', 'b', 'a', 'l' }, .behind = { 2 } };
const volatile struct neighbours constant = { .bytes = { 'c' } };

/* Kept out of the compiler's sight: it knows what is in variables that nobody else writes. */
#define LOOK(variable) (*(volatile __u8 *)&(variable))

SEC("raw_tp")
int global_read_write(void *ctx)
{
	struct bpf_dynptr zero, fill;
	__u8 in[8] = {}, out[8] = "dynptr!";

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_mem(zeroed.bytes, GLOBAL_BYTES, 0, &zero), 0);
	EXPECT_EQ(bpf_dynptr_from_mem(filled.bytes, GLOBAL_BYTES, 0, &fill), 0);

	EXPECT_EQ(bpf_dynptr_read(in, 8, &fill, 0, 0), 0);
	EXPECT_EQ(in[0], 'g');
	EXPECT_EQ(in[5], 'l');
	EXPECT_EQ(in[6], 0);

	EXPECT_EQ(bpf_dynptr_write(&zero, GLOBAL_BYTES - 8, out, 8, 0), 0);
	EXPECT_EQ(LOOK(zeroed.bytes[GLOBAL_BYTES - 9]), 0);
	EXPECT_EQ(LOOK(zeroed.bytes[GLOBAL_BYTES - 8]), 'd');
	EXPECT_EQ(LOOK(zeroed.bytes[GLOBAL_BYTES - 2]), '!');
	EXPECT_EQ(LOOK(zeroed.behind[0]), 0);
	/* What the program writes, the dynptr has as well. */
	LOOK(filled.bytes[3]) = 'x';
	EXPECT_EQ(bpf_dynptr_read(in, 1, &fill, 3, 0), 0);
	EXPECT_EQ(in[0], 'x');
	return done();
}

SEC("raw_tp")
int global_bounds(void *ctx)
{
	struct bpf_dynptr ptr, refused;
	__u8 bytes[8] = { 9, 9, 9, 9, 9, 9, 9, 9 };

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_mem(filled.bytes, GLOBAL_BYTES, 1, &refused), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(bytes, 1, &refused, 0, 0), -EINVAL);
	EXPECT_EQ(bpf_dynptr_from_mem(filled.bytes, GLOBAL_BYTES, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, GLOBAL_BYTES - 7, bytes, 8, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, GLOBAL_BYTES, bytes, 1, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, -1U, bytes, 1, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, bytes, 1, 1), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(bytes, 8, &ptr, GLOBAL_BYTES - 7, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_read(bytes, 1, &ptr, 0, 1), -EINVAL);
	EXPECT_EQ(bpf_dynptr_write(&ptr, GLOBAL_BYTES, bytes, 0, 0), 0);
	/* The neighbours, and what was there, are as they were. */
	EXPECT_EQ(LOOK(filled.before[0]), 1);
	EXPECT_EQ(LOOK(filled.before[7]), 0);
	EXPECT_EQ(LOOK(filled.bytes[0]), 'g');
	EXPECT_EQ(LOOK(filled.bytes[GLOBAL_BYTES - 1]), 0);
	EXPECT_EQ(LOOK(filled.behind[0]), 2);
	return done();
}

/* A part of a variable, a slice of that, and a part without length. */
SEC("raw_tp")
int global_data(void *ctx)
{
	struct bpf_dynptr ptr, empty;
	__u8 *slice, byte = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_mem(zeroed.bytes + 16, 32, 0, &ptr), 0);
	slice = bpf_dynptr_data(&ptr, 24, 8);
	if (!slice) {
		EXPECT_TRUE(slice);
		return 0;
	}
	slice[0] = 0xaa;
	slice[7] = 0xbb;
	EXPECT_EQ(LOOK(zeroed.bytes[16 + 24]), 0xaa);
	EXPECT_EQ(LOOK(zeroed.bytes[16 + 31]), 0xbb);
	EXPECT_NULL(bpf_dynptr_data(&ptr, 25, 8));
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 32, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_from_mem(zeroed.bytes, 0, 0, &empty), 0);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &empty, 0, 0), -E2BIG);
	EXPECT_NULL(bpf_dynptr_data(&empty, 0, 1));
	return done();
}

SEC("raw_tp")
int global_adjust_clone(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	__u8 in = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_mem(filled.bytes, GLOBAL_BYTES, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_size(&ptr), GLOBAL_BYTES);
	EXPECT_EQ(bpf_dynptr_is_null(&ptr), false);
	EXPECT_EQ(bpf_dynptr_is_rdonly(&ptr), false);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 3, 5), 0);
	EXPECT_EQ(bpf_dynptr_size(&clone), 2);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &clone, 1, 0), 0);
	EXPECT_EQ(in, 'a');
	EXPECT_EQ(bpf_dynptr_adjust(&clone, 0, 3), -ERANGE);
	in = 'A';
	EXPECT_EQ(bpf_dynptr_write(&clone, 1, &in, 1, 0), 0);
	EXPECT_EQ(bpf_dynptr_write(&clone, 2, &in, 1, 0), -E2BIG);
	EXPECT_EQ(LOOK(filled.bytes[4]), 'A');
	EXPECT_EQ(LOOK(filled.bytes[5]), 'l');
	EXPECT_EQ(bpf_dynptr_size(&ptr), GLOBAL_BYTES);
	return done();
}

/* From one variable to another, and within one. */
SEC("raw_tp")
int global_copy_memset(void *ctx)
{
	struct bpf_dynptr from, to;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_dynptr_from_mem(filled.bytes, GLOBAL_BYTES, 0, &from), 0);
	EXPECT_EQ(bpf_dynptr_from_mem(zeroed.bytes, GLOBAL_BYTES, 0, &to), 0);
	EXPECT_EQ(bpf_dynptr_copy(&to, GLOBAL_BYTES - 6, &from, 0, 6), 0);
	EXPECT_EQ(LOOK(zeroed.bytes[GLOBAL_BYTES - 6]), 'g');
	EXPECT_EQ(LOOK(zeroed.bytes[GLOBAL_BYTES - 1]), 'l');
	EXPECT_EQ(LOOK(zeroed.behind[0]), 0);
	EXPECT_EQ(bpf_dynptr_copy(&to, GLOBAL_BYTES - 5, &from, 0, 6), -E2BIG);
	EXPECT_EQ(bpf_dynptr_memset(&from, 1, 2, '.'), 0);
	EXPECT_EQ(LOOK(filled.bytes[0]), 'g');
	EXPECT_EQ(LOOK(filled.bytes[1]), '.');
	EXPECT_EQ(LOOK(filled.bytes[2]), '.');
	EXPECT_EQ(LOOK(filled.bytes[3]), 'b');
	EXPECT_EQ(bpf_dynptr_memset(&from, GLOBAL_BYTES, 1, '.'), -E2BIG);
	EXPECT_EQ(LOOK(filled.behind[0]), 2);
	return done();
}

/* --- refused ---------------------------------------------------------------------------------------------------- */

SEC("raw_tp")
int global_constant(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_mem((void *)constant.bytes, GLOBAL_BYTES, 0, &ptr);
	return 0;
}

SEC("raw_tp")
int global_too_long(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_mem(zeroed.bytes, 1 << 16, 0, &ptr);
	return 0;
}

SEC("raw_tp")
int global_before_its_beginning(void *ctx)
{
	struct bpf_dynptr ptr;

	bpf_dynptr_from_mem(zeroed.before - (1 << 16), 8, 0, &ptr);
	return 0;
}
