"""What the training modules of the miniature's networks share: optimizer, schedule, export."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule
from torch import Tensor, nn

from keyface.lightning_modules.optim import BY_TIME, WarmupLinear
from keyface.miniature.storage import save_network

Batch = dict[str, Any]


class MiniatureModule(LightningModule):
    """AdamW with warm-up, a flat stretch and a linear decay to zero, by steps or by time.

    Attributes:
        network: What is trained and exported.

    Args:
        lr: Peak learning rate.
        weight_decay: AdamW's weight decay.
        warmup: Steps of linear warm-up.
        flat: Fraction of the run before the decay begins.
    """

    network: nn.Module
    samples_seen: Tensor

    def __init__(self, lr: float, weight_decay: float = 0.01, warmup: int = 200, flat: float = 0.6) -> None:
        super().__init__()
        self.lr, self.weight_decay, self.warmup, self.flat = lr, weight_decay, warmup, flat
        self.register_buffer("samples_seen", torch.zeros((), dtype=torch.int64))

    def configure_optimizers(self) -> Any:
        """Return the optimizer over all trainable parameters and its schedule by step."""
        parameters = [p for p in self.parameters() if p.requires_grad]
        fused = self.device.type == "cuda"
        optimizer = torch.optim.AdamW(parameters, self.lr, weight_decay=self.weight_decay, fused=fused)
        steps = self.trainer.estimated_stepping_batches
        total = BY_TIME if steps == float("inf") else int(steps)
        scheduler = WarmupLinear(optimizer, total, self.warmup, self.flat)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Count the samples that the weights have seen; the count goes into the card.

        A moving average of the weights takes it over when the batch ends, before the module could count then.
        """
        self.samples_seen += len(batch["image"])

    def export(self, folder: Path) -> None:
        """Write the network's weights as safetensors into `folder`, in half precision."""
        save_network(self.network, folder)


def with_pixel_noise(images: Tensor, greatest: float) -> Tensor:
    """Add noise of another strength to each image (B, C, H, W), up to this standard deviation.

    It keeps a network from reading the renderer's traces, and a loss on the network's features from finding
    patterns that no picture has.
    """
    level = greatest * torch.rand(len(images), 1, 1, 1, device=images.device)
    return images + level * torch.randn_like(images)


@contextmanager
def half_precision(*networks: nn.Module) -> Iterator[None]:
    """Keep networks in fp16 for a with block, in which they are written: half the package's size."""
    for network in networks:
        network.to(torch.float16)
    yield
    for network in networks:
        network.to(torch.float32)


class Gathered:
    """Rows of several tensors, gathered over the batches of a validation."""

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, ...]] = []

    def add(self, *rows: Tensor) -> None:
        """Keep one batch's rows: as many tensors each time, (B, …) each."""
        self._batches.append(rows)

    def take(self) -> tuple[Tensor, ...]:
        """Return all rows of each tensor, and forget them."""
        whole = tuple(torch.cat(each) for each in zip(*self._batches, strict=True))
        self._batches.clear()
        return whole
