// SPDX-License-Identifier: GPL-2.0-only
/* The one definition of what harness.h declares. */
#include "harness.h"

volatile struct config config SEC(".data.config") = {};
volatile struct report report SEC(".data.report") = {};

struct value_map values SEC(".maps");
struct pair_map pairs SEC(".maps");
struct constant_map constants SEC(".maps");
struct ringbuf_map ringbuf SEC(".maps");
struct user_ringbuf_map user_ringbuf SEC(".maps");
struct signed_message_map signed_messages SEC(".maps");
struct crypto_map crypto_contexts SEC(".maps");

char _license[] SEC("license") = "GPL";
