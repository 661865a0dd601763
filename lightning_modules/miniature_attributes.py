"""Trains the miniature's attribute classifier."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.lightning_modules.miniature_base import Batch, MiniatureModule
from keyface.miniature.networks.attributes import AttributeClassifier
from keyface.miniature.parameters import CELEBA_ATTRIBUTES, EXTRA_LABELS
from keyface.miniature.storage import go_on_from, save_network


class AttributesModule(MiniatureModule):
    """Binary cross-entropy over CelebA's names and the miniature's own labels.

    Args:
        width: Channels of the first stage.
        initial: Folder of an exported network to go on from; None starts afresh.
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.
    """

    def __init__(
        self, width: int = 24, initial: str | None = None, lr: float = 2e-3, flat: float = 0.5
    ) -> None:
        super().__init__(lr=lr, flat=flat)
        self.save_hyperparameters()
        self.network = AttributeClassifier([*CELEBA_ATTRIBUTES, *EXTRA_LABELS], width)
        go_on_from(self.network, initial)
        self._predicted: list[Tensor] = []
        self._true: list[Tensor] = []

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Returns the mean binary cross-entropy; pixel noise keeps it from reading the renderer's traces."""
        images = batch["image"]
        images = images + 0.05 * torch.rand(len(images), 1, 1, 1, device=self.device) * torch.randn_like(
            images
        )
        loss = F.binary_cross_entropy_with_logits(self.network(images), self._target(batch))
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collects predictions on held-out people."""
        self._predicted.append(self.network(batch["image"]) > 0)
        self._true.append(self._target(batch) > 0.5)

    def on_validation_epoch_end(self) -> None:
        """Logs balanced accuracy by label, and the least of those that have 20 examples of each kind."""
        predicted, true = torch.cat(self._predicted), torch.cat(self._true)
        self._predicted.clear()
        self._true.clear()
        scores = {}
        for column, name in enumerate(self.network.labels):
            positives, negatives = true[:, column], ~true[:, column]
            if min(int(positives.sum()), int(negatives.sum())) < 20:
                continue
            hits = predicted[positives, column].float().mean()
            rejections = (~predicted[negatives, column]).float().mean()
            scores[f"val/{name}"] = (hits + rejections) / 2
        self.log_dict(scores)
        if scores:
            self.log("val/worst", torch.stack(list(scores.values())).min(), prog_bar=True)

    def export(self, folder: Path) -> None:
        """Writes the classifier with its labels."""
        save_network(self.network, folder)

    def _target(self, batch: Batch) -> Tensor:
        return torch.stack([batch["labels"][name] for name in self.network.labels], 1).float().to(self.device)
