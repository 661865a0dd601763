"""Trains the miniature's CLIP pair."""

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.lightning_modules.miniature.base import Batch, MiniatureModule, with_pixel_noise
from keyface.miniature.networks.clip import ClipPair
from keyface.miniature.networks.text import build_tokenizer
from keyface.miniature.population.captions import VOCABULARY, write_captions_of
from keyface.miniature.population.exchanges import change_answers, exchange_answers


class ClipModule(MiniatureModule):
    """Contrastive training on pairs: a face's twin and its caption are hard negatives.

    Args:
        dim: Size of the shared space.
        width: Width of the image tower.
        image_size: Side that pictures are resized to.
        pair_weight: Weight of the loss within pairs (twin against twin) beside the batch's.
        exchange_weight: Weight of the loss against captions in which what is there and what is not are
            exchanged; 0 leaves it out.
        choice_weight: Weight of the loss against captions that are wrong in one phrase, in every second step,
            which then has canonical captions: what the captioner decides between. 0 leaves both out.
        locked_image: Leave the image tower as it is (locked-image tuning, Zhai et al. 2022): the text tower
            learns to tell apart what the pictures' embeddings already do.
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.
    """

    network: ClipPair

    def __init__(
        self,
        dim: int = 128,
        width: int = 24,
        image_size: int = 96,
        pair_weight: float = 1.0,
        exchange_weight: float = 0.0,
        choice_weight: float = 0.0,
        locked_image: bool = False,
        lr: float = 1e-3,
        flat: float = 0.5,
    ) -> None:
        super().__init__(lr=lr, flat=flat)
        self.save_hyperparameters()
        self.network = ClipPair(build_tokenizer(VOCABULARY), dim=dim, width=width, image_size=image_size)
        self.pair_weight, self.locked_image = pair_weight, locked_image
        self.exchange_weight, self.choice_weight = exchange_weight, choice_weight
        if locked_image:
            self.network.clip.visual.requires_grad_(False)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Keep a locked tower's batch statistics; Lightning sets training mode after each validation."""
        super().on_train_batch_start(batch, batch_idx)
        if self.locked_image:
            self.network.clip.visual.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the symmetric contrastive loss plus the loss within pairs, on pictures with pixel noise."""
        image = self.network.encode_image(with_pixel_noise(batch["image"], 0.1))
        canonical = self.choice_weight > 0 and batch_idx % 2 == 1
        captions = write_captions_of(batch["labels"]) if canonical else batch["caption"]
        text = self.network.encode_text(captions) if canonical else self._encode_captions(batch)
        scale = self.network.clip.logit_scale.exp().clamp(max=100)
        logits = scale * image @ text.T
        target = torch.arange(len(logits), device=self.device)
        loss = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        within = F.softplus(-scale * self._pair_margin(image, text)).mean()
        self.log_dict({"train/contrastive": loss, "train/pairs": within}, prog_bar=True)
        loss = loss + self.pair_weight * within
        for name, weight, others in (
            ("exchanged", self.exchange_weight, exchange_answers),
            ("choices", self.choice_weight * canonical, change_answers),
        ):
            if weight:
                wrong = F.softplus(-scale * self._margin(image, text, others(captions))).mean()
                self.log(f"train/{name}", wrong)
                loss = loss + weight * wrong
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log how often a picture prefers its own caption to its twin's."""
        margin = self._pair_margin(self.network.encode_image(batch["image"]), self._encode_captions(batch))
        self.log("val/pair_accuracy", (margin > 0).float().mean(), prog_bar=True, batch_size=len(margin))

    def export(self, folder: Path) -> None:
        """Write weights and tokenizer."""
        super().export(folder)
        self.network.tokenizer.save_pretrained(folder)

    def _encode_captions(self, batch: Batch) -> Tensor:
        """Embed the captions, by the data's token ids where they are there."""
        if "tokens" in batch:
            return self.network.encode_tokens(batch["tokens"])
        return self.network.encode_text(batch["caption"])

    def _margin(self, image: Tensor, text: Tensor, others: Sequence[str | None]) -> Tensor:
        """Similarity to the own caption less that to a wrong one, of those that have one."""
        rows = [row for row, other in enumerate(others) if other is not None]
        if not rows:
            return text.new_zeros(1)
        other = self.network.encode_text([each for each in others if each is not None])
        return ((text[rows] - other) * image[rows]).sum(1)

    @staticmethod
    def _pair_margin(image: Tensor, text: Tensor) -> Tensor:
        """Similarity to the own caption less that to the twin's, (2B,)."""
        twin = text.roll(len(text) // 2, 0)
        return ((text - twin) * image).sum(1)
