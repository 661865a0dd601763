#!/bin/bash
# Train the whole miniature in one call on a machine with a GPU, a bare Python and no network.
#
#   bash scripts/train_miniature_gpu.sh wheels           where there is a registry, once: what the machine lacks, to .whl/
#   bash scripts/train_miniature_gpu.sh [OPTION ...]     there, from the repository's root; the options are those of
#                                                        `keyface miniature train`; without any: --minutes 8
#   bash scripts/train_miniature_gpu.sh join FROM TO     put the parts in FROM together again; TO gets weights/ and train.json
#
# Needs what scripts/bare_machine.sh says. Leaves in $OUT (default gpu_out): weights.tar.00, .01, ... of 14 MiB,
# SHA256SUMS, train.json and train.log. A call of ten minutes:
#   OUT=out LIMIT=560 bash scripts/train_miniature_gpu.sh --minutes 8
# A dry run without a GPU:
#   bash scripts/train_miniature_gpu.sh --minutes 1 --device cpu
# LIMIT: the seconds after which training is interrupted and what is done is packed.
set -o pipefail
. "$(dirname "${BASH_SOURCE[0]}")/bare_machine.sh"
out=${OUT:-gpu_out} limit=${LIMIT:-560}

[ "$1" = wheels ] && { fetch_wheels; exit; }
if [ "$1" = join ]; then
    [ -f "$2/weights.tar.00" ] && [ -n "$3" ] || { echo "join FROM TO: FROM holds weights.tar.00 and the other parts" >&2; exit 1; }
    (cd "$2" && sha256sum --quiet -c SHA256SUMS) && mkdir -p "$3" && cat "$2"/weights.tar.?? | tar -xf - -C "$3"
    exit
fi

[ $# -gt 0 ] || set -- --minutes 8
require_wheels || exit 1
site=$(mktemp -d) work=$(mktemp -d) began=$SECONDS
mkdir -p "$out"

# Whatever happens, what was trained is packed: by parts, since a call brings back files of 16 MiB at most.
pack() {
    status=$?
    trap - EXIT
    if [ -d "$work/run/weights" ]; then
        cp "$work/run/train.json" "$out/"
        rm -f "$out"/weights.tar.??
        tar -cf - -C "$work/run" train.json weights | split -b 14M -d - "$out/weights.tar."
        (cd "$out" && sha256sum weights.tar.?? > SHA256SUMS)
        echo "$out: $(ls "$out"/weights.tar.?? | wc -l) parts, $((SECONDS - began)) s in all"
    fi
    rm -rf "$site" "$work"
    exit $status
}
trap pack EXIT
trap 'exit 130' INT TERM

install_keyface "$site" || exit 1
# Interrupted, Lightning saves a checkpoint and ends; the finished stages' networks are packed.
timeout -s INT -k 15 "$limit" "$python" -P -W ignore -m keyface miniature train -o "$work/run" "$@" 2>&1 | tee "$out/train.log"
