// SPDX-License-Identifier: GPL-2.0-only
/*
 * How programs use dynptrs: a parser that finds its way through the options of TCP, each at an offset that the one before
 * it decides. The packet is the harness' frame, into which the program writes what it then looks for.
 */
#include "harness.h"

#include <linux/tcp.h>

/* Behind headers of Ethernet and IPv4 without options. */
#define TCP_AT (ETH_HEADER + 20)
#define OPTIONS_AT (TCP_AT + (int)sizeof(struct tcphdr))

#define OPTIONS_BYTES 20

#define END_OF_OPTIONS 0
#define NO_OPERATION 1
#define MAX_SEGMENT 2
#define EXPERIMENT 253

/* Other words for "there is none", "it is broken", and "it could not be read". */
#define NONE (-ENOENT)
#define BROKEN (-EBADMSG)
#define UNREADABLE (-EFAULT)

/* An option of 6 bytes: an experiment and its number, which is looked for. */
#define ID_BYTES 6

/* It is in a map, whose contents the verifier does not follow: it would try every way through the options. */
struct walk {
	__u32 at;
	__u32 end;
	__s32 result;
};

/* Looks at one option; true if it is the last that has to be looked at. */
static long look(__u32 step, const struct bpf_dynptr *packet)
{
	volatile struct walk *walk = (void *)value_of(0);
	__u8 bytes[2] = {}, *option;

	if (!walk || walk->at >= walk->end)
		return 1;
	walk->result = UNREADABLE;
	option = bpf_dynptr_slice(packet, walk->at, bytes, 1);
	if (!option)
		return 1;
	walk->result = NONE;
	if (option[0] == END_OF_OPTIONS)
		return 1;
	if (option[0] == NO_OPERATION) {
		walk->at += 1;
		return 0;
	}
	walk->result = UNREADABLE;
	option = bpf_dynptr_slice(packet, walk->at, bytes, 2);
	if (!option)
		return 1;
	walk->result = BROKEN;
	if (option[1] < 2 || walk->at + option[1] > walk->end)
		return 1;
	if (option[0] == EXPERIMENT && option[1] == ID_BYTES) {
		walk->result = walk->at + 2;
		return 1;
	}
	walk->result = NONE;
	walk->at += option[1];
	return 0;
}

/* Looks for the experiment, and returns the offset of its number or an error. */
static __noinline int find(const struct bpf_dynptr *packet)
{
	volatile struct walk *walk = (void *)value_of(0);
	struct tcphdr room = {}, *header;

	header = bpf_dynptr_slice(packet, TCP_AT, &room, sizeof(room));
	if (!header || !walk)
		return UNREADABLE;
	walk->at = OPTIONS_AT;
	walk->end = TCP_AT + header->doff * 4;
	walk->result = NONE;
	bpf_loop(OPTIONS_BYTES, look, (void *)packet, 0);
	return walk->result;
}

/* Options, and what comes of looking for the experiment in them. */
struct example {
	__u32 line; /* of this file */
	__s32 result;
	__u8 options[OPTIONS_BYTES];
};

static const struct example examples[] = {
	{ __LINE__, OPTIONS_AT + 2, { EXPERIMENT, ID_BYTES, 0x4b, 0x76, 0x65, 0x74 } },
	{ __LINE__, NONE, { NO_OPERATION, END_OF_OPTIONS, EXPERIMENT, ID_BYTES } },
	{ __LINE__, NONE, { MAX_SEGMENT, 4, 5, 180, 8, 10, [14] = NO_OPERATION, NO_OPERATION, EXPERIMENT, 4 } },
	{ __LINE__, BROKEN, { MAX_SEGMENT, 0, EXPERIMENT, ID_BYTES } },
	{ __LINE__, BROKEN, { 8, 1, EXPERIMENT, ID_BYTES } },
	{ __LINE__, BROKEN, { MAX_SEGMENT, 16, [16] = EXPERIMENT, ID_BYTES, 0x4b, 0x76 } },
	{ __LINE__, OPTIONS_AT + 16, { MAX_SEGMENT, 14, [14] = EXPERIMENT, ID_BYTES, 0x4b, 0x76, 0x65, 0x74 } },
	/* Its number is read afterwards. */
	{ __LINE__, OPTIONS_AT + 9, { NO_OPERATION, MAX_SEGMENT, 4, 5, 180, NO_OPERATION, NO_OPERATION, EXPERIMENT,
				      ID_BYTES, 0x4b, 0x76, 0x65, 0x74 } },
};
#define EXAMPLES (sizeof(examples) / sizeof(examples[0]))

/* Writes a header with an example's options and looks for the experiment in it. */
static long try_example(__u32 number, const struct bpf_dynptr *packet)
{
	struct tcphdr header = {};
	const struct example *example;
	int result = UNREADABLE;

	if (number >= EXAMPLES)
		return 1;
	example = &examples[number];
	header.doff = (sizeof(header) + OPTIONS_BYTES) / 4;
	if (!bpf_dynptr_write(packet, TCP_AT, &header, sizeof(header), 0) &&
	    !bpf_dynptr_write(packet, OPTIONS_AT, (void *)example->options, OPTIONS_BYTES, 0))
		result = find(packet);
	if (result != example->result)
		note_failure(example->line, result, example->result);
	return 0;
}

/* The examples are tried in a loop, which the verifier follows once and not for each of them. */
static __always_inline void expect_options(struct bpf_dynptr *packet)
{
	__u8 id[4] = {};

	EXPECT_EQ(bpf_loop(EXAMPLES, try_example, packet, 0), EXAMPLES);
	EXPECT_EQ(bpf_dynptr_read(id, sizeof(id), packet, OPTIONS_AT + 9, 0), 0);
	EXPECT_EQ(id[0], 0x4b);
	EXPECT_EQ(id[3], 0x74);
	/* The last of the options, which is none, and the byte behind them. */
	EXPECT_EQ(bpf_dynptr_read(id, 2, packet, OPTIONS_AT + OPTIONS_BYTES - 1, 0), 0);
	EXPECT_EQ(id[0], 0);
	EXPECT_EQ(id[1], OPTIONS_AT + OPTIONS_BYTES);
	/* Of an option, no more is looked at than what it is and how long: a packet may end there. */
	EXPECT_EQ(bpf_dynptr_adjust(packet, 0, OPTIONS_AT + 9), 0);
	EXPECT_EQ(find(packet), OPTIONS_AT + 9);
}

SEC("xdp")
int tcp_options_xdp(struct xdp_md *xdp)
{
	struct bpf_dynptr packet;

	if (!EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &packet), 0))
		return XDP_PASS;
	expect_options(&packet);
	/* A packet that ends among its options: the last of them is behind it. */
	EXPECT_EQ(bpf_xdp_adjust_tail(xdp, OPTIONS_AT + 8 - (int)config.bytes), 0);
	EXPECT_EQ(bpf_dynptr_from_xdp(xdp, 0, &packet), 0);
	EXPECT_EQ(find(&packet), UNREADABLE);
	done();
	return XDP_PASS;
}

SEC("tc")
int tcp_options_skb(struct __sk_buff *skb)
{
	struct bpf_dynptr packet;

	if (!EXPECT_EQ(bpf_dynptr_from_skb(skb, 0, &packet), 0))
		return TC_OK;
	expect_options(&packet);
	done();
	return TC_OK;
}
