#!/bin/sh
# Passes if the kernel has tunnel devices. What it prints is in the report.
set -eu
if ! [ -e /dev/net/tun ]; then
    echo 'this kernel has no tun'
    exit 4
fi
[ -c /dev/net/tun ]
echo "tun: $(uname -r)"
# A file here is in the cell's results, as files/tun.txt.
ls -l /dev/net/tun > "$KVET_RESULTS/tun.txt"
