"""Edits learned from pairs: the same face before and after, with ε1's features injected as in editing.

Keyface's addition to Eq. 6, for data that show what an edit makes of a face. ε2 is trained on its way from
the inverted face to the edited one, under the same injection, so that it learns to edit against features that
hold the face as it was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.backbone import Backbone, load_unet
from keyface.diffusion.inversion import invert
from keyface.diffusion.prediction import predict
from keyface.diffusion.schedule import Grid, original_of
from keyface.editing.attention import KeyframeState
from keyface.editing.injection import identity_features, injecting
from keyface.editing.parts import Injection
from keyface.editing.settings import EditSettings
from keyface.pipeline.branches import branch_folder
from keyface.pipeline.companions import Companions
from keyface.pipeline.defaults import defaults_of
from keyface.plugins import Category

DIFFERENT = 0.15
"""Latent cells of a pair that are further apart than this, in any channel, count as changed."""

SMALLEST_CHANGE = 0.2
"""Squared difference of a pair's latents, mean over changed cells and channels, below which its error is not
scaled up."""

LEAST_NOISE = 0.4
"""Standard deviation of the noise below which an error of x̂0 counts no more: with v-prediction it would
grow without bound."""


@dataclass(frozen=True)
class Pairs:
    """How ε2 learns from pairs.

    Attributes:
        weight: Of this loss beside Eq. 6.
        identity: ε1, whose features are injected: `miniature`, or the folder of an export, a run or an
            experiment; None takes the base.
        steps_between: So many training steps of this loss alone between two that have Eq. 6 as well.
        levels: Noise levels that are learned from in a step, of each inverted picture.
        kept_share: Share of them with the source prompt, which is to leave the picture as it was: what
            guidance moves away from.
        changed_weight: Weight of the error in the cells that the edit changes, relative to the change.
        outside_weight: Weight of the error in all other cells, beside that in the plain mean.
    """

    weight: float = 1.0
    identity: str | None = "miniature"
    steps_between: int = 5
    levels: int = 4
    kept_share: float = 0.25
    changed_weight: float = 0.5
    outside_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.levels < 1 or self.steps_between < 0 or not 0.0 <= self.kept_share < 1.0:
            raise ValueError(
                "pairs: levels >= 1, steps_between >= 0 and 0 <= kept_share < 1 are needed, not "
                f"{self.levels}, {self.steps_between} and {self.kept_share}"
            )

    @classmethod
    def of(cls, settings: "Pairs | Mapping[str, Any] | None") -> "Pairs | None":
        """Accept the plain dictionary that a checkpoint's hyper-parameters hold."""
        return settings if settings is None or isinstance(settings, Pairs) else cls(**settings)


class Edited(NamedTuple):
    """Pictures and what an edit makes of them.

    Attributes:
        before: Clean latents (B, C, h, w).
        after: Theirs after the edit.
        source: Prompts of the pictures, (B, L, D).
        target: Prompts after the edit, (B, L, D).
        settings: How each of them is edited, B.
    """

    before: Tensor
    after: Tensor
    source: Tensor
    target: Tensor
    settings: Sequence[EditSettings]


class PairTerms(NamedTuple):
    """Mean squared errors of x̂0, scalars.

    Attributes:
        total: Weighted sum, before `Pairs.weight`.
        changed: In the changed cells, as a fraction of the change.
        outside: In all others.
    """

    total: Tensor
    changed: Tensor
    outside: Tensor


class PairsLoss:
    """Squared error of the x̂0 that ε2 predicts on the way from an inverted picture to the edited one.

    Let z_ℓ be the inverted latent at level ℓ, and z₀ and z₀′ the clean latents before and after the edit.
    The way's points are `z_ℓ + w √ᾱ_ℓ (z₀′ − z₀)`: w = 0 where an edit starts, and drawn from [0, 1] below,
    more often near 1; levels are drawn more often near the start. With the target prompt x̂0 is to be z₀′,
    with the source prompt z₀.

    Args:
        settings: See `Pairs`.
        backbone: The frozen base, which inverts.

    Attributes:
        identity: ε1.

    Raises:
        FileNotFoundError: ε1 is not there.
        ValueError: It cannot be read.
    """

    def __init__(self, settings: Pairs, backbone: Backbone) -> None:
        self.settings, self.backbone = settings, backbone
        self.identity = _find_identity(settings.identity, backbone)
        self.defaults = defaults_of(backbone.source)

    def on_twins(
        self,
        unet: UNet2DConditionModel,
        batch: Mapping[str, Any],
        categories: Sequence[Category],
        generator: torch.Generator,
    ) -> PairTerms:
        """Compare ε2's edits with the twins of a batch, each as the categories are edited that it differs in.

        Args:
            unet: ε2.
            batch: `image` and `twin` (B, 3, H, W) in [-1, 1], `caption`, `twin_caption`, `attributes` and
                `twin_attributes`, see `keyface.datamodules.rendered`.
            categories: To find the edits among.
            generator: On the CPU.
        """
        base = self.backbone
        labels = zip(batch["attributes"], batch["twin_attributes"], strict=True)
        settings = [
            self.defaults.for_categories(edits_between(*each, categories), base.family) for each in labels
        ]
        with torch.no_grad():
            edited = Edited(
                base.encode_images(batch["image"]).float(),
                base.encode_images(batch["twin"]).float(),
                base.encode_prompts(batch["caption"]),
                base.encode_prompts(batch["twin_caption"]),
                settings,
            )
        return self(unet, edited, generator)

    def __call__(self, unet: UNet2DConditionModel, edited: Edited, generator: torch.Generator) -> PairTerms:
        """Compare at drawn levels.

        Args:
            unet: ε2.
            edited: All of one grid, that is of the same number of steps.
            generator: On the CPU.
        """
        points = self._draw(edited.settings, generator)
        highest = max(point.level for point in points)
        steps, corrections = edited.settings[0].steps, edited.settings[0].fixed_point_iterations
        grid = Grid.of(self.backbone.scheduler, steps)
        inverted = invert(
            self.backbone.unet, grid, edited.before, edited.source, steps, corrections, until=highest
        )
        groups: dict[Injection, list[Point]] = {}
        for point in points:
            groups.setdefault(point.injection, []).append(point)
        errors = [self._errors(unet, edited, grid, inverted, each, group) for each, group in groups.items()]
        whole, changed, outside = (torch.cat(each).mean() for each in zip(*errors, strict=True))
        settings = self.settings
        total = whole + settings.changed_weight * changed + settings.outside_weight * outside
        return PairTerms(total, changed, outside)

    def _draw(self, settings: Sequence[EditSettings], generator: torch.Generator) -> list["Point"]:
        """Draw where on their ways the pictures are compared, `Pairs.levels` points of each."""
        points = []
        for row, each in enumerate(settings):
            for _ in range(self.settings.levels):
                shift, level, towards, kept = torch.rand(4, generator=generator).tolist()
                start = min(max(each.start_level + int(3 * shift) - 1, 1), each.steps)
                at = start - int(start * level**1.5)
                points.append(
                    Point(
                        row,
                        at,
                        0.0 if at == start else towards**0.5,
                        kept < self.settings.kept_share,
                        _held_at(each.injection, start - at, start),
                    )
                )
        return points

    def _errors(
        self,
        unet: UNet2DConditionModel,
        edited: Edited,
        grid: Grid,
        inverted: Tensor,
        injection: Injection,
        points: Sequence["Point"],
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the errors of points with one injection: whole, in the changed cells, outside; (N,) each."""
        device = edited.before.device
        rows = torch.tensor([point.row for point in points], device=device)
        levels = torch.tensor([point.level for point in points], device=device)
        kept = torch.tensor([point.kept for point in points], device=device)[:, None, None]
        towards = torch.tensor([point.towards for point in points], device=device)[:, None, None, None]
        alphas = torch.tensor(grid.alphas, device=device)[levels][:, None, None, None]
        timesteps = torch.tensor(grid.timesteps, device=device)[levels - 1]
        before, after, source = edited.before[rows], edited.after[rows], edited.source[rows]
        start = inverted[levels, rows]
        latents = start + towards * alphas.sqrt() * (after - before)
        with torch.no_grad():
            injected = identity_features(self.identity, start, timesteps, source, injection, 0, 1)
        with injecting(unet, injected, injection, KeyframeState(("target",), injection.mode, joint=False)):
            output = predict(unet, latents, timesteps, torch.where(kept, source, edited.target[rows]))
        wanted = torch.where(kept[..., None], before, after)
        error = original_of(latents, output, alphas, grid.prediction_type) - wanted
        noise = (1 - alphas).sqrt().clamp_min(LEAST_NOISE)
        squared = (error / noise).square().mean(1)
        differs = (before - after).abs().amax(1) > DIFFERENT
        change = _over(differs, (before - after).square().mean(1)).clamp_min(SMALLEST_CHANGE)
        return squared.mean((1, 2)), _over(differs, squared) / change, (squared * ~differs).mean((1, 2))


@dataclass(frozen=True)
class Point:
    """A place on a picture's way.

    Attributes:
        row: Of the picture in the batch.
        level: ℓ.
        towards: w.
        kept: Whether the prompt is the source's.
        injection: What ε1 gives there; all of it or nothing.
    """

    row: int
    level: int
    towards: float
    kept: bool
    injection: Injection


def _held_at(injection: Injection, step: int, steps: int) -> Injection:
    """Return the injection with each part at all times or never, as it is at one step."""
    return replace(
        injection,
        until=float(injection.attention_active(step, steps)),
        residual_until=float(injection.residual_active(step, steps)),
    )


def _over(cells: Tensor, values: Tensor) -> Tensor:
    """Return the mean of values (N, h, w) over the cells (N, h, w) that are true, 0 where none is; (N,)."""
    return (values * cells).sum((1, 2)) / cells.sum((1, 2)).clamp_min(1)


def _find_identity(name: str | None, backbone: Backbone) -> UNet2DConditionModel:
    """Return ε1, frozen.

    Args:
        name: As `Pairs.identity`.
        backbone: The base that it was tuned from.

    Raises:
        FileNotFoundError: There is no such branch.
        ValueError: What is there cannot be read.
    """
    if name is None:
        return backbone.unet
    folder = Companions.of(name).identity or branch_folder(Path(name))
    return load_unet(folder, backbone.unet).requires_grad_(False)


def edits_between(
    before: Mapping[str, bool], after: Mapping[str, bool], categories: Sequence[Category]
) -> list[Category]:
    """Return the categories whose label the first picture lacks and the second has."""
    return [
        category
        for category in categories
        if before.get(category.attribute) is not category.present
        and after.get(category.attribute) is category.present
    ]
