"""Captions for shards, by `lightning predict`."""

from typing import Any

from lightning.pytorch import LightningModule
from torch import nn

from keyface.models.backbones import MINIATURE
from keyface.models.captioners import Precision, find_captioner
from keyface.models.protocols import Captioner


class CaptioningModule(LightningModule):
    """Describes images.

    Args:
        captioner: What `keyface.models.captioners.find_captioner` takes: `"blip2"`, `"blip2:FOLDER"` or
            `"miniature"`; or a captioner as it is.
        prompt: How BLIP-2's descriptions begin.
        max_new_tokens: Greatest length of what follows the prompt.
        beams: Width of BLIP-2's beam search.
        dtype: Precision of BLIP-2's weights: float32, bfloat16 or float16.

    Example:
        `lightning predict -c configs/caption.yaml --trainer.devices 8`
    """

    def __init__(
        self,
        captioner: str | nn.Module = "blip2",
        prompt: str = "a photo of",
        max_new_tokens: int = 40,
        beams: int = 5,
        dtype: Precision = "float32",
    ) -> None:
        super().__init__()
        how = {"prompt": prompt, "max_new_tokens": max_new_tokens, "beams": beams}
        self.captioner: Captioner = (
            captioner if isinstance(captioner, nn.Module) else find_captioner(captioner, dtype, **how)
        )
        name = captioner if isinstance(captioner, str) else "given"
        self.made = {"captioner": name} | ({} if name == MINIATURE else how)

    def settings(self) -> dict[str, Any]:
        """Return what decides the result, for the shards' index."""
        return self.made

    def member_bytes(self, side: int) -> int:
        """Return the most bytes of a caption: one block of a disk."""
        return 4096

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, list[str]]:
        """Return one batch's `key` and `caption`, B texts each."""
        return {"key": batch["key"], "caption": self.captioner(batch["image"])}
