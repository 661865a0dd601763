"""Scenes with rendered faces, for training the miniature's face detector."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, IterableDataset

from keyface.miniature.networks.face_detector import LARGEST, SMALLEST
from keyface.miniature.population import world
from keyface.miniature.population.pairs import RATES
from keyface.miniature.scenes import SceneMaker, Sprites, render_sprites

Batch = dict[str, Any]

_VALIDATION_SEED = 1_000_000_007


class ScenesDataModule(LightningDataModule):
    """Faces that are rendered once, in scenes that are composed anew for every batch.

    Args:
        identities: Number of training identities.
        per_identity: Pictures of each.
        size: Rows and columns of a scene.
        batch_size: Scenes a batch.
        held_out: Number of identities in the validation scenes.
        steps: Batches an epoch.
        seed: Decides everything.
    """

    def __init__(
        self,
        identities: int = 1200,
        per_identity: int = 1,
        size: int = 160,
        batch_size: int = 24,
        held_out: int = 100,
        steps: int = 100_000,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.identities, self.per_identity, self.size = identities, per_identity, size
        self.batch_size, self.held_out, self.steps, self.seed = batch_size, held_out, steps, seed

    def setup(self, stage: str) -> None:
        """Render the people."""
        ids = torch.arange(self.identities).repeat_interleave(self.per_identity)
        self.people = render_sprites(world.draw_faces(ids, self.seed, RATES))
        self.strangers = render_sprites(
            world.draw_faces(world.HELD_OUT + torch.arange(self.held_out), self.seed)
        )

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return new scenes; a resumed run goes on with those it would have seen."""
        start = self.trainer.global_step if self.trainer is not None else 0
        return self._loader(self.people, self.seed, start, self.steps)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the same scenes at every call."""
        return self._loader(self.strangers, _VALIDATION_SEED + self.seed, 0, 10)

    def _loader(self, sprites: Sprites, seed: int, start: int, steps: int) -> DataLoader[Batch]:
        maker = SceneMaker(sprites, self.size, self.size, (SMALLEST, LARGEST))
        return DataLoader(_Scenes(maker, self.batch_size, seed, start, steps), batch_size=None)


class _Scenes(IterableDataset[Batch]):
    """Batches of scenes; that of a step depends on the seed and the step alone."""

    def __init__(self, maker: SceneMaker, batch_size: int, seed: int, start: int, steps: int) -> None:
        self.maker, self.batch_size, self.seed = maker, batch_size, seed
        self.start, self.steps = start, steps

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self.start + self.steps):
            first = (self.seed * 1_000_003 + step) * self.batch_size
            scenes = [self.maker.draw(first + number) for number in range(self.batch_size)]
            yield {
                "image": torch.stack([scene.image for scene in scenes]),
                "landmarks": [scene.landmarks for scene in scenes],
                "visible": [scene.visible for scene in scenes],
            }
