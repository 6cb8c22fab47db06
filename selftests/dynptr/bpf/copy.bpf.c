// SPDX-License-Identifier: GPL-2.0-only
/* bpf_dynptr_copy() and bpf_dynptr_memset(), between and in memory of every kind; and sizes beyond 32 bits. */
#include "harness.h"

/* Both ways within the same memory: as if there were a copy in between. */
SEC("raw_tp")
int test_dynptr_copy_overlap(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	for (int i = 0; i < 16; i++)
		mem->bytes[i] = i;
	EXPECT_EQ(bpf_dynptr_copy(&ptr, 4, &ptr, 0, 8), 0);
	EXPECT_EQ(mem->bytes[3], 3);
	EXPECT_EQ(mem->bytes[4], 0);
	EXPECT_EQ(mem->bytes[8], 4);
	EXPECT_EQ(mem->bytes[11], 7);
	EXPECT_EQ(mem->bytes[12], 12);
	EXPECT_EQ(bpf_dynptr_copy(&ptr, 0, &ptr, 4, 8), 0);
	EXPECT_EQ(mem->bytes[0], 0);
	EXPECT_EQ(mem->bytes[7], 7);
	/* Up to the end. */
	EXPECT_EQ(bpf_dynptr_copy(&ptr, VALUE_BYTES - 8, &ptr, 0, 8), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 7);
	return done();
}

SEC("raw_tp")
int test_dynptr_copy_limits(void *ctx)
{
	struct bpf_dynptr to, null;
	struct value *target;
	LOCAL_DYNPTR(ptr, mem);

	target = value_of(1);
	if (!target)
		return 0;
	EXPECT_EQ(bpf_dynptr_from_mem(target, VALUE_BYTES, 0, &to), 0);
	EXPECT_EQ(bpf_dynptr_from_mem(target, VALUE_BYTES, 1, &null), -EINVAL);
	mem->bytes[0] = 9;
	EXPECT_EQ(bpf_dynptr_copy(&to, 0, &ptr, 0, 0), 0);
	EXPECT_EQ(target->bytes[0], 0);
	EXPECT_EQ(bpf_dynptr_copy(&to, 0, &ptr, 0, VALUE_BYTES), 0);
	EXPECT_EQ(target->bytes[0], 9);
	EXPECT_EQ(bpf_dynptr_copy(&to, 0, &ptr, 0, VALUE_BYTES + 1), -E2BIG);
	EXPECT_EQ(bpf_dynptr_copy(&to, -1U, &ptr, 0, 2), -E2BIG);
	EXPECT_EQ(bpf_dynptr_copy(&to, 0, &ptr, -1U, 2), -E2BIG);
	EXPECT_EQ(bpf_dynptr_copy(&null, 0, &ptr, 0, 1), -EINVAL);
	EXPECT_EQ(bpf_dynptr_copy(&to, 0, &null, 0, 1), -EINVAL);

	/* Adjusted ones count from their own beginning, to their own end. */
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 10, 20), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&to, 30, 40), 0);
	mem->bytes[11] = 5;
	EXPECT_EQ(bpf_dynptr_copy(&to, 2, &ptr, 1, 1), 0);
	EXPECT_EQ(target->bytes[32], 5);
	EXPECT_EQ(bpf_dynptr_copy(&to, 2, &ptr, 1, 9), -E2BIG);
	return done();
}

/* From a record into another, from a clone into its original. */
SEC("raw_tp")
int test_dynptr_copy_ringbuf(void *ctx)
{
	struct bpf_dynptr from, to, clone;
	__u64 out = 0x1122334455667788, in = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &from), 0);
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &to), 0);
	EXPECT_EQ(bpf_dynptr_write(&from, 8, &out, sizeof(out), 0), 0);
	EXPECT_EQ(bpf_dynptr_copy(&to, 16, &from, 8, 8), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, sizeof(in), &to, 16, 0), 0);
	EXPECT_EQ(in, out);
	in = 0;
	EXPECT_EQ(bpf_dynptr_clone(&to, &clone), 0);
	EXPECT_EQ(bpf_dynptr_copy(&to, 0, &clone, 16, 8), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, sizeof(in), &to, 0, 0), 0);
	EXPECT_EQ(in, out);
	bpf_ringbuf_submit_dynptr(&from, 0);
	bpf_ringbuf_discard_dynptr(&to, 0);
	EXPECT_EQ(bpf_ringbuf_query(&ringbuf, BPF_RB_PROD_POS), 80);
	return done();
}

/* The packet has several pages: into it, out of it, and from one part of it to another. */
SEC("xdp.frags")
int test_dynptr_copy_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr packet, local;
	struct value *mem = value_of(0);
	__u8 in[2] = {};

	if (!mem)
		return XDP_PASS;
	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &packet), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &local), 0);
	/* Out: byte i of the frame is i. */
	EXPECT_EQ(bpf_dynptr_copy(&local, 0, &packet, 4000, VALUE_BYTES), 0);
	EXPECT_EQ(mem->bytes[0], 4000 & 0xff);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], (4000 + VALUE_BYTES - 1) & 0xff);
	/* In. */
	mem->bytes[0] = 1;
	EXPECT_EQ(bpf_dynptr_copy(&packet, 3900, &local, 0, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &packet, 3899, 0), 0);
	EXPECT_EQ(in[0], 3899 & 0xff);
	EXPECT_EQ(in[1], 1);
	EXPECT_EQ(bpf_dynptr_read(in, 1, &packet, 3900 + VALUE_BYTES - 1, 0), 0);
	EXPECT_EQ(in[0], (4000 + VALUE_BYTES - 1) & 0xff);
	/* Within: more than is copied at once. */
	EXPECT_EQ(bpf_dynptr_copy(&packet, 5000, &packet, 100, 1001), 0);
	EXPECT_EQ(bpf_dynptr_read(in, 1, &packet, 5000, 0), 0);
	EXPECT_EQ(in[0], 100);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &packet, 6000, 0), 0);
	EXPECT_EQ(in[0], 1100 & 0xff);
	EXPECT_EQ(in[1], 6001 & 0xff);
	EXPECT_EQ(bpf_dynptr_copy(&packet, config.bytes - 7, &local, 0, 8), -E2BIG);
	EXPECT_EQ(bpf_dynptr_copy(&local, 0, &packet, config.bytes - 7, 8), -E2BIG);
	done();
	return XDP_PASS;
}

SEC("cgroup_skb/egress")
int test_dynptr_copy_readonly(struct __sk_buff *skb)
{
	struct value *mem = value_of(0);
	struct bpf_dynptr packet, local;

	if (!mem)
		return 1;
	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &packet), 0))
		return 1;
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, &local), 0);
	EXPECT_EQ(bpf_dynptr_copy(&local, VALUE_BYTES - 4, &packet, 6, 4), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 5], 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 4], ETH_HEADER + 6);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], ETH_HEADER + 9);
	EXPECT_EQ(bpf_dynptr_copy(&packet, 6, &local, 0, 4), -EINVAL);
	done();
	return 1;
}

/* --- memset ----------------------------------------------------------------------------------------------------- */

SEC("raw_tp")
int test_dynptr_memset_zero(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	for (int i = 0; i < VALUE_BYTES; i++)
		mem->bytes[i] = 0xee;
	EXPECT_EQ(bpf_dynptr_memset(&ptr, 0, VALUE_BYTES, 0), 0);
	for (int i = 0; i < VALUE_BYTES; i++)
		if (!EXPECT_EQ(mem->bytes[i], 0))
			return 0;
	return done();
}

SEC("raw_tp")
int test_dynptr_memset_zero_offset(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	mem->bytes[99] = mem->bytes[100] = mem->bytes[104] = mem->bytes[105] = 0xee;
	EXPECT_EQ(bpf_dynptr_memset(&ptr, 100, 5, 0), 0);
	EXPECT_EQ(mem->bytes[99], 0xee);
	EXPECT_EQ(mem->bytes[100], 0);
	EXPECT_EQ(mem->bytes[104], 0);
	EXPECT_EQ(mem->bytes[105], 0xee);
	mem->bytes[VALUE_BYTES - 1] = 0xee;
	EXPECT_EQ(bpf_dynptr_memset(&ptr, VALUE_BYTES - 5, 5, 0), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 0);
	return done();
}

SEC("raw_tp")
int test_dynptr_memset_zero_adjusted(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	mem->bytes[15] = mem->bytes[16] = mem->bytes[31] = mem->bytes[32] = 0xee;
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 16, VALUE_BYTES), 0);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 0, 16), 0);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, 0, 16, 0), 0);
	EXPECT_EQ(mem->bytes[15], 0xee);
	EXPECT_EQ(mem->bytes[16], 0);
	EXPECT_EQ(mem->bytes[31], 0);
	EXPECT_EQ(mem->bytes[32], 0xee);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, 0, 17, 0), -E2BIG);
	return done();
}

/* A memset that does not fit changes nothing. */
SEC("raw_tp")
int test_dynptr_memset_overflow(void *ctx)
{
	struct bpf_dynptr null;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_memset(&ptr, 0, VALUE_BYTES + 1, 0xee), -E2BIG);
	EXPECT_EQ(mem->bytes[0], 0);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, 0, -1U, 0xee), -E2BIG);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, VALUE_BYTES, 0, 0xee), 0);
	EXPECT_EQ(bpf_dynptr_from_mem(mem, VALUE_BYTES, 1, &null), -EINVAL);
	EXPECT_EQ(bpf_dynptr_memset(&null, 0, 1, 0xee), -E2BIG);
	return done();
}

SEC("raw_tp")
int test_dynptr_memset_overflow_offset(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_memset(&ptr, 1, VALUE_BYTES, 0xee), -E2BIG);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, VALUE_BYTES, 1, 0xee), -E2BIG);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, -1U, 2, 0xee), -E2BIG);
	EXPECT_EQ(mem->bytes[1], 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 0);
	/* The last byte fits. */
	EXPECT_EQ(bpf_dynptr_memset(&ptr, VALUE_BYTES - 1, 1, 0xee), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 0xee);
	return done();
}

SEC("cgroup_skb/egress")
int test_dynptr_memset_readonly(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;
	__u8 in = 0;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &packet), 0))
		return 1;
	EXPECT_EQ(bpf_dynptr_memset(&packet, 0, 1, 0xee), -EINVAL);
	EXPECT_EQ(bpf_dynptr_read(&in, 1, &packet, 0, 0), 0);
	EXPECT_EQ(in, ETH_HEADER);
	done();
	return 1;
}

/* Over the edge of a page of the packet, and more than is written at once. */
SEC("xdp.frags")
int test_dynptr_memset_xdp_chunks(struct xdp_md *xdp)
{
	struct bpf_dynptr packet;
	__u8 in[2] = {};

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &packet), 0))
		return XDP_PASS;
	EXPECT_EQ(bpf_dynptr_memset(&packet, 3001, 2000, 0xee), 0);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &packet, 3000, 0), 0);
	EXPECT_EQ(in[0], 3000 & 0xff);
	EXPECT_EQ(in[1], 0xee);
	EXPECT_EQ(bpf_dynptr_read(in, 1, &packet, 4096, 0), 0);
	EXPECT_EQ(in[0], 0xee);
	EXPECT_EQ(bpf_dynptr_read(in, 2, &packet, 5000, 0), 0);
	EXPECT_EQ(in[0], 0xee);
	EXPECT_EQ(in[1], 5001 & 0xff);
	EXPECT_EQ(bpf_dynptr_memset(&packet, config.bytes - 1, 2, 0xee), -E2BIG);
	done();
	return XDP_PASS;
}

/* --- sizes beyond 32 bits ----------------------------------------------------------------------------------------- */

#define FAR (1ULL << 32)

/* Where sizes have 64 bits, their upper half counts. */
SEC("raw_tp")
int test_wide_read_write(void *ctx)
{
	__u8 byte = 1;
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, FAR, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_write(&ptr, FAR, &byte, 1, 0), -E2BIG);
	EXPECT_EQ(mem->bytes[0], 0);
	EXPECT_NULL(bpf_dynptr_data(&ptr, FAR, 1));
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, -1ULL, 0), -E2BIG);
	/* The last byte is there. */
	EXPECT_EQ(bpf_dynptr_write(&ptr, VALUE_BYTES - 1, &byte, 1, 0), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 1);
	mem->bytes[VALUE_BYTES - 1] = 2;
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, VALUE_BYTES - 1, 0), 0);
	EXPECT_EQ(byte, 2);
	EXPECT_TRUE(bpf_dynptr_data(&ptr, VALUE_BYTES - 1, 1));
	return done();
}

SEC("raw_tp")
int test_wide_adjust(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	EXPECT_EQ(bpf_dynptr_adjust(&ptr, FAR, FAR), -ERANGE);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, 0, FAR | 1), -ERANGE);
	EXPECT_EQ(bpf_dynptr_adjust(&ptr, FAR | 1, 2), -EINVAL);
	EXPECT_EQ(bpf_dynptr_size(&ptr), VALUE_BYTES);
	return done();
}

SEC("tc")
int test_wide_slice(struct __sk_buff *skb)
{
	struct bpf_dynptr ptr;
	__u8 buffer[8] = {}, *slice;

	EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &ptr), 0);
	slice = bpf_dynptr_slice(&ptr, 20, buffer, 8);
	if (EXPECT_TRUE(slice) && slice)
		EXPECT_EQ(slice[7], 27);
	EXPECT_NULL(bpf_dynptr_slice(&ptr, FAR | 20, buffer, 8));
	slice = bpf_dynptr_slice_rdwr(&ptr, 20, buffer, 8);
	if (EXPECT_TRUE(slice) && slice)
		EXPECT_EQ(slice[7], 27);
	EXPECT_NULL(bpf_dynptr_slice_rdwr(&ptr, FAR | 20, buffer, 8));
	return done();
}

SEC("raw_tp")
int test_wide_copy_memset(void *ctx)
{
	LOCAL_DYNPTR(ptr, mem);

	mem->bytes[1] = 1;
	EXPECT_EQ(bpf_dynptr_copy(&ptr, 0, &ptr, FAR | 1, 1), -E2BIG);
	EXPECT_EQ(bpf_dynptr_copy(&ptr, FAR, &ptr, 1, 1), -E2BIG);
	EXPECT_EQ(bpf_dynptr_copy(&ptr, 0, &ptr, 1, FAR | 1), -E2BIG);
	EXPECT_EQ(mem->bytes[0], 0);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, FAR, 1, 7), -E2BIG);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, 0, FAR | 1, 7), -E2BIG);
	EXPECT_EQ(mem->bytes[0], 0);
	/* All that there is, is not too wide. */
	EXPECT_EQ(bpf_dynptr_copy(&ptr, 0, &ptr, 1, VALUE_BYTES - 1), 0);
	EXPECT_EQ(mem->bytes[0], 1);
	EXPECT_EQ(bpf_dynptr_memset(&ptr, 0, VALUE_BYTES, 7), 0);
	EXPECT_EQ(mem->bytes[VALUE_BYTES - 1], 7);
	return done();
}
