#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Counts what came of runs of the dynptr suite, as a table: selftests/dynptr/counts.sh results/<run-id>...
set -eu
[ $# -gt 0 ] || { echo "usage: $0 RESULTS-OF-A-RUN..." >&2; exit 2; }
echo '| Kernel | Architecture | Pass | Skip | Xfail | Fail |'
echo '| --- | --- | --- | --- | --- | --- |'
for run in "$@"; do
    # Every cell says in its run.yaml which kernel it really was, and what was counted.
    for cell in "$run"/*-dynptr; do
        awk '
            $1 == "arch:" { arch = $2 }
            $1 == "version:" && !version { version = $2 }
            $1 ~ /^(passed|failed|skipped|xfailed|errors|not_run):$/ && !($1 in count) { count[$1] = $2 }
            END {
                bad = count["failed:"] + count["errors:"] + count["not_run:"]
                printf "| %s | %s | %d | %d | %d | %d |\n", version, arch, count["passed:"], count["skipped:"],
                    count["xfailed:"], bad
            }
        ' "$cell/run.yaml"
    done
done | sort -t'|' -k3,3r -k2,2V
