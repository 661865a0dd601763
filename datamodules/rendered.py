"""Faces of the miniature, rendered as they are needed, for training the miniature's own networks."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from keyface.datamodules.rendered_faces import Batch, FaceBatches, PicturePool, StepBatches, Wording
from keyface.miniature.population import world
from keyface.miniature.population.pairs import counterfactual_pairs

HELD_OUT_PICTURES = 4


class RenderedDataModule(LightningDataModule):
    """Faces that nobody saw before, each with a counterfactual twin that differs in one attribute.

    A batch holds `batch_size` faces; with `pairs` each is followed by its twin, so that row
    `i` and row `i + batch_size` show the same face with and without one attribute. Pairs give
    the diffusion model the same noise twice with only the caption's phrase to tell them apart, and
    the CLIP pair its hard negatives.

    The pictures are rendered on the device that trains, after the rest of the batch was moved there. Which
    faces a step sees depends on `seed` and the step alone, so a resumed run goes on with those it would
    have seen.

    Args:
        identities: Number of training identities, ids `0 … identities - 1`.
        size: Side in pixels.
        batch_size: Faces a batch, before twins.
        pairs: Deliver twins.
        beside: With `pairs`, name each picture's twin beside it, as ε2 reads pairs; the twin's is the face.
        held_out: Number of validation identities (ids from `world.HELD_OUT` on), four pictures
            of each.
        steps: Batches an epoch.
        mention: Probability that a caption mentions an attribute.
        canonical: Probability that a batch has canonical captions, which mention everything and which edits
            start from.
        emphasis: How many times as often pairs are drawn whose twin differs in these labels, by label; where
            a twin differs in several, the largest counts.
        further: Probability that a twin differs in a second attribute, too, and, if so, in a third.
        usual: Where a twin differs in glasses, a hat, lipstick, makeup or earrings, they are of the kind that
            a caption without a word on it means; one of four keeps its own, but for glasses.
        reuse: Steps that a rendered batch is shown in, on average: 1 renders every picture for one step.
            More is for processors, on which rendering costs as much as training.
        pool: With `reuse`, how many rendered batches are mixed with each other; they stay in memory.
        seed: Decides pictures, captions and their order.
        compiled: Render with `torch.compile`: three times as fast on a processor, after two minutes.
        chunk: Pictures that are rendered at once: 32 for a processor; on a GPU a whole batch with its twins.
        tokens: Deliver the captions' token ids, too.
        workers: Processes that draw faces and write captions ahead; 0 does it in the training process.

    Raises:
        ValueError: A number is out of range, or `emphasis` names no label.
    """

    def __init__(
        self,
        identities: int = 4000,
        size: int = 128,
        batch_size: int = 32,
        pairs: bool = False,
        beside: bool = False,
        held_out: int = 256,
        steps: int = 1000,
        mention: float = 0.9,
        canonical: float = 0.0,
        emphasis: dict[str, float] | None = None,
        further: float = 0.0,
        usual: bool = False,
        reuse: int = 1,
        pool: int = 32,
        seed: int = 0,
        compiled: bool = False,
        chunk: int = 32,
        tokens: bool = False,
        workers: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= identities <= world.HELD_OUT:
            raise ValueError(f"identities {identities}: from 1 to {world.HELD_OUT}; those above are held out")
        if min(reuse, pool, chunk) < 1 or workers < 0:
            raise ValueError(
                f"reuse {reuse}, pool {pool} and chunk {chunk} are at least 1, workers {workers} at least 0"
            )
        if beside and not pairs:
            raise ValueError("beside needs pairs")
        self.save_hyperparameters()
        self.beside = beside
        self.identities, self.size, self.batch_size, self.pairs = identities, size, batch_size, pairs
        # Not `held_out`, by which others ask a datamodule for its pictures.
        self.people, self.steps, self.seed = held_out, steps, seed
        self.workers = workers
        kept = pool if reuse > 1 else 0
        self.faces = FaceBatches(
            identities, batch_size, seed, emphasis or {}, further, usual, keep=max(1, kept)
        )
        self._batches = StepBatches(self.faces, pairs, seed, mention, canonical, reuse, pool, tokens)
        self._pictures = PicturePool(size, compiled, kept, chunk)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return batches without pictures, from the step on that the trainer stands at."""
        start = self.trainer.global_step if self.trainer is not None else 0
        steps = _Steps(self._batches, start, start + self.steps)
        return DataLoader(steps, batch_size=None, num_workers=self.workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return the held-out faces in order, without pictures, the same at every call."""
        return DataLoader(_HeldOut(self), batch_size=None)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Add `image` and `landmarks` to a batch; called by Lightning."""
        return self.with_pictures(batch)

    def with_pictures(self, batch: Batch) -> Batch:
        """Render a batch of one of the loaders.

        Args:
            batch: `parameters`, `rows`, `identity` (B or 2B,), `traits` (…, n) the true identity parameters,
                `labels` (names, their values), `caption` list of strings, `tokens` (…, 64) if asked for.

        Returns:
            The batch with `image` (B or 2B, 3, S, S) in [-1, 1], `landmarks` (…, 5, 2) in pixels and `labels`
            {name: (…,) bool}; with `beside` also `attributes`, the labels picture by picture, and `twin`,
            `twin_caption` and `twin_attributes`.
        """
        image, landmarks = self._pictures.of(batch, self.faces)
        rest = {name: value for name, value in batch.items() if name not in ("parameters", "rows", "newest")}
        names, values = rest["labels"]
        rest["labels"] = dict(zip(names, values.unbind(), strict=True))
        whole = {"image": image, "landmarks": landmarks, **rest}
        return whole | _beside(whole) if self.beside else whole

    def first_pictures(self, count: int) -> Tensor:
        """Render the first `count` training faces, without twins, (count, 3, S, S) in [-1, 1]."""
        batches = range(-(-count // self.batch_size))
        known = (FaceBatches.describe(self.faces.numbered(number)[:1], Wording(0, 1.0)) for number in batches)
        return torch.cat([self.with_pictures(batch)["image"] for batch in known])[:count]

    def training_batch(self, step: int) -> Batch:
        """Return the batch of a step, without pictures."""
        return self._batches.of(step)


class _Steps(IterableDataset[Batch]):
    """Training batches in order; of several workers each makes its part of the steps."""

    def __init__(self, batches: StepBatches, start: int, stop: int) -> None:
        self.batches, self.start, self.stop = batches, start, stop

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        first, every = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in range(self.start + first, self.stop, every):
            yield self.batches.of(step)


class _HeldOut(IterableDataset[Batch]):
    """All held-out faces once, in order; captions mention everything."""

    def __init__(self, source: RenderedDataModule) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Batch]:
        ids = world.HELD_OUT + torch.arange(self.source.people)
        faces = counterfactual_pairs(ids.repeat_interleave(HELD_OUT_PICTURES), self.source.seed)
        for index in torch.split(torch.arange(len(faces[0])), self.source.batch_size):
            yield FaceBatches.describe(
                [side[index] for side in faces][: 1 + self.source.pairs], Wording(0, 1.0)
            )


def _beside(batch: Batch) -> Batch:
    """Return the labels of a batch picture by picture, and what is known of each one's twin."""
    half = len(batch["image"]) // 2
    names, columns = zip(*batch["labels"].items(), strict=True)
    rows = torch.stack(columns, dim=1).tolist()
    labels = [dict(zip(names, row, strict=True)) for row in rows]
    said = batch["caption"]
    return {
        "attributes": labels,
        "twin": batch["image"].roll(half, dims=0),
        "twin_caption": [*said[half:], *said[:half]],
        "twin_attributes": [*labels[half:], *labels[:half]],
    }
