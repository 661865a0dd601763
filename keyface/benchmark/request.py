"""What one measurement is asked to do: written as JSON for the process that does it."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from keyface.editing.settings import EditSettings, Injection, Prompts, Propagation

Scale = Literal["miniature", "sd21"]
Precision = Literal["fp32", "bf16"]

MODES: tuple[str, ...] = ("frame", "tokenflow", "tokens", "latent")
"""Frame by frame, TokenFlow's published way, and keyface's two."""


@dataclass(frozen=True)
class Request:
    """One edit to be measured.

    Attributes:
        scale: `miniature` with its trained networks, or `sd21` with Stable Diffusion 2.1's shapes.
        shrunk: `sd21` with the same blocks but a few channels, to try the command without its cost.
        settings: how to edit.
        prompts: the words.
        frames: length of the clip.
        size: rows and columns.
        clip: raw frames (`keyface.benchmark.raw`); None is a moving pattern, for speed alone.
        edited: where the edited frames go, raw; None drops them.
        device: such as cuda or cpu.
        dtype: precision of the U-Nets; latents and the scheduler's arithmetic are fp32 in any case.
        compile: run the U-Nets through `torch.compile`.
        channels_last: lay the U-Nets' and the autoencoder's tensors out with channels innermost.
    """

    scale: Scale
    shrunk: bool
    settings: EditSettings
    prompts: Prompts
    frames: int
    size: int
    clip: Path | None
    edited: Path | None
    device: str
    dtype: Precision = "fp32"
    compile: bool = False
    channels_last: bool = False

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Read what `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["settings"] = settings_from(values["settings"])
        values["prompts"] = Prompts(**values["prompts"])
        for name in ("clip", "edited"):
            values[name] = Path(values[name]) if values[name] is not None else None
        return cls(**values)


def settings_from(values: Mapping[str, Any]) -> EditSettings:
    """Settings from what `dataclasses.asdict` made of them, also after a way through JSON."""
    propagation = dict(values["propagation"])
    propagation["correspondence_at"] = tuple(propagation["correspondence_at"])
    parts = {"injection": Injection(**values["injection"]), "propagation": Propagation(**propagation)}
    return EditSettings(**{**values, **parts})


def settings_of(mode: str, base: EditSettings) -> EditSettings:
    """The settings of a mode: those of `base`, but for what makes the mode.

    Raises:
        ValueError: The mode is unknown.
    """
    if mode == "frame":
        return replace(base, interval=1, joint_attention=False)
    if mode == "tokenflow":
        return replace(
            base,
            propagation=Propagation.tokenflow(),
            injection=Injection.tokenflow(),
        )
    if mode == "tokens":
        return replace(base, propagation=replace(base.propagation, mode="tokens"))
    if mode == "latent":
        return replace(base, propagation=replace(base.propagation, mode="latent"))
    raise ValueError(f"unknown mode {mode!r}; choose from {', '.join(MODES)}")
