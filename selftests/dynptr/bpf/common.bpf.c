// SPDX-License-Identifier: GPL-2.0-only
/* The one definition of what harness.h declares. */
#include "harness.h"

volatile struct config config SEC(".data.config") = {};
volatile struct report report SEC(".data.report") = {};

struct value_map values SEC(".maps");
struct ringbuf_map ringbuf SEC(".maps");

char _license[] SEC("license") = "GPL";
