#!/bin/sh
# Written by hawser-tune: `spread-network.sh DEVICE` gives each queue of the card a processor of its
# own, or spreads one queue over all of them. It prints the commands that undo it.
set -eu
device=${1:?usage: spread-network.sh DEVICE}
queues=/sys/class/net/$device/queues
[ -d "$queues" ] || { echo "no network device $device" >&2; exit 2; }
processors=$(nproc)
all=$(printf '%x' $(( (1 << processors) - 1 )))
set_to() { # value file
    old=$(cat "$2")
    if echo "$1" > "$2" 2>/dev/null; then echo "echo $old > $2"; else echo "# not taken: $1 > $2"; fi
}
receive=$(ls -d "$queues"/rx-* | wc -l)
number=0
for queue in "$queues"/rx-*; do
    if [ "$receive" -lt "$processors" ]; then set_to "$all" "$queue/rps_cpus"; fi
done
for queue in "$queues"/tx-*; do
    one=$(printf '%x' $(( 1 << (number % processors) )))
    if [ -w "$queue/xps_cpus" ]; then set_to "$one" "$queue/xps_cpus"; fi
    number=$((number + 1))
done
number=0
for line in $(grep -E "$device|virtio.*(input|output)" /proc/interrupts | cut -d: -f1); do
    one=$(printf '%x' $(( 1 << (number % processors) )))
    set_to "$one" "/proc/irq/$line/smp_affinity"
    number=$((number + 1))
done
