"""Rendered faces of the miniature, cached on disk, for training the miniature's own networks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from keyface.miniature.population import captions, world
from keyface.miniature.population.pairs import FLIPS, RATES, counterfactual_pairs
from keyface.miniature.population.parameters import Faces
from keyface.miniature.rendering import renderer
from keyface.pictures import from_uint8, to_uint8
from keyface.progress import bar

Batch = dict[str, Any]

HELD_OUT_PICTURES = 4


class RenderedDataModule(LightningDataModule):
    """Faces rendered once, each with a counterfactual twin that differs in one attribute.

    A batch holds `batch_size` faces; with `pairs` each is followed by its twin, so that row
    `i` and row `i + batch_size` show the same face with and without one attribute. Pairs give
    the diffusion model the same noise twice with only the caption's phrase to tell them apart, and
    the CLIP pair its hard negatives.

    Args:
        identities: Number of training identities, ids `0 … identities - 1`.
        per_identity: Pictures of each, in different pose, light and attributes.
        size: Side in pixels.
        batch_size: Faces a batch, before twins.
        pairs: Deliver twins.
        held_out: Number of validation identities (ids from `world.HELD_OUT` on), four pictures
            of each.
        steps: Batches an epoch.
        mention: Probability that a caption mentions an attribute.
        emphasis: How many times as often pairs are drawn whose twin differs in these labels, by label; where
            a twin differs in several, the largest counts.
        seed: Decides pictures, captions and their order.
        cache: Folder of rendered files, a few GB; reused when its settings are the same.
        compiled: Render with `torch.compile`.
    """

    def __init__(
        self,
        identities: int = 4000,
        per_identity: int = 4,
        size: int = 128,
        batch_size: int = 32,
        pairs: bool = False,
        held_out: int = 256,
        steps: int = 1000,
        mention: float = 0.9,
        emphasis: dict[str, float] | None = None,
        seed: int = 0,
        cache: str = "~/.cache/keyface/rendered",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.identities, self.per_identity, self.size = identities, per_identity, size
        self.batch_size, self.pairs, self.held_out, self.steps = batch_size, pairs, held_out, steps
        self.mention, self.seed, self.compiled = mention, seed, compiled
        self.emphasis = emphasis or {}
        self.cache = Path(cache).expanduser()

    def prepare_data(self) -> None:
        """Render what the cache lacks; called by Lightning on one process a node."""
        self._folder("train", compiled=self.compiled)
        self._folder("val", compiled=self.compiled)

    def setup(self, stage: str) -> None:
        """Open the cached files."""
        self.train_set = RenderedSet(self._faces("train"), self._folder("train"))
        self.val_set = RenderedSet(self._faces("val"), self._folder("val"))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return random batches; a resumed run goes on with the batch it would have seen."""
        start = self.trainer.global_step if self.trainer is not None else 0
        weights = self.train_set.weights(self.emphasis) if self.emphasis else None
        batches = _Batches(
            self.train_set, self.batch_size, self.pairs, self.steps, self.mention, self.seed, start, weights
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the held-out faces in order, the same at every call."""
        return DataLoader(_Ordered(self.val_set, self.batch_size, self.pairs), batch_size=None)

    def _faces(self, split: str) -> tuple[Faces, Faces]:
        if split == "train":
            ids = torch.arange(self.identities).repeat_interleave(self.per_identity)
        else:
            ids = (world.HELD_OUT + torch.arange(self.held_out)).repeat_interleave(HELD_OUT_PICTURES)
        return counterfactual_pairs(ids, self.seed)

    def _folder(self, split: str, compiled: bool = False) -> Path:
        """Return the split's folder, rendering it first where it is missing."""
        settings = {
            "split": split,
            "identities": self.identities if split == "train" else self.held_out,
            "per_identity": self.per_identity if split == "train" else HELD_OUT_PICTURES,
            "size": self.size,
            "seed": self.seed,
            "rates": RATES,
            "flips": list(FLIPS.items()),
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        folder = self.cache / f"{split}-{digest}"
        if not folder.exists():
            partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _render(self._faces(split), self.size, partial, compiled)
            (partial / "settings.json").write_text(json.dumps(settings, indent=2))
            partial.rename(folder)
        return folder


class RenderedSet:
    """Cached pictures with the faces they show.

    Args:
        faces: Faces and their twins, N each.
        folder: Holds `images.npy` (2, N, 3, S, S) uint8 and `landmarks.npy` (2, N, 5, 2).
    """

    def __init__(self, faces: tuple[Faces, Faces], folder: Path) -> None:
        self.faces = faces
        self.images = np.load(folder / "images.npy", mmap_mode="r")
        self.landmarks = np.load(folder / "landmarks.npy", mmap_mode="r")
        self.labels = tuple(world.true_labels(side) for side in faces)

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.faces[0])

    def weights(self, emphasis: Mapping[str, float]) -> Tensor:
        """Return how often each pair is drawn, relatively, (N,); see `RenderedDataModule`.

        Raises:
            ValueError: A label is unknown, or a weight is not above 0.
        """
        found = torch.ones(len(self))
        for name, weight in emphasis.items():
            if name not in self.labels[0] or weight <= 0:
                raise ValueError(f"emphasis {name}: {weight} needs a known label and a weight above 0")
            differs = self.labels[0][name] != self.labels[1][name]
            found = torch.where(differs, found.clamp(min=weight), found)
        return found

    def batch(self, index: Tensor, pairs: bool, caption_seed: int, mention: float = 1.0) -> Batch:
        """Collect one batch.

        Args:
            index: (B,) positions.
            pairs: Append the B twins.
            caption_seed: Seed of the captions' wording.
            mention: Probability that an attribute is mentioned.

        Returns:
            `image` (B or 2B, 3, S, S) in [-1, 1], `landmarks` (…, 5, 2), `identity` (…,),
            `traits` (…, n) the true identity parameters, `labels` {name: (…,) bool},
            `caption` list of strings.
        """
        sides = (0, 1) if pairs else (0,)
        order = index.numpy()
        images = torch.cat([torch.from_numpy(self.images[side][order]) for side in sides])
        faces = Faces.cat([self.faces[side][index] for side in sides])
        # The same seed words both sides of a pair alike, so that only the edited phrase differs.
        texts = [captions.draw_captions(self.faces[side][index], caption_seed, mention) for side in sides]
        return {
            "image": from_uint8(images),
            "landmarks": torch.cat([torch.from_numpy(self.landmarks[side][order]) for side in sides]),
            "identity": faces.identity.ids,
            "traits": faces.identity.values,
            "labels": {
                name: torch.cat([self.labels[side][name][index] for side in sides]) for name in self.labels[0]
            },
            "caption": [text for side in texts for text in side],
        }


class _Batches(IterableDataset[Batch]):
    """Random batches; the batch of a step depends on the seed and the step alone."""

    def __init__(
        self,
        source: RenderedSet,
        batch_size: int,
        pairs: bool,
        steps: int,
        mention: float,
        seed: int,
        start: int,
        weights: Tensor | None,
    ) -> None:
        self.source, self.batch_size, self.pairs, self.weights = source, batch_size, pairs, weights
        self.steps, self.mention, self.seed, self.start = steps, mention, seed, start

    def __iter__(self) -> Iterator[Batch]:
        for step in range(self.start, self.start + self.steps):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            if self.weights is None:
                index = torch.randint(len(self.source), (self.batch_size,), generator=generator)
            else:
                index = torch.multinomial(self.weights, self.batch_size, True, generator=generator)
            yield self.source.batch(index, self.pairs, self.seed + step, self.mention)


class _Ordered(IterableDataset[Batch]):
    """All faces once, in order; captions mention everything."""

    def __init__(self, source: RenderedSet, batch_size: int, pairs: bool) -> None:
        self.source, self.batch_size, self.pairs = source, batch_size, pairs

    def __iter__(self) -> Iterator[Batch]:
        for index in torch.split(torch.arange(len(self.source)), self.batch_size):
            yield self.source.batch(index, self.pairs, caption_seed=0)


def _render(faces: tuple[Faces, Faces], size: int, folder: Path, compiled: bool, chunk: int = 32) -> None:
    count = len(faces[0])
    images = np.lib.format.open_memmap(
        folder / "images.npy", mode="w+", dtype=np.uint8, shape=(2, count, 3, size, size)
    )
    landmarks = np.lib.format.open_memmap(
        folder / "landmarks.npy", mode="w+", dtype=np.float32, shape=(2, count, 5, 2)
    )
    with bar(f"render {folder.name.split('.')[0]}", 2 * count, "face") as advance:
        for side in (0, 1):
            for start in range(0, count, chunk):
                part = faces[side][start : start + chunk]
                stop = start + len(part)
                pictures = renderer.render_images(part, size, compiled=compiled)
                images[side, start:stop] = to_uint8(pictures).numpy()
                landmarks[side, start:stop] = renderer.locate_landmarks(part, size).numpy()
                advance(len(part))
    images.flush()
    landmarks.flush()
