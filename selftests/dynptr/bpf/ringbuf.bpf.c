// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dynptrs over a record of a ring buffer: they hold a reference until they are submitted or discarded. What a consumer sees
 * of the records is checked by src/trigger/ringbuf.rs.
 */
#include "harness.h"

/* Each record has a header of that size before it. */
#define RECORD_HEADER 8

static __always_inline __u64 bytes_available(void)
{
	return bpf_ringbuf_query(&ringbuf, BPF_RB_AVAIL_DATA);
}

SEC("raw_tp")
int test_ringbuf(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 out = 0x1122334455667788, in = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 8, &out, sizeof(out), 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, sizeof(in), &ptr, 8, 0), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 9, &out, sizeof(out), 0), -E2BIG);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	EXPECT_EQ(in, out);
	EXPECT_EQ(bytes_available(), RECORD_HEADER + 16);
	return done();
}

/* A discarded record stays in the way until the consumer has passed it, but is marked as nothing to look at. */
SEC("raw_tp")
int test_ringbuf_discard(void *ctx)
{
	__u64 produced, out = 0x1122334455667788;
	struct bpf_dynptr ptr;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 32, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &out, sizeof(out), 0), 0);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	produced = bpf_ringbuf_query(&ringbuf, BPF_RB_PROD_POS);
	EXPECT_EQ(produced, RECORD_HEADER + 32);

	/* The name can be used again. */
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &out, sizeof(out), 0), 0);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	EXPECT_EQ(bpf_ringbuf_query(&ringbuf, BPF_RB_PROD_POS), produced + RECORD_HEADER + 8);
	return done();
}

SEC("raw_tp")
int test_ringbuf_data_slice(void *ctx)
{
	struct bpf_dynptr ptr;
	__u64 *slice, in = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 24, 0, &ptr), 0);
	slice = bpf_dynptr_data(&ptr, 16, 8);
	if (!slice) {
		bpf_ringbuf_discard_dynptr(&ptr, 0);
		return 0;
	}
	*slice = 0x1122334455667788;
	EXPECT_EQ(bpf_dynptr_read(&in, sizeof(in), &ptr, 16, 0), 0);
	EXPECT_EQ(in, 0x1122334455667788);
	EXPECT_NULL(bpf_dynptr_data(&ptr, 17, 8));
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	return done();
}

/* A reservation that fails gives a null dynptr, which has to be released all the same. */
SEC("raw_tp")
int test_ringbuf_reserve_too_large(void *ctx)
{
	struct bpf_dynptr full, huge;
	char byte = 1;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, RINGBUF_BYTES, 0, &full), -EINVAL);
	EXPECT_EQ(bpf_dynptr_write(&full, 0, &byte, 1, 0), -EINVAL);
	EXPECT_NULL(bpf_dynptr_data(&full, 0, 1));
	bpf_ringbuf_submit_dynptr(&full, 0);

	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, DYNPTR_MAX_BYTES + 1, 0, &huge), -E2BIG);
	bpf_ringbuf_discard_dynptr(&huge, 0);
	EXPECT_EQ(bpf_ringbuf_query(&ringbuf, BPF_RB_PROD_POS), 0);
	return done();
}

SEC("raw_tp")
int test_ringbuf_reserve_flags(void *ctx)
{
	struct bpf_dynptr ptr;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 1, &ptr), -EINVAL);
	bpf_ringbuf_discard_dynptr(&ptr, 0);
	EXPECT_EQ(bpf_ringbuf_query(&ringbuf, BPF_RB_PROD_POS), 0);
	return done();
}

/* Nothing can be put into a record of size zero, and it is a record. */
SEC("raw_tp")
int test_ringbuf_reserve_zero(void *ctx)
{
	struct bpf_dynptr ptr;
	char byte = 1;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 0, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &byte, 1, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_read(&byte, 1, &ptr, 0, 0), -E2BIG);
	bpf_ringbuf_submit_dynptr(&ptr, 0);
	EXPECT_EQ(bytes_available(), RECORD_HEADER);
	return done();
}

/* The reference is shared: releasing through either name releases the record, once. */
SEC("raw_tp")
int test_ringbuf_clone(void *ctx)
{
	struct bpf_dynptr ptr, clone;
	__u32 out = 0x11223344, in = 0;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 16, 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_clone(&ptr, &clone), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 4, &out, sizeof(out), 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&in, sizeof(in), &clone, 4, 0), 0);
	bpf_ringbuf_submit_dynptr(&clone, 0);
	EXPECT_EQ(in, out);
	EXPECT_EQ(bytes_available(), RECORD_HEADER + 16);
	return done();
}

/* --- who waits for the records ------------------------------------------------------------------------------------- */

/* The harness calls these several times, and knows which of the calls has to wake it. */
static __always_inline __u64 wakeup_flags(void)
{
	switch (report.runs) {
	case 2:
	case 4:
		return BPF_RB_NO_WAKEUP;
	case 3:
		return BPF_RB_FORCE_WAKEUP;
	default:
		return 0;
	}
}

SEC("raw_tp")
int test_ringbuf_wakeup_submit(void *ctx)
{
	struct bpf_dynptr ptr;
	/* No byte of it is 0, which is what may be there anyhow. */
	__u64 run = ~(__u64)report.runs;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, sizeof(run), 0, &ptr), 0);
	EXPECT_EQ(bpf_dynptr_write(&ptr, 0, &run, sizeof(run), 0), 0);
	bpf_ringbuf_submit_dynptr(&ptr, wakeup_flags());
	return done();
}

SEC("raw_tp")
int test_ringbuf_wakeup_discard(void *ctx)
{
	struct bpf_dynptr ptr;

	if (!called_by_harness())
		return 0;
	EXPECT_EQ(bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, &ptr), 0);
	bpf_ringbuf_discard_dynptr(&ptr, wakeup_flags());
	return done();
}
