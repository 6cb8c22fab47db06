#!/bin/sh
# Makes matrix.png, the picture in README.md, from the report.html of a real run. Needs chromium and pngquant.
#
#   kvet matrix -k 6.12 -k 6.18 -k 7.2.6 -k 7.2
#   docs/pictures/matrix.sh results/latest/report.html
set -eu
page=$(realpath "$1")
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# As root, as in a container, chromium has no sandbox of its own.
sandbox=
[ "$(id -u)" != 0 ] || sandbox=--no-sandbox
# The window is as wide as the table of four kernels, and as high as its rows.
chromium --headless $sandbox --disable-gpu --hide-scrollbars --user-data-dir="$scratch/profile" \
    --window-size=1100,445 --screenshot="$scratch/page.png" "file://$page"
# 32 colours make the file much smaller, and nobody sees the difference.
pngquant --strip --force --output "$here/matrix.png" 32 "$scratch/page.png"
