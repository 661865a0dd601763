#!/bin/bash
# `keyface benchmark gpu` in one call on a machine with a GPU, a bare Python and no network.
#
#   bash scripts/benchmark_gpu.sh wheels           where there is a registry, once: what the machine lacks, to .whl/
#   bash scripts/benchmark_gpu.sh [OPTION ...]     there, from the repository's root; the options are those of
#                                                  `keyface benchmark gpu`; without any: --minutes 9
#
# Needs what scripts/bare_machine.sh says. Leaves gpu.json and gpu.log in $OUT (default gpu_out); with the gpu.json of
# an earlier call in it, the next one goes on. A dry run without a GPU: bash scripts/benchmark_gpu.sh --dry-run
set -o pipefail
. "$(dirname "${BASH_SOURCE[0]}")/bare_machine.sh"
[ "$1" = wheels ] && { fetch_wheels; exit; }
[ $# -gt 0 ] || set -- --minutes 9
require_wheels || exit 1
out=${OUT:-gpu_out} site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
mkdir -p "$out"
install_keyface "$site" || exit 1
"$python" -P -W ignore -m keyface benchmark gpu -o "$out" "$@" 2>&1 | tee "$out/gpu.log"
