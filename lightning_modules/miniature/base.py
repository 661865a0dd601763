"""What the training modules of the miniature's networks share: optimizer, schedule, export."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

Batch = dict[str, Any]


class MiniatureModule(LightningModule):
    """AdamW with warm-up, a flat stretch and a linear decay to zero.

    Args:
        lr: Peak learning rate.
        weight_decay: AdamW's weight decay.
        warmup: Steps of linear warm-up.
        flat: Fraction of all steps before the decay begins.
    """

    samples_seen: Tensor

    def __init__(self, lr: float, weight_decay: float = 0.01, warmup: int = 200, flat: float = 0.6) -> None:
        super().__init__()
        self.lr, self.weight_decay, self.warmup, self.flat = lr, weight_decay, warmup, flat
        self.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))

    def configure_optimizers(self) -> Any:
        """Returns the optimizer over all trainable parameters and its schedule by step."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(parameters, self.lr, weight_decay=self.weight_decay)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = LambdaLR(
            optimizer, lambda step: learning_rate_factor(step, total, self.warmup, self.flat)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Counts the samples that the weights have seen; the count goes into the card."""
        self.samples_seen += len(batch["image"])

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Writes the network's weights as safetensors into ``folder``."""


def learning_rate_factor(step: int, total: int, warmup: int, flat: float) -> float:
    """Returns the learning rate at ``step`` as a fraction of its peak.

    Args:
        step: Optimizer steps so far.
        total: Steps of the whole run.
        warmup: Steps of the linear rise.
        flat: Fraction of ``total`` at which the linear fall to zero begins.
    """
    if step < warmup:
        return (step + 1) / warmup
    start = flat * total
    if step < start:
        return 1.0
    return max(0.0, (total - step) / max(1.0, total - start))
