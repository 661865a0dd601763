"""The examinations of `keyface doctor` that look at the machine: versions, GPU, codecs, disk, W&B."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import netrc
import os
import platform
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from keyface.doctor.finding import EVERY, Finding, Level
from keyface.doctor.torch_builds import driver_gpus, torch_builds, torch_gpus
from keyface.opencv import MEND
from keyface.weights import Store

EXTRAS = ("faces", "insightface", "evaluate")
"""Optional dependencies of setup.cfg that users may want."""

OPTIONAL: dict[str, tuple[Level, str, tuple[str, ...]]] = {
    "onnx": ("missing", "ArcFace and CosFace, which are ONNX files", ("train", "evaluate")),
    "h5py": ("optional", "VGG-Face, which is a Keras file", ("evaluate",)),
    "insightface": ("optional", "finding faces with insightface's packs", ("edit", "evaluate")),
    "onnxruntime": ("optional", "finding faces with insightface's packs", ("edit", "evaluate")),
    "opencv-python-headless": ("optional", "DIS optical flow, --control canny", ("evaluate",)),
}
"""Packages of the extras: how much they are needed, what for, and by which goals."""

CODECS = {
    "libx264": ("w", "writing mp4 and mkv", "install PyAV's binary wheel: pip install --force-reinstall av"),
    "aac": ("w", "nothing but re-encoding of sound; sound is copied"),
    "h264": ("r", "reading most videos"),
    "hevc": ("r", "reading videos of many phones"),
    "vp9": ("r", "reading webm"),
    "av1": ("r", "reading newer webm and mp4"),
}

_NEEDED_CODECS = ("libx264", "h264")

_LEAST_FREE = 20 * 2**30


def machine(findings: list[Finding], deep: bool) -> dict[str, Any]:
    """Return Python, cores and GPUs; unless `deep`, the driver is asked instead of torch."""
    gpus, reason = torch_gpus() if deep else driver_gpus()
    if gpus:
        findings.append(Finding("ok", "a GPU", goals=("train",)))
    else:
        fix = "use a machine with an NVIDIA GPU and a CUDA build of torch"
        disables = "training at full size"
        findings.append(Finding("missing", f"no GPU: {reason}", disables, fix, ("train",)))
        findings.append(
            Finding("note", f"slow: no GPU, {reason}", "edits in minutes; they take hours", fix, ("edit",))
        )
    return {
        "keyface": importlib.metadata.version("keyface"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "gpu": ", ".join(gpus) or f"none: {reason}",
        "gpu_asked": "torch" if deep else "nvidia-smi",
    }


def packages(findings: list[Finding]) -> dict[str, str]:
    """Return the versions of what keyface depends on, and whether they fit it and each other."""
    facts = {}
    for text in importlib.metadata.requires("keyface") or ():
        wanted = Requirement(text)
        needed = _applies(wanted, "")
        if not needed and not any(_applies(wanted, extra) for extra in EXTRAS):
            continue
        if (version := _version(wanted.name)) is not None and wanted.specifier.contains(version, True):
            facts[wanted.name] = version
            continue
        facts[wanted.name] = version or "not installed"
        what = f"{wanted.name} {version}, not {wanted.specifier}" if version else wanted.name
        fix = f"pip install '{wanted.name}{wanted.specifier}'"
        other: tuple[Level, str, tuple[str, ...]] = ("broken", "everything that uses it", EVERY)
        level, disables, goals = OPTIONAL.get(canonicalize_name(wanted.name), other)
        findings.append(Finding("broken" if needed else level, what, disables, fix, goals))
    if _version("opencv-python") is not None:
        what = "opencv-python, whose folder is that of opencv-python-headless"
        findings.append(Finding("note", what, "OpenCV where there is no libGL", MEND, ("edit", "evaluate")))
    if not any(each.level == "broken" for each in findings):
        findings.append(Finding("ok", "the packages"))
        findings += torch_builds()
    return facts


def _applies(wanted: Requirement, extra: str) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def video(findings: list[Finding]) -> dict[str, str]:
    """Return what the video library can read and write."""
    if importlib.util.find_spec("av") is None:  # which is a finding of its own
        return {}
    import av

    facts = {"av": av.__version__, "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"]))}
    for name, (mode, disables, *fix) in CODECS.items():
        goals = ("try", "edit") if mode == "w" else ("edit", "evaluate")
        try:
            av.Codec(name, "w" if mode == "w" else "r")
            facts[name] = "yes"
            findings.append(Finding("ok", name, goals=goals))
        except ValueError:  # PyAV's UnknownCodecError is one
            facts[name] = "no"
            advice = fix[0] if fix else f"re-encode such videos, or use a build of PyAV with {name}"
            level: Level = "missing" if name in _NEEDED_CODECS else "optional"
            findings.append(Finding(level, f"codec {name}", disables, advice, goals))
    return facts


def disk(store: Store, findings: list[Finding]) -> dict[str, str]:
    """Return free space where keyface writes."""
    facts = {}
    places = {"here": Path.cwd(), "temporary": Path(tempfile.gettempdir()), "weights": store.root.absolute()}
    for name, place in places.items():
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        facts[name] = f"{free / 2**30:.0f} GiB free ({place})"
        if free < _LEAST_FREE:
            findings.append(
                Finding(
                    "note",
                    f"{free / 2**30:.0f} GiB free in {place}",
                    "Stable Diffusion's weights, shards with latents, and long clips",
                    "free some space, or set TMPDIR and KEYFACE_WEIGHTS to another disk",
                    ("edit", "train"),
                )
            )
    return facts


def wandb(findings: list[Finding]) -> dict[str, str]:
    """Return whether runs can be sent to W&B; the key itself is not read."""
    if importlib.util.find_spec("wandb") is None:
        return {"state": "not installed"}
    mode = os.environ.get("WANDB_MODE", "online")
    if mode in ("offline", "disabled"):
        return {"state": mode}
    if has_wandb_login():
        return {"state": "logged in"}
    findings.append(
        Finding(
            "note",
            "no W&B login",
            "sending runs to W&B; metrics.csv is written all the same",
            "wandb login, or WANDB_MODE=offline",
            ("train",),
        )
    )
    return {"state": "no login"}


def has_wandb_login() -> bool:
    """Tell whether W&B would find a key, without reading it."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        hosts = netrc.netrc(os.environ.get("NETRC")).hosts
    except (OSError, netrc.NetrcParseError):
        return False
    own = urlsplit(os.environ.get("WANDB_BASE_URL", "")).netloc
    return any("wandb" in host or host == own for host in hosts)
