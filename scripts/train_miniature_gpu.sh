#!/bin/bash
# Train the whole miniature in one call on a machine with a GPU, a bare Python and no network.
#
#   bash scripts/train_miniature_gpu.sh wheels           where there is a registry, once: what the machine lacks, to .whl/
#   bash scripts/train_miniature_gpu.sh [OPTION ...]     there, from the repository's root; the options are those of
#                                                        `keyface miniature train`; without any: --minutes 8
#   bash scripts/train_miniature_gpu.sh join FROM TO     put the parts in FROM together again; TO gets weights/ and train.json
#
# Needs Python 3.12 with torch 2.11, lightning, transformers and peft, and .whl/ beside the checkout. Leaves in $OUT
# (default gpu_out): weights.tar.00, .01, ... of 14 MiB, SHA256SUMS, train.json and train.log. A call of ten minutes:
#   OUT=out LIMIT=560 bash scripts/train_miniature_gpu.sh --minutes 8
# A dry run without a GPU:
#   bash scripts/train_miniature_gpu.sh --minutes 1 --device cpu
# PYTHON names the interpreter; LIMIT the seconds after which training is interrupted and what is done is packed.
set -o pipefail
root=$(cd "$(dirname "$0")/.." && pwd) python=${PYTHON:-python3} out=${OUT:-gpu_out} limit=${LIMIT:-560}

if [ "$1" = wheels ]; then
    # The versions of constraints.txt, which the tests run with.
    names="diffusers open-clip-torch ftfy wcwidth jsonargparse docstring-parser typeshed-client omegaconf webdataset braceexpand"
    pins=$(for name in $names; do grep -oE "^$name==[0-9][^ ]*" "$root/constraints.txt" || { echo "no pin: $name" >&2; exit 1; }; done) || exit 1
    exec "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d "$root/.whl" $pins
fi
if [ "$1" = join ]; then
    [ -f "$2/weights.tar.00" ] && [ -n "$3" ] || { echo "join FROM TO: FROM holds weights.tar.00 and the other parts" >&2; exit 1; }
    (cd "$2" && sha256sum --quiet -c SHA256SUMS) && mkdir -p "$3" && cat "$2"/weights.tar.?? | tar -xf - -C "$3"
    exit
fi

[ $# -gt 0 ] || set -- --minutes 8
ls "$root"/.whl/*.whl > /dev/null 2>&1 || { echo "no wheels in $root/.whl; see 'wheels' in $0" >&2; exit 1; }
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

"$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$root"/.whl/*.whl || exit 1
# The package as setup.cfg lays it out: the top-level folders are subpackages of keyface.
cp -r "$root/keyface" "$site/keyface"
for each in lightning_modules datamodules callbacks plugins configs; do cp -r "$root/$each" "$site/keyface/$each"; done
version=$(sed -n 's/^version = //p' "$root/setup.cfg") info="$site/keyface-$version.dist-info"
mkdir "$info"
printf 'Metadata-Version: 2.1\nName: keyface\nVersion: %s\n' "$version" > "$info/METADATA"
printf '[keyface.edits]\nbuiltin = keyface.plugins.builtin:CATEGORIES\n' > "$info/entry_points.txt"
export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 \
    PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
command -v nvidia-smi > /dev/null && nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
# Interrupted, Lightning saves a checkpoint and ends; the finished stages' networks are packed.
timeout -s INT -k 15 "$limit" "$python" -P -W ignore -m keyface miniature train -o "$work/run" "$@" 2>&1 | tee "$out/train.log"
