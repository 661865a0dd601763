# Sourced by the other scripts: keyface on a machine with a GPU, a bare Python and no network.
#
# Needs Python 3.12 with torch 2.11, lightning, transformers and peft there, and .whl/ beside the checkout, which
# `fetch_wheels` fills where there is a registry. PYTHON names the interpreter.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) python=${PYTHON:-python3}

fetch_wheels() {  # to .whl/: what the machine lacks, in the versions of constraints.txt, which the tests run with
    local names="diffusers open-clip-torch ftfy wcwidth jsonargparse docstring-parser typeshed-client omegaconf webdataset braceexpand" pins
    pins=$(for name in $names; do grep -oE "^$name==[0-9][^ ]*" "$root/constraints.txt" || { echo "no pin: $name" >&2; exit 1; }; done) || return 1
    "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 -d "$root/.whl" $pins
}

require_wheels() {  # or say what to do
    ls "$root"/.whl/*.whl > /dev/null 2>&1 || { echo "no wheels in $root/.whl; see 'wheels' in $0" >&2; return 1; }
}

install_keyface() {  # FOLDER: wheels and package, as setup.cfg lays it out: the top-level folders are subpackages
    local site=$1 each version info
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$root"/.whl/*.whl || return 1
    cp -r "$root/keyface" "$site/keyface"
    for each in lightning_modules datamodules callbacks plugins configs; do cp -r "$root/$each" "$site/keyface/$each"; done
    version=$(sed -n 's/^version = //p' "$root/setup.cfg") info="$site/keyface-$version.dist-info"
    mkdir "$info"
    printf 'Metadata-Version: 2.1\nName: keyface\nVersion: %s\n' "$version" > "$info/METADATA"
    printf '[keyface.edits]\nbuiltin = keyface.plugins.builtin:CATEGORIES\n' > "$info/entry_points.txt"
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 TOKENIZERS_PARALLELISM=false HF_HUB_OFFLINE=1 \
        PYTORCH_CUDA_ALLOC_CONF=${PYTORCH_CUDA_ALLOC_CONF:-expandable_segments:True}
    command -v nvidia-smi > /dev/null && nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
    return 0
}
