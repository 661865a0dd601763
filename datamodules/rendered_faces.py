"""Which faces a training batch of the miniature shows, and their pictures."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from keyface.miniature.population import captions, world
from keyface.miniature.population.labels import true_labels
from keyface.miniature.population.pairs import counterfactual_pairs
from keyface.miniature.population.parameters import Attributes, Faces, Identity, Nuisance
from keyface.miniature.rendering import renderer
from keyface.pictures import from_uint8, to_uint8

Batch = dict[str, Any]

_CANDIDATES = 8
"""Pairs that are drawn for each that is taken, where some labels are emphasized."""


class FaceBatches:
    """Numbered batches of faces and twins; a batch depends on its number and the seed alone.

    Args:
        identities: Ids are drawn below it.
        size: Faces a batch, before twins.
        seed: Decides everything.
        emphasis: See `RenderedDataModule`.
        further: See `counterfactual_pairs`.
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
        keep: int = 1,
    ) -> None:
        known = true_labels(world.draw_faces(torch.zeros(1, dtype=torch.int64), 0))
        for name, weight in emphasis.items():
            if name not in known or weight <= 0:
                raise ValueError(f"emphasis {name}: {weight} needs a known label and a weight above 0")
        self.identities, self.size, self.seed, self.emphasis = identities, size, seed, emphasis
        self.further = further
        self._kept: OrderedDict[int, tuple[Faces, Faces]] = OrderedDict()
        self._keep = keep

    def numbered(self, number: int) -> tuple[Faces, Faces]:
        """Return the faces and twins of a batch."""
        if number not in self._kept:
            self._kept[number] = self._draw(number)
            while len(self._kept) > self._keep:
                self._kept.popitem(last=False)
        return self._kept[number]

    def batch(self, rows: Tensor, pairs: bool, caption_seed: int, mention: float) -> Batch:
        """Collect faces of several batches in one.

        Args:
            rows: (B, 2) number of the batch and row in it.
            pairs: Append the B twins.
            caption_seed: Seed of the captions' wording.
            mention: Probability that an attribute is mentioned.
        """
        sides = [
            Faces.cat(self.numbered(number)[side][row : row + 1] for number, row in rows.tolist())
            for side in range(1 + pairs)
        ]
        return {**self.describe(sides, caption_seed, mention), "rows": rows.tolist()}

    @staticmethod
    def describe(sides: Sequence[Faces], caption_seed: int, mention: float) -> Batch:
        """Return what is known of faces, and of their twins where `sides` has them, but their pictures."""
        faces = Faces.cat(sides)
        # The same seed words both sides of a pair alike, so that only the edited phrase differs.
        texts = [captions.draw_captions(side, caption_seed, mention) for side in sides]
        return {
            "parameters": (faces.identity.values, faces.attributes.values, faces.nuisance.values),
            "rows": None,
            "identity": faces.identity.ids,
            "traits": faces.identity.values,
            "labels": true_labels(faces),
            "caption": [text for side in texts for text in side],
        }

    def _draw(self, number: int) -> tuple[Faces, Faces]:
        seed = self.seed * 1_000_003 + number
        generator = torch.Generator().manual_seed(seed)
        count = self.size * (_CANDIDATES if self.emphasis else 1)
        ids = torch.randint(self.identities, (count,), generator=generator)
        pair = counterfactual_pairs(ids, seed, self.further)
        if not self.emphasis:
            return pair
        weights = torch.ones(count)
        labels = [true_labels(side) for side in pair]
        for name, weight in self.emphasis.items():
            differs = labels[0][name] != labels[1][name]
            weights = torch.where(differs, weights.clamp(min=weight), weights)
        chosen = torch.multinomial(weights, self.size, generator=generator)
        return pair[0][chosen], pair[1][chosen]


class PicturePool:
    """Renders faces, and keeps the pictures of the last batches where they are shown again.

    Args:
        size: Side in pixels.
        compiled: See `renderer.render_images`.
        kept: How many batches are kept in memory, as 8-bit pictures; 0 keeps none.
    """

    def __init__(self, size: int, compiled: bool, kept: int) -> None:
        self.size, self.compiled, self.kept = size, compiled, kept
        self._numbers: list[int | None] = [None] * kept
        self._images: list[Tensor] = []

    def of(self, batch: Batch, source: FaceBatches) -> tuple[Tensor, Tensor]:
        """Return a batch's pictures (N, 3, S, S) in [-1, 1] and landmarks (N, 5, 2) in pixels."""
        identity, attributes, nuisance = batch["parameters"]
        faces = Faces(Identity(identity, batch["identity"]), Attributes(attributes), Nuisance(nuisance))
        landmarks = renderer.locate_landmarks(faces, self.size)
        if self.kept == 0 or batch["rows"] is None:
            return self._render(faces), landmarks
        rows: list[tuple[int, int]] = batch["rows"]
        sides = len(faces) // len(rows)
        for number in sorted({number for number, _ in rows}):
            self._keep(number, source.numbered(number)[:sides], identity.device)
        images = torch.stack(
            [self._images[number % self.kept][side, row] for side in range(sides) for number, row in rows]
        )
        return from_uint8(images.to(identity.device)), landmarks

    def _keep(self, number: int, sides: Sequence[Faces], device: torch.device) -> None:
        slot = number % self.kept
        if self._numbers[slot] == number:
            return
        rendered = to_uint8(self._render(Faces.cat(sides).to(device)))
        pictures = rendered.reshape(len(sides), -1, *rendered.shape[1:])
        if len(self._images) <= slot:
            self._images.extend([pictures] * (slot + 1 - len(self._images)))
        self._images[slot], self._numbers[slot] = pictures, number

    def _render(self, faces: Faces, chunk: int = 32) -> Tensor:
        if not self.compiled:
            parts = [faces[start : start + chunk] for start in range(0, len(faces), chunk)]
            return torch.cat([renderer.render_images(part, self.size) for part in parts])
        # Compiled for one batch size only: what is missing is filled up.
        pictures = []
        for start in range(0, len(faces), chunk):
            part = faces[start : start + chunk]
            filled = Faces.cat([part, *[faces[:1]] * (chunk - len(part))])
            pictures.append(renderer.render_images(filled, self.size, compiled=True)[: len(part)])
        return torch.cat(pictures)
