"""The examinations of `keyface doctor`; each gives facts, and findings where something is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import netrc
import os
import platform
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from keyface.commands.weights import describe
from keyface.weights import Store, catalogue

Level = Literal["broken", "missing", "note"]

PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "diffusers",
    "transformers",
    "open_clip_torch",
    "peft",
    "safetensors",
    "torchmetrics",
    "webdataset",
    "av",
    "wandb",
    "onnx",
    "h5py",
    "opencv-python-headless",
)
"""Distributions whose versions matter."""

OPTIONAL = {
    "onnx": ("ArcFace and CosFace, which are ONNX files", "pip install keyface[faces]"),
    "h5py": ("VGG-Face, which is a Keras file", "pip install keyface[faces]"),
    "opencv-python-headless": ("DIS optical flow in `keyface evaluate`", "pip install keyface[evaluate]"),
}

CODECS = {
    "libx264": ("w", "writing mp4 and mkv", "install PyAV's binary wheel: pip install --force-reinstall av"),
    "aac": ("w", "nothing but re-encoding of sound; sound is copied"),
    "h264": ("r", "reading most videos"),
    "hevc": ("r", "reading videos of many phones"),
    "vp9": ("r", "reading webm"),
    "av1": ("r", "reading newer webm and mp4"),
}

_LEAST_FREE = 20 * 2**30


def finding(level: Level, what: str, disables: str, fix: str) -> dict[str, str]:
    """Returns one thing that is missing, what that disables, and what to do."""
    return {"level": level, "what": what, "disables": disables, "fix": fix}


def examine(store: Store) -> dict[str, Any]:
    """Returns all facts and findings.

    Args:
        store: The folder of external weights.
    """
    findings: list[dict[str, str]] = []
    record: dict[str, Any] = {
        "machine": machine(findings),
        "packages": packages(findings),
        "video": video(findings),
        "disk": disk(store, findings),
        "wandb": wandb(findings),
        "weights": [describe(entry, store) for entry in catalogue().values()],
    }
    findings += weights(record["weights"])
    findings += miniature()
    return {**record, "findings": findings}


def machine(findings: list[dict[str, str]]) -> dict[str, Any]:
    """Returns Python, cores and accelerators."""
    import torch

    facts: dict[str, Any] = {
        "keyface": importlib.metadata.version("keyface"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "gpu": "none",
    }
    if torch.cuda.is_available():
        properties = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
        facts["gpu"] = ", ".join(f"{each.name} ({each.total_memory / 2**30:.0f} GiB)" for each in properties)
        facts["bf16"] = torch.cuda.is_bf16_supported()
    elif torch.backends.mps.is_available():
        facts["gpu"] = "Apple (mps)"
    else:
        built = torch.version.cuda
        fix = (
            "the CUDA driver does not answer: look at nvidia-smi"
            if built and shutil.which("nvidia-smi")
            else "use a machine with a GPU and a CUDA build of torch"
        )
        findings.append(finding("note", "no GPU", "full-size training; editing takes hours instead", fix))
    return facts


def packages(findings: list[dict[str, str]]) -> dict[str, str]:
    """Returns versions, and checks that torch and torchvision belong together."""
    facts = {}
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
            disables, fix = OPTIONAL.get(name, ("everything that imports it", f"pip install {name}"))
            level: Level = "missing" if name in OPTIONAL else "broken"
            findings.append(finding(level, name, disables, fix))
    findings += torch_pair()
    return facts


def torch_pair() -> Iterator[dict[str, str]]:
    """Yields a finding if torchvision's operators do not load, as when it was built for another torch."""
    import torch

    try:
        from torchvision.ops import nms

        nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        yield finding(
            "broken",
            f"torchvision does not fit torch ({reason:.120})",
            "everything",
            "install both from one place: both CUDA or both CPU builds of matching versions",
        )


def video(findings: list[dict[str, str]]) -> dict[str, str]:
    """Returns what the video library can read and write."""
    import av

    facts = {"av": av.__version__, "ffmpeg": ".".join(map(str, av.library_versions["libavcodec"]))}
    for name, (mode, disables, *fix) in CODECS.items():
        try:
            av.Codec(name, "w" if mode == "w" else "r")
            facts[name] = "yes"
        except ValueError:  # PyAV's UnknownCodecError is one
            facts[name] = "no"
            advice = fix[0] if fix else f"re-encode such videos, or use a build of PyAV with {name}"
            findings.append(finding("missing", f"codec {name}", disables, advice))
    return facts


def disk(store: Store, findings: list[dict[str, str]]) -> dict[str, str]:
    """Returns free space where keyface writes."""
    facts = {}
    places = {"here": Path.cwd(), "temporary": Path(tempfile.gettempdir()), "weights": store.root.absolute()}
    for name, place in places.items():
        while not place.exists():
            place = place.parent
        free = shutil.disk_usage(place).free
        facts[name] = f"{free / 2**30:.0f} GiB free ({place})"
        if free < _LEAST_FREE:
            findings.append(
                finding(
                    "note",
                    f"{free / 2**30:.0f} GiB free in {place}",
                    "Stable Diffusion's weights, shards with latents, and long clips",
                    "free some space, or set TMPDIR and KEYFACE_WEIGHTS to another disk",
                )
            )
    return facts


def wandb(findings: list[dict[str, str]]) -> dict[str, str]:
    """Returns whether runs can be sent to W&B; the key itself is not read."""
    if importlib.util.find_spec("wandb") is None:
        return {"state": "not installed"}
    mode = os.environ.get("WANDB_MODE", "online")
    if mode in ("offline", "disabled"):
        return {"state": mode}
    if os.environ.get("WANDB_API_KEY") or _has_login():
        return {"state": "logged in"}
    findings.append(
        finding(
            "note",
            "no W&B login",
            "sending runs to W&B; metrics.csv is written all the same",
            "wandb login, or WANDB_MODE=offline",
        )
    )
    return {"state": "no login"}


def _has_login() -> bool:
    try:
        hosts = netrc.netrc().hosts
    except (OSError, netrc.NetrcParseError):
        return False
    return any("wandb" in host for host in hosts)


def weights(described: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Yields a finding for each of the external weights that is not here whole."""
    for entry in described:
        if entry["missing"]:
            what = f"{entry['name']} ({entry['state']})" if entry["state"] == "partly" else entry["name"]
            yield finding("missing", what, entry["without"], f"keyface weights get {entry['name']}")


def miniature() -> Iterator[dict[str, str]]:
    """Yields a finding if the networks that come with keyface are not there."""
    from keyface.miniature.zoo import WEIGHTS

    wanted = ("base/unet", "base/vae", "identity", "direction", "clip", "identity_network", "attributes")
    absent = [name for name in wanted if not list((WEIGHTS / name).glob("*.safetensors"))]
    if absent:
        yield finding(
            "broken",
            f"the miniature lacks {', '.join(absent)}",
            "the demo and editing without weights of your own",
            "install keyface again",
        )
