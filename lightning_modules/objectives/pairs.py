"""Edits learned from pairs: the same face before and after, with ε1's features injected as in editing.

Keyface's addition to Eq. 6, for data that show what an edit makes of a face. ε2 edits the inverted face as in
use, with the same injection and solver but without guidance, and each step is compared with the edited face.
So it learns to edit against features that hold the face as it was, and from latents that its own steps made:
trained on perfect ones, its error grew from step to step (docs/results.md).
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
from keyface.diffusion.schedule import Grid
from keyface.diffusion.solvers import solver_step
from keyface.editing.attention import KeyframeState
from keyface.editing.injection import identity_features, injecting
from keyface.editing.parts import Injection
from keyface.editing.settings import EditSettings
from keyface.lightning_modules.objectives.pair_cells import differing, relative
from keyface.pipeline.branches import branch_folder
from keyface.pipeline.companions import Companions
from keyface.pipeline.defaults import defaults_of
from keyface.plugins import Category

BEND = 0.3
"""Errors of x̂0 well below this count by their square, those well above by their size."""

LEAST_NOISE = 0.6
"""Errors of x̂0 are divided by the noise's variance, which tends to 0. Below this standard deviation they are
divided by its square, so that the last steps do not count more than all others together."""


@dataclass(frozen=True)
class Pairs:
    """How ε2 learns from pairs.

    Attributes:
        weight: Of this loss beside Eq. 6.
        identity: ε1, whose features are injected: `miniature`, or the folder of an export, a run or an
            experiment; None takes the base.
        steps_between: So many training steps of this loss alone between two that have Eq. 6 as well.
        kept_share: Share of pictures edited with the source prompt, which is to leave them as they were: what
            guidance moves away from.
        changed_weight: Weight of the error in the cells that the edit changes, relative to the change.
        outside_weight: Weight of the error in all other cells, beside that in the plain mean.
    """

    weight: float = 1.0
    identity: str | None = "miniature"
    steps_between: int = 5
    kept_share: float = 0.2
    changed_weight: float = 0.5
    outside_weight: float = 1.0

    def __post_init__(self) -> None:
        if self.steps_between < 0 or not 0.0 <= self.kept_share < 1.0:
            raise ValueError(
                "pairs: steps_between >= 0 and 0 <= kept_share < 1 are needed, not "
                f"{self.steps_between} and {self.kept_share}"
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
    """Mean errors of x̂0, scalars.

    Attributes:
        total: Weighted sum, before `Pairs.weight`.
        changed: In the changed cells, relative to the change.
        outside: In all others.
    """

    total: Tensor
    changed: Tensor
    outside: Tensor


class PairsLoss:
    """Error of the x̂0 that ε2 predicts in each step of its own way from an inverted picture.

    A picture's edit starts at the level that its settings name, one above or one below. With the target
    prompt x̂0 is to be the clean latent after the edit in all steps, with the source prompt the one before.
    Gradients do not flow from a step back to earlier ones. Nothing is guided. The graphs of all steps are
    held until the backward pass, so memory grows with the pictures and the level that edits start from.

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
        """Compare in all steps.

        Args:
            unet: ε2.
            edited: All of one solver, number of steps and of corrections of the inversion.
            generator: On the CPU.
        """
        starts = [self._draw(each, generator) for each in edited.settings]
        levels = [start.level for start in starts]
        first = edited.settings[0]
        grid = Grid.of(self.backbone.scheduler, first.steps)
        inverted = invert(
            self.backbone.unet,
            grid,
            edited.before,
            edited.source,
            first.steps,
            first.fixed_point_iterations,
            until=max(levels),
        )
        kept = torch.tensor([start.kept for start in starts], device=edited.before.device)
        text = torch.where(kept[:, None, None], edited.source, edited.target)
        wanted = torch.where(kept[:, None, None, None], edited.before, edited.after)
        latents, originals = inverted[levels, range(len(levels))], torch.empty_like(edited.before)
        errors = []
        for level in range(max(levels), 0, -1):
            for injection, rows in _going(edited.settings, levels, level).items():
                timestep, here = grid.timestep(level), latents[rows]
                with torch.no_grad():
                    injected = identity_features(
                        self.identity, inverted[level, rows], timestep, edited.source[rows], injection, 0, 1
                    )
                with injecting(unet, injected, injection, KeyframeState(("target",), injection.mode, False)):
                    output = predict(unet, here, timestep, text[rows])
                original = grid.original(here, output, level)
                noise = max((1.0 - grid.alphas[level]) ** 0.5, LEAST_NOISE)
                errors.append(
                    _errors(original - wanted[rows], noise, edited.before[rows], edited.after[rows])
                )
                with torch.no_grad():
                    former = _former(originals[rows], original, [levels[row] == level for row in rows])
                    latents[rows], _ = solver_step(first.solver, grid, here, output, level, former)
                    originals[rows] = original
        whole, changed, outside = (torch.cat(each).mean() for each in zip(*errors, strict=True))
        settings = self.settings
        total = whole + settings.changed_weight * changed + settings.outside_weight * outside
        return PairTerms(total, changed, outside)

    def _draw(self, settings: EditSettings, generator: torch.Generator) -> "Start":
        """Draw where a picture's edit begins, and with which prompt."""
        shift, kept = torch.rand(2, generator=generator).tolist()
        level = min(max(settings.start_level + int(3 * shift) - 1, 1), settings.steps)
        return Start(level, kept < self.settings.kept_share)


class Start(NamedTuple):
    """How a picture's edit begins.

    Attributes:
        level: The level.
        kept: Whether the prompt is the source's.
    """

    level: int
    kept: bool


def _going(settings: Sequence[EditSettings], levels: Sequence[int], level: int) -> dict[Injection, list[int]]:
    """Return the rows that are edited at a level, by what is injected there.

    Args:
        settings: Of each row.
        levels: Where each begins.
        level: The level of this step.
    """
    going: dict[Injection, list[int]] = {}
    for row, (each, start) in enumerate(zip(settings, levels, strict=True)):
        if start >= level:
            going.setdefault(_held_at(each.injection, start - level, start), []).append(row)
    return going


def _former(former: Tensor, original: Tensor, begun: Sequence[bool]) -> Tensor | None:
    """Return the x̂0 (N, C, h, w) of the step before, for the solver.

    Rows that have just begun get x̂0 itself, so that their first step is of first order.
    """
    if all(begun):
        return None
    return torch.where(torch.tensor(begun, device=former.device)[:, None, None, None], original, former)


def _errors(error: Tensor, noise: float, before: Tensor, after: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean error whole, in the changed cells relative to the change, and outside; (N,) each.

    Args:
        error: Of x̂0, (N, C, h, w).
        noise: Standard deviation of the noise, by whose square the error is divided.
        before: Clean latents, (N, C, h, w).
        after: Theirs after the edit.
    """
    size = (2 * BEND**2 / noise**2 * (((error / BEND).square() + 1).sqrt() - 1)).mean(1)
    differs = differing(before, after)
    changed = relative(differs, size, (before - after).square().mean(1))
    return size.mean((1, 2)), changed, (size * ~differs).mean((1, 2))


def _held_at(injection: Injection, step: int, steps: int) -> Injection:
    """Return the injection with each part at all times or never, as it is at one step."""
    return replace(
        injection,
        until=float(injection.attention_active(step, steps)),
        residual_until=float(injection.residual_active(step, steps)),
    )


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
