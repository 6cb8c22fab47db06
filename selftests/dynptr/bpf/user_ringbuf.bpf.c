// SPDX-License-Identifier: GPL-2.0-only
/*
 * Messages from the process, which bpf_user_ringbuf_drain() hands to a callback as dynptrs that it may only read.
 * src/trigger/user_ringbuf.rs fills the buffer, by the test's name.
 */
#include "harness.h"

struct tally {
	__u64 messages;
	__u64 sum;
};

/*
 * It is in a map, and its address on the stack, which is where a callback's context has to be: what is on the stack
 * has values that the verifier knows, and it would follow the callback for as long as they change.
 */
#define TALLY(name)                                 \
	struct tally *name = (void *)value_of(0);   \
	if (!name)                                  \
		return 0;                           \
	name->messages = name->sum = 0

static long add_number(struct bpf_dynptr *message, struct tally **context)
{
	struct tally *tally = *context;
	__u64 number = -1ULL;

	/* All of it is read: the numbers are small. */
	if (bpf_dynptr_read(&number, sizeof(number), message, 0, 0) || number >> 32)
		return 1;
	tally->messages += 1;
	tally->sum += number;
	return 0;
}

/* Runs out of buffers before it runs out of numbers: 0 + 1 + … + (count - 1). */
#define SUM_BELOW(count) ((__u64)(count) * ((count) - 1) / 2)

#define DRAIN_NUMBERS(count, numbers)                                                        \
	do {                                                                                 \
		TALLY(tally);                                                                \
		EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, add_number, &tally, 0), count); \
		EXPECT_EQ(tally->messages, count);                                           \
		EXPECT_EQ(tally->sum, numbers);                                              \
	} while (0)

SEC("syscall")
int user_ringbuf_basic(void *ctx)
{
	DRAIN_NUMBERS(3, SUM_BELOW(3));
	/* Nothing is handed out twice. */
	DRAIN_NUMBERS(0, 0);
	return done();
}

SEC("syscall")
int user_ringbuf_empty(void *ctx)
{
	DRAIN_NUMBERS(0, 0);
	return done();
}

SEC("syscall")
int user_ringbuf_loop(void *ctx)
{
	DRAIN_NUMBERS(8, SUM_BELOW(8));
	return done();
}

SEC("syscall")
int user_ringbuf_overfill(void *ctx)
{
	DRAIN_NUMBERS(RINGBUF_BYTES / 16, SUM_BELOW(RINGBUF_BYTES / 16));
	return done();
}

/* Full of numbers, and then one more, for which the process has waited. */
SEC("syscall")
int user_ringbuf_blocking_reserve(void *ctx)
{
	if (!report.runs)
		DRAIN_NUMBERS(RINGBUF_BYTES / 16, SUM_BELOW(RINGBUF_BYTES / 16));
	else
		DRAIN_NUMBERS(1, 4711);
	return done();
}

/* 1, 3 and 5 are messages, 0, 2 and 4 were taken back. */
SEC("syscall")
int user_ringbuf_discards_properly_ignored(void *ctx)
{
	DRAIN_NUMBERS(3, 1 + 3 + 5);
	return done();
}

SEC("syscall")
int user_ringbuf_only_discards(void *ctx)
{
	DRAIN_NUMBERS(0, 0);
	return done();
}

/* The second one is not ready, and nothing overtakes it. */
SEC("syscall")
int user_ringbuf_busy(void *ctx)
{
	DRAIN_NUMBERS(1, 0);
	DRAIN_NUMBERS(0, 0);
	return done();
}

static long stop_at_second(struct bpf_dynptr *message, struct tally **context)
{
	struct tally *tally = *context;
	tally->messages += 1;
	return tally->messages == 2;
}

/* A callback that returns 1 is the last; what it saw is gone, the rest is still there. */
SEC("syscall")
int user_ringbuf_stop(void *ctx)
{
	TALLY(tally);

	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, stop_at_second, &tally, 0), 2);
	EXPECT_EQ(tally->messages, 2);
	DRAIN_NUMBERS(1, 2);
	return done();
}

static long read_odd(struct bpf_dynptr *message, struct tally **context)
{
	struct tally *tally = *context;
	__u8 bytes[8] = {}, *slice;

	tally->messages += 1;
	if (tally->messages == 2)
		return EXPECT_EQ(bpf_dynptr_read(bytes, 8, message, 0, 0), 0) && EXPECT_EQ(bytes[0], 9);
	/* Five bytes were sent: there is no sixth, though there is room for it. */
	EXPECT_EQ(bpf_dynptr_read(bytes, 6, message, 0, 0), -E2BIG);
	EXPECT_EQ(bpf_dynptr_read(bytes, 5, message, 0, 0), 0);
	EXPECT_EQ(bytes[4], 5);
	EXPECT_NULL(bpf_dynptr_data(message, 0, 6));
	slice = bpf_dynptr_data(message, 1, 4);
	if (EXPECT_TRUE(slice) && slice)
		EXPECT_EQ(slice[0], 2);
	return 0;
}

SEC("syscall")
int user_ringbuf_post_alignment_autoadjust(void *ctx)
{
	TALLY(tally);

	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, read_odd, &tally, 0), 2);
	EXPECT_EQ(tally->messages, 2);
	return done();
}

static long read_large(struct bpf_dynptr *message, struct tally **context)
{
	struct tally *tally = *context;
	__u8 bytes[2] = {};

	tally->messages += 1;
	EXPECT_EQ(bpf_dynptr_read(bytes, 2, message, RINGBUF_BYTES - 8 - 2, 0), 0);
	EXPECT_EQ(bytes[1], 0x5a);
	EXPECT_EQ(bpf_dynptr_read(bytes, 2, message, RINGBUF_BYTES - 8 - 1, 0), -E2BIG);
	return 0;
}

SEC("syscall")
int user_ringbuf_sample_full_ring_buffer(void *ctx)
{
	TALLY(tally);

	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, read_large, &tally, 0), 1);
	EXPECT_EQ(tally->messages, 1);
	return done();
}

static long read_wrapped(struct bpf_dynptr *message, struct tally **context)
{
	struct tally *tally = *context;
	__u8 first = 0, last = 0;

	tally->messages += 1;
	EXPECT_EQ(bpf_dynptr_read(&first, 1, message, 0, 0), 0);
	EXPECT_EQ(bpf_dynptr_read(&last, 1, message, 40000 - 1, 0), 0);
	EXPECT_EQ(first, 0);
	EXPECT_EQ(last, (40000 - 1) & 0xff);
	return 0;
}

/* Every second one of them goes over the end of the buffer. */
SEC("syscall")
int user_ringbuf_wraps(void *ctx)
{
	TALLY(tally);

	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, read_wrapped, &tally, 0), 1);
	EXPECT_EQ(tally->messages, 1);
	return done();
}

/* What the process says must fit together; where it does not, nothing is handed out. */
#define DRAIN_FAILS(error)                                                                   \
	do {                                                                                 \
		TALLY(tally);                                                                \
		EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, add_number, &tally, 0), error); \
		EXPECT_EQ(tally->messages, 0);                                               \
	} while (0)

SEC("syscall")
int user_ringbuf_post_misaligned(void *ctx)
{
	DRAIN_FAILS(-EINVAL);
	return done();
}

SEC("syscall")
int user_ringbuf_post_producer_wrong_offset(void *ctx)
{
	DRAIN_FAILS(-EINVAL);
	return done();
}

SEC("syscall")
int user_ringbuf_post_larger_than_ringbuf_sz(void *ctx)
{
	DRAIN_FAILS(-E2BIG);
	return done();
}

SEC("syscall")
int user_ringbuf_longer_than_posted(void *ctx)
{
	DRAIN_FAILS(-EINVAL);
	return done();
}

SEC("syscall")
int user_ringbuf_flags(void *ctx)
{
	TALLY(tally);

	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, add_number, &tally, 1 << 5), -EINVAL);
	EXPECT_EQ(tally->messages, 0);
	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, add_number, &tally, BPF_RB_NO_WAKEUP), 3);
	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, add_number, &tally, BPF_RB_FORCE_WAKEUP), 0);
	EXPECT_EQ(tally->messages, 3);
	return done();
}

static long drain_again(struct bpf_dynptr *message, struct tally **context)
{
	struct tally *tally = *context;
	tally->sum = bpf_user_ringbuf_drain(&user_ringbuf, add_number, &tally, 0);
	return 1;
}

/* While one drains it, nobody else can. */
SEC("syscall")
int user_ringbuf_nested(void *ctx)
{
	TALLY(tally);

	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, drain_again, &tally, 0), 1);
	EXPECT_EQ(tally->sum, -EBUSY);
	EXPECT_EQ(tally->messages, 0);
	return done();
}

static long inspect(struct bpf_dynptr *message, struct tally **context)
{
	struct tally *tally = *context;
	tally->messages += 1;
	EXPECT_EQ(bpf_dynptr_size(message), 8);
	EXPECT_EQ(bpf_dynptr_is_null(message), false);
	return 0;
}

/* Functions that take any dynptr take a message as well. */
SEC("syscall")
int user_ringbuf_size(void *ctx)
{
	TALLY(tally);

	EXPECT_EQ(bpf_user_ringbuf_drain(&user_ringbuf, inspect, &tally, 0), 3);
	EXPECT_EQ(tally->messages, 3);
	return done();
}

/* The process may map the consumer's position to read it, and not to write it: the harness tries. */
SEC("syscall")
int user_ringbuf_mappings(void *ctx)
{
	DRAIN_NUMBERS(3, SUM_BELOW(3));
	return done();
}

/* --- refused ------------------------------------------------------------------------------------------------------ */

/* `context` is what the callback gets. */
#define DRAIN_WITH(callback, context) bpf_user_ringbuf_drain(&user_ringbuf, callback, context, 0)

static long read_before(struct bpf_dynptr *message, void *context)
{
	__u8 byte;

	return bpf_dynptr_read(&byte, 1, (void *)message - 16, 0, 0) & 1;
}

SEC("raw_tp")
int user_ringbuf_callback_bad_access1(void *ctx)
{
	DRAIN_WITH(read_before, NULL);
	return 0;
}

static long read_behind(struct bpf_dynptr *message, void *context)
{
	__u8 byte;

	return bpf_dynptr_read(&byte, 1, (void *)message + 16, 0, 0) & 1;
}

SEC("raw_tp")
int user_ringbuf_callback_bad_access2(void *ctx)
{
	DRAIN_WITH(read_behind, NULL);
	return 0;
}

static long overwrite(struct bpf_dynptr *message, void *context)
{
	*(volatile __u64 *)message = 0;
	return 0;
}

SEC("raw_tp")
int user_ringbuf_callback_write_forbidden(void *ctx)
{
	DRAIN_WITH(overwrite, NULL);
	return 0;
}

static long write_context(struct bpf_dynptr *message, void *context)
{
	*(volatile __u64 *)context = 5;
	return 0;
}

SEC("raw_tp")
int user_ringbuf_callback_null_context_write(void *ctx)
{
	DRAIN_WITH(write_context, NULL);
	return 0;
}

static long read_context(struct bpf_dynptr *message, void *context)
{
	return *(volatile __u64 *)context & 1;
}

SEC("raw_tp")
int user_ringbuf_callback_null_context_read(void *ctx)
{
	DRAIN_WITH(read_context, NULL);
	return 0;
}

static long discard(struct bpf_dynptr *message, void *context)
{
	bpf_ringbuf_discard_dynptr(message, 0);
	return 0;
}

SEC("raw_tp")
int user_ringbuf_callback_discard_dynptr(void *ctx)
{
	DRAIN_WITH(discard, NULL);
	return 0;
}

static long submit(struct bpf_dynptr *message, void *context)
{
	bpf_ringbuf_submit_dynptr(message, 0);
	return 0;
}

SEC("raw_tp")
int user_ringbuf_callback_submit_dynptr(void *ctx)
{
	DRAIN_WITH(submit, NULL);
	return 0;
}

static long return_two(struct bpf_dynptr *message, void *context)
{
	return 2;
}

SEC("raw_tp")
int user_ringbuf_callback_invalid_return(void *ctx)
{
	DRAIN_WITH(return_two, NULL);
	return 0;
}

static long make_local(struct bpf_dynptr *message, void *context)
{
	struct value *mem = value_of(0);

	if (mem)
		bpf_dynptr_from_mem(mem, VALUE_BYTES, 0, message);
	return 0;
}

SEC("raw_tp")
int user_ringbuf_callback_reinit_dynptr_mem(void *ctx)
{
	DRAIN_WITH(make_local, NULL);
	return 0;
}

static long make_record(struct bpf_dynptr *message, void *context)
{
	bpf_ringbuf_reserve_dynptr(&ringbuf, 8, 0, message);
	return 0;
}

SEC("raw_tp")
int user_ringbuf_callback_reinit_dynptr_ringbuf(void *ctx)
{
	DRAIN_WITH(make_record, NULL);
	return 0;
}

static long pass_far(struct bpf_dynptr *message, void *context)
{
	__u8 *slice;

	slice = bpf_dynptr_data((void *)message + 4096, 0, 1);
	return slice ? 1 : 0;
}

SEC("raw_tp")
int user_ringbuf_callback_const_ptr_to_dynptr_reg_off(void *ctx)
{
	DRAIN_WITH(pass_far, NULL);
	return 0;
}

/* A message is for reading. */
static long write_message(struct bpf_dynptr *message, void *context)
{
	__u8 in = 0, *slice = bpf_dynptr_data(message, 7, 1);

	if (slice)
		*slice = 0xab;
	EXPECT_EQ(bpf_dynptr_read(&in, 1, message, 7, 0), 0);
	EXPECT_EQ(in, 0xab);
	return 0;
}

SEC("syscall")
int user_ringbuf_slice_is_writable(void *ctx)
{
	EXPECT_EQ(DRAIN_WITH(write_message, NULL), 3);
	return done();
}

/* It goes with its callback: its address cannot be kept. */
static long keep(struct bpf_dynptr *message, void *context)
{
	*(struct bpf_dynptr *volatile *)context = message;
	return 0;
}

SEC("raw_tp")
int user_ringbuf_callback_keep(void *ctx)
{
	struct bpf_dynptr *kept = NULL;
	__u8 byte = 0;

	DRAIN_WITH(keep, &kept);
	bpf_dynptr_read(&byte, 1, kept, 0, 0);
	return 0;
}

/* Messages come out of this kind of ring buffer alone: not out of one that the kernel writes … */
SEC("raw_tp")
int user_ringbuf_drain_ringbuf(void *ctx)
{
	TALLY(tally);

	bpf_user_ringbuf_drain(&user_ringbuf, add_number, &tally, 0);
	bpf_user_ringbuf_drain(&ringbuf, add_number, &tally, 0);
	return 0;
}

/* … nor out of any other map. */
SEC("raw_tp")
int user_ringbuf_drain_array(void *ctx)
{
	TALLY(tally);

	bpf_user_ringbuf_drain(&user_ringbuf, add_number, &tally, 0);
	bpf_user_ringbuf_drain(&values, add_number, &tally, 0);
	return 0;
}

/* Without rights, nobody gets them; that is so before anybody looks at the callback. */
SEC("socket")
int user_ringbuf_drain_unprivileged(void *ctx)
{
	bpf_user_ringbuf_drain(&user_ringbuf, NULL, NULL, 0);
	return 0;
}
