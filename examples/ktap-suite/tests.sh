#!/bin/sh
# Three tests for `format: ktap`. Without arguments all of them run, with --test NAME (which repeats) only these.
# In a guest without a root this runs in busybox: only its programs are there.

selected=
while [ "${1:-}" = --test ]; do
    selected="$selected $2"
    shift 2
done
[ -n "$selected" ] || selected=$(cat /kvet/tests/tests.list)
set -- $selected

number=0
# result VERDICT NAME [DIRECTIVE]
result() {
    number=$((number + 1))
    echo "$1 $number $2${3:+ # $3}"
}

run() {
    # Tells kvet which test is running: a crash or a hang is attributed to it.
    echo "#  RUN           $1 ..."
    case $1 in
    bpf/btf)
        if [ -s /sys/kernel/btf/vmlinux ]; then result ok "$1"; else
            # Lines before a result are its message.
            echo '# the kernel has no BTF: CONFIG_DEBUG_INFO_BTF is off'
            result 'not ok' "$1"
        fi ;;
    bpf/fs)
        if mkdir /sys/fs/bpf/example && rmdir /sys/fs/bpf/example; then result ok "$1"; else
            result 'not ok' "$1"
        fi ;;
    kernel/newer)
        # A test that does not apply is skipped, with the reason.
        major=$(uname -r | cut -d . -f 1)
        if [ "$major" -ge 7 ]; then result ok "$1"; else result ok "$1" 'SKIP needs 7.0'; fi ;;
    *)
        echo "# there is no test $1"
        result 'not ok' "$1" ;;
    esac
}

echo 'KTAP version 1'
echo "1..$#"
for name in "$@"; do run "$name"; done
