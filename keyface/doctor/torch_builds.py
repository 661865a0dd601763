"""What `keyface doctor` asks about GPUs and torch: of the driver and of files, or of torch itself."""

from __future__ import annotations

import importlib.util
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from keyface.doctor.finding import Finding

_FIX = "install both from one place: both CUDA or both CPU builds of matching versions"


def driver_gpus() -> tuple[list[str], str]:
    """Return the GPUs that NVIDIA's driver names and that torch's build can use, or why there are none."""
    if platform.system() == "Darwin" and platform.machine() == "arm64":
        return ["Apple (mps)"], ""
    if shutil.which("nvidia-smi") is None:
        return [], "nvidia-smi is not here"
    command = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return [], "nvidia-smi fails"
    if not re.search(r"^cuda\b.*= '", version_file("torch"), flags=re.MULTILINE):
        return [], "torch is built without CUDA"
    gpus = [line.strip() for line in answer.stdout.splitlines() if line.strip()]
    return gpus, "" if gpus else "nvidia-smi names none"


def torch_gpus() -> tuple[list[str], str]:
    """Return the GPUs that torch can use, or why there are none."""
    import torch

    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        found = [torch.cuda.get_device_properties(index) for index in range(count)]
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        return [f"{each.name} ({each.total_memory / 2**30:.0f} GiB, {bf16})" for each in found], ""
    if torch.backends.mps.is_available():
        return ["Apple (mps)"], ""
    return [], "torch finds none" if torch.version.cuda else "torch is built without CUDA"


def torch_builds() -> Iterator[Finding]:
    """Yield a finding if torch and torchvision are built for different things."""
    pattern = r"^__version__ = '[^'+]*\+(cpu|cu\d+|rocm[\d.]+)'"
    builds = [re.search(pattern, version_file(name), flags=re.MULTILINE) for name in ("torch", "torchvision")]
    if all(builds) and len(set(names := [build.group(1) for build in builds if build])) > 1:
        what = f"torch is built for {names[0]}, torchvision for {names[1]}"
        yield Finding("broken", what, "everything", _FIX)


def version_file(name: str) -> str:
    """Return the text of a package's version.py, which is not imported; empty if there is none."""
    spec = importlib.util.find_spec(name)
    path = Path(spec.origin).with_name("version.py") if spec is not None and spec.origin else None
    return path.read_text() if path is not None and path.is_file() else ""


def torch_operators() -> Iterator[Finding]:
    """Yield a finding if torchvision's operators do not load, as when it was built for another torch."""
    import torch

    try:
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        yield Finding("broken", f"torchvision does not fit torch ({reason:.120})", "everything", _FIX)
