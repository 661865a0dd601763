"""Which faces a training batch of the miniature shows, and their pictures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from keyface.miniature.networks.text import build_tokenizer, tokenize
from keyface.miniature.population import captions, world
from keyface.miniature.population.labels import true_labels
from keyface.miniature.population.pairs import counterfactual_pairs, usual_kinds
from keyface.miniature.population.parameters import Attributes, Faces, Identity, Nuisance
from keyface.miniature.rendering import renderer
from keyface.pictures import from_uint8, to_uint8

Batch = dict[str, Any]

_CANDIDATES = 8
"""Pairs that are drawn for each that is taken, where some labels are emphasized."""


@dataclass(frozen=True)
class Wording:
    """How captions are worded.

    Attributes:
        seed: Of a batch.
        mention: Probability that a caption mentions an attribute.
        canonical: Probability that a batch has canonical captions, which mention everything.
    """

    seed: int
    mention: float
    canonical: float = 0.0

    def describe(self, sides: Sequence[Faces]) -> list[str]:
        """Return the captions of faces and of their twins.

        Both sides of a pair are worded alike, so that only the edited phrase differs.
        """
        chance = torch.rand(1, generator=torch.Generator().manual_seed(self.seed))
        if float(chance) < self.canonical:
            return [text for side in sides for text in captions.write_captions(side)]
        return [text for side in sides for text in captions.draw_captions(side, self.seed, self.mention)]


class FaceBatches:
    """Numbered batches of faces and twins; a batch depends on its number and the seed alone.

    Args:
        identities: Ids are drawn below it.
        size: Faces a batch, before twins.
        seed: Decides everything.
        emphasis: See `RenderedDataModule`.
        further: See `counterfactual_pairs`.
        usual: See `RenderedDataModule`.
        keep: How many batches stay in memory.

    Raises:
        ValueError: A label of `emphasis` is unknown, or its weight is not above 0.
    """

    def __init__(
        self,
        identities: int,
        size: int,
        seed: int,
        emphasis: Mapping[str, float],
        further: float = 0.0,
        usual: bool = False,
        keep: int = 1,
    ) -> None:
        known = true_labels(world.draw_faces(torch.zeros(1, dtype=torch.int64), 0))
        for name, weight in emphasis.items():
            if name not in known or weight <= 0:
                raise ValueError(f"emphasis {name}: {weight} needs a known label and a weight above 0")
        self.identities, self.size, self.seed, self.emphasis = identities, size, seed, emphasis
        self.further, self.usual = further, usual
        self._kept: OrderedDict[int, tuple[Faces, Faces]] = OrderedDict()
        self._keep = keep

    def numbered(self, number: int) -> tuple[Faces, Faces]:
        """Return the faces and twins of a batch."""
        if number not in self._kept:
            self._kept[number] = self._draw(number)
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)
        return self._kept[number]

    def joined(self, number: int, sides: int, device: torch.device) -> Faces:
        """Return the faces of a batch, followed by their twins where `sides` is 2, on a device."""
        return Faces.cat(self.numbered(number)[:sides]).to(device)

    def batch(self, rows: Tensor, pairs: bool, wording: Wording) -> Batch:
        """Collect faces of several batches in one.

        Args:
            rows: (B, 2) number of the batch and row in it.
            pairs: Append the B twins.
            wording: Of the captions.
        """
        first, last = int(rows[:, 0].min()), int(rows[:, 0].max())
        known = [self.numbered(number) for number in range(first, last + 1)]
        whole = (rows[:, 0] - first) * self.size + rows[:, 1]
        sides = [Faces.cat([each[side] for each in known])[whole] for side in range(1 + pairs)]
        return {**self.describe(sides, wording), "rows": rows.tolist()}

    @staticmethod
    def describe(sides: Sequence[Faces], wording: Wording) -> Batch:
        """Return what is known of faces, and of their twins where `sides` has them, but their pictures."""
        faces = Faces.cat(sides)
        labels = true_labels(faces)
        return {
            **_parameters(faces),
            "rows": None,
            "identity": faces.identity.ids,
            "traits": faces.identity.values,
            # One tensor: workers hand over each tensor by itself.
            "labels": (tuple(labels), torch.stack(list(labels.values()))),
            "caption": wording.describe(sides),
        }

    def _draw(self, number: int) -> tuple[Faces, Faces]:
        seed = self.seed * 1_000_003 + number
        generator = torch.Generator().manual_seed(seed)
        count = self.size * (_CANDIDATES if self.emphasis else 1)
        ids = torch.randint(self.identities, (count,), generator=generator)
        pair = counterfactual_pairs(ids, seed, self.further)
        if self.usual:
            pair = usual_kinds(*pair, seed)
        if not self.emphasis:
            return pair
        weights = torch.ones(count)
        labels = [true_labels(side) for side in pair]
        for name, weight in self.emphasis.items():
            differs = labels[0][name] != labels[1][name]
            weights = torch.where(differs, weights.clamp(min=weight), weights)
        chosen = torch.multinomial(weights, self.size, generator=generator)
        return pair[0][chosen], pair[1][chosen]


@dataclass(frozen=True)
class StepBatches:
    """The batch of each training step, without pictures.

    Attributes:
        faces: Where they are taken from.
        pairs: Deliver twins.
        seed: Decides captions, and what is taken from the pool.
        mention: Probability that a caption mentions an attribute.
        canonical: See `RenderedDataModule`.
        reuse: Steps that a face is shown in, on average.
        pool: With `reuse`, how many numbered batches are mixed with each other.
        tokens: Deliver the captions' token ids, too.
    """

    faces: FaceBatches
    pairs: bool
    seed: int
    mention: float
    canonical: float
    reuse: int
    pool: int
    tokens: bool

    def of(self, step: int) -> Batch:
        """Return the batch of a step; it depends on the step and the seed alone."""
        wording = Wording(self.seed + step, self.mention, self.canonical)
        if self.reuse == 1:
            sides = self.faces.numbered(step)[: 1 + self.pairs]
            batch = FaceBatches.describe(sides, wording)
        else:
            newest = step // self.reuse
            oldest = max(0, newest - self.pool + 1)
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
            size = self.faces.size
            # The oldest is about to go: each leaves after it was drawn from `reuse` times on average.
            chosen = torch.randperm((newest - oldest + 1) * size, generator=generator)[:size]
            rows = torch.stack([oldest + chosen // size, chosen % size], dim=1)
            batch = self.faces.batch(rows, self.pairs, wording)
            if step % self.reuse == 0:
                # Where workers draw faces, the process that renders them need not draw them again.
                drawn = Faces.cat(self.faces.numbered(newest)[: 1 + self.pairs])
                batch["newest"] = {"number": newest, "ids": drawn.identity.ids, **_parameters(drawn)}
        if self.tokens:
            batch["tokens"] = tokenize(_tokenizer(), batch["caption"])
        return batch


def _parameters(faces: Faces) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    return {"parameters": (faces.identity.values, faces.attributes.values, faces.nuisance.values)}


def _faces(parameters: tuple[Tensor, Tensor, Tensor], ids: Tensor) -> Faces:
    identity, attributes, nuisance = parameters
    return Faces(Identity(identity, ids), Attributes(attributes), Nuisance(nuisance))


@lru_cache(maxsize=1)
def _tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer(captions.VOCABULARY)


class PicturePool:
    """Renders faces, and keeps the pictures of the last batches where they are shown again.

    Args:
        size: Side in pixels.
        compiled: See `renderer.render_images`.
        kept: How many batches are kept in memory, as 8-bit pictures; 0 keeps none.
        chunk: Pictures that are rendered at once.
    """

    def __init__(self, size: int, compiled: bool, kept: int, chunk: int = 32) -> None:
        self.size, self.compiled, self.kept, self.chunk = size, compiled, kept, chunk
        self._numbers: list[int | None] = [None] * kept
        self._images: Tensor | None = None

    def of(self, batch: Batch, source: FaceBatches) -> tuple[Tensor, Tensor]:
        """Return a batch's pictures (N, 3, S, S) in [-1, 1] and landmarks (N, 5, 2) in pixels."""
        faces = _faces(batch["parameters"], batch["identity"])
        landmarks = renderer.locate_landmarks(faces, self.size)
        if self.kept == 0 or batch["rows"] is None:
            return self._render(faces), landmarks
        rows = torch.tensor(batch["rows"])
        sides = len(faces) // len(rows)
        device = faces.identity.values.device
        if (newest := batch.get("newest")) is not None:
            self._keep(newest["number"], sides, partial(_faces, newest["parameters"], newest["ids"]))
        for number in sorted({number for number, _ in batch["rows"]}):
            self._keep(number, sides, partial(source.joined, number, sides, device))
        assert self._images is not None
        slots, places = torch.stack([rows[:, 0] % self.kept, rows[:, 1]]).to(device)
        return from_uint8(self._images[:, slots, places].flatten(0, 1)), landmarks

    def _keep(self, number: int, sides: int, draw: Callable[[], Faces]) -> None:
        slot = number % self.kept
        if self._numbers[slot] == number:
            return
        faces = draw()
        device = faces.identity.values.device
        rendered = to_uint8(self._render(faces), device)
        pictures = rendered.reshape(sides, -1, *rendered.shape[1:])
        if self._images is None:
            shape = (sides, self.kept, *pictures.shape[1:])
            self._images = torch.empty(shape, dtype=torch.uint8, device=device)
        self._images[:, slot], self._numbers[slot] = pictures, number

    def _render(self, faces: Faces) -> Tensor:
        if not self.compiled:
            parts = [faces[start : start + self.chunk] for start in range(0, len(faces), self.chunk)]
            return torch.cat([renderer.render_images(part, self.size) for part in parts])
        # Compiled for one batch size only: what is missing is filled up.
        pictures = []
        for start in range(0, len(faces), self.chunk):
            part = faces[start : start + self.chunk]
            filled = Faces.cat([part, *[faces[:1]] * (self.chunk - len(part))])
            pictures.append(renderer.render_images(filled, self.size, compiled=True)[: len(part)])
        return torch.cat(pictures)
