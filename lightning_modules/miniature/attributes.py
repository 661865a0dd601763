"""Trains the miniature's attribute classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.celeba import ATTRIBUTES
from keyface.lightning_modules.miniature.base import Batch, Gathered, MiniatureModule, with_pixel_noise
from keyface.miniature.networks.attributes import AttributeClassifier

RATES_MOMENTUM = 0.02
"""Share of a batch in the running estimate of how often each label holds."""

HEAVIEST = 4.0
"""Largest weight of a positive example, for labels that hold hardly ever."""


class AttributesModule(MiniatureModule):
    """Binary cross-entropy over CelebA's names and the miniature's own labels.

    Examples of the rarer kind weigh more, by the square root of how much rarer they are: what counts is
    balanced accuracy, and an unweighted loss calls most sad faces neutral.

    Args:
        width: Channels of the first stage.
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.
    """

    network: AttributeClassifier
    rates: Tensor

    def __init__(self, width: int = 24, lr: float = 2e-3, flat: float = 0.5) -> None:
        super().__init__(lr=lr, flat=flat)
        self.save_hyperparameters()
        self.network = AttributeClassifier(ATTRIBUTES, width)
        self.register_buffer("rates", torch.full((len(self.network.labels),), 0.5))
        self._held_out = Gathered()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the mean binary cross-entropy, on pictures with pixel noise."""
        images = with_pixel_noise(batch["image"], 0.05)
        target = self._target(batch)
        self.rates.lerp_(target.mean(0), RATES_MOMENTUM)
        rare = ((1 - self.rates) / self.rates.clamp_min(1e-3)).sqrt().clamp(1 / HEAVIEST, HEAVIEST)
        loss = F.binary_cross_entropy_with_logits(self.network(images), target, pos_weight=rare)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Collect predictions on held-out people."""
        self._held_out.add(self.network(batch["image"]) > 0, self._target(batch) > 0.5)

    def on_validation_epoch_end(self) -> None:
        """Log balanced accuracy by label, and the least of those that have 20 examples of each kind."""
        predicted, true = self._held_out.take()
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

    def _target(self, batch: Batch) -> Tensor:
        return torch.stack([batch["labels"][name] for name in self.network.labels], 1).float().to(self.device)
