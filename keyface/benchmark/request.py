"""What one measurement is asked to do: written as JSON for the process that does it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from keyface.configuration import parse
from keyface.editing.settings import EditSettings, Prompts
from keyface.untrusted import parse_json

Scale = Literal["miniature", "sd21"]
Precision = Literal["fp32", "bf16"]


@dataclass(frozen=True)
class Request:
    """One edit to be measured.

    Attributes:
        scale: `miniature` with its trained networks, or `sd21` with Stable Diffusion 2.1's shapes.
        shrunk: `sd21` with the same blocks but a few channels, to try the command without its cost.
        settings: How to edit.
        prompts: The words.
        frames: Length of the clip.
        size: Rows and columns.
        clip: Raw frames (`keyface.benchmark.raw`); None is a moving pattern, for speed alone.
        edited: Where the edited frames go, raw; None drops them.
        device: Such as cuda or cpu.
        dtype: Precision of the U-Nets; latents and the scheduler's arithmetic are fp32 in any case.
        compile: Run the U-Nets through `torch.compile`.
        channels_last: Lay the U-Nets' and the autoencoder's tensors out with channels innermost.
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
        """Return text that `from_json` reads."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> "Request":
        """Read what `to_json` wrote."""
        values: dict[str, Any] = parse_json(text, "request")
        values["settings"] = parse(EditSettings, values["settings"], "request")
        values["prompts"] = Prompts(**values["prompts"])
        for name in ("clip", "edited"):
            values[name] = Path(values[name]) if values[name] is not None else None
        return cls(**values)
