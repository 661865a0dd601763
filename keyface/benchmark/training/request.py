"""What one measurement of training is asked to do: written as JSON for the process that does it."""

import json
from dataclasses import asdict, dataclass

from keyface.benchmark.request import Precision, Scale

BRANCHES: tuple[str, ...] = ("identity", "direction")
"""ε1 (Eq. 5) and ε2 (Eq. 6)."""

TUNINGS: tuple[str, ...] = ("full", "lora")
"""All weights, or rank-16 adapters in the attention layers."""


@dataclass(frozen=True)
class TrainRequest:
    """One branch in training.

    Attributes:
        branch: of `BRANCHES`.
        tuning: of `TUNINGS`.
        scale: `miniature` with its trained networks; `sd21` with Stable Diffusion 2.1's shapes, and those of
            a 100-layer ArcFace and of CLIP's ViT-B/32, at random.
        batch_size: images a step.
        size: rows and columns of the images.
        steps: steps that are measured, after one that is not.
        device: such as cuda or cpu.
        dtype: bf16 is Lightning's bf16-mixed.
        gradient_checkpointing: recompute activations in the backward pass.
        seed: of weights and batch.
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
    seed: int = 0

    def to_json(self) -> str:
        """As text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "TrainRequest":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))
