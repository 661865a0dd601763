"""What one measurement of training is asked to do: written as JSON for the process that does it."""

import json
from dataclasses import asdict, dataclass

from keyface.benchmark.request import Precision, Scale
from keyface.untrusted import parse_json

BRANCHES: tuple[str, ...] = ("identity", "direction")
"""ε1 (Eq. 5) and ε2 (Eq. 6)."""

TUNINGS: tuple[str, ...] = ("full", "lora")
"""All weights, or rank-16 adapters in the attention layers."""


@dataclass(frozen=True)
class TrainRequest:
    """One branch in training.

    Attributes:
        branch: Of `BRANCHES`.
        tuning: Of `TUNINGS`.
        scale: `miniature` with its trained networks; `sd21` with Stable Diffusion 2.1's shapes, and those of
            a 100-layer ArcFace and of CLIP's ViT-B/32, at random.
        batch_size: Images a step.
        size: Rows and columns of the images.
        steps: Steps that are measured, after one that is not.
        device: Such as cuda or cpu.
        dtype: bf16 is Lightning's bf16-mixed.
        gradient_checkpointing: Recompute activations in the backward pass.
        compiled: Compile the U-Net.
        fused: Take AdamW's fused step, one kernel for many weights.
        seed: Of weights and batch.
    """

    branch: str
    tuning: str
    scale: Scale
    batch_size: int
    size: int
    steps: int
    device: str
    dtype: Precision = "fp32"
    gradient_checkpointing: bool = False
    compiled: bool = False
    fused: bool = False
    seed: int = 0

    def to_json(self) -> str:
        """Return text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TrainRequest":
        """Read what `to_json` wrote."""
        return cls(**parse_json(text, "request"))
