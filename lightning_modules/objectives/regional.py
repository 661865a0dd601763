"""Regional guidance, distilled: ε2 learns that its guidance acts inside an edit's regions alone.

Keyface's addition to Eq. 6, which sees the finished image: classifier-free guidance multiplies what the two
predictions of one step differ by, so that is where a change outside the regions is cheapest to unlearn.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.guidance import Guidance
from keyface.diffusion.inversion import invert
from keyface.diffusion.sampling import ImagePath, sample
from keyface.diffusion.schedule import Grid
from keyface.lightning_modules.sampling import NoisyInput


@dataclass(frozen=True)
class Regional:
    """How ε2 learns regional guidance.

    Attributes:
        weight: Of this loss beside Eq. 6; for batches with masks.
        outside_weight: What the error outside the regions counts, where that inside counts 1.
        steps_between: So many training steps of this loss alone between two that have Eq. 6 as well, which
            costs several times as much.
        grid_steps: Steps of the grid of inversion and editing.
        lowest: Lowest noise level that edits start from, as a fraction of the grid.
        highest: Highest of them.
        edited_share: Share of the batches whose latents are edited from there down to the level compared, by
            the regional teacher; the others are as the inversion made them.
    """

    weight: float = 1.0
    outside_weight: float = 10.0
    steps_between: int = 3
    grid_steps: int = 10
    lowest: float = 0.6
    highest: float = 0.8
    edited_share: float = 0.75

    def __post_init__(self) -> None:
        if not 0.0 <= self.lowest <= self.highest <= 1.0 or self.grid_steps < 2 or self.steps_between < 0:
            raise ValueError(
                "regional: 0 <= lowest <= highest <= 1, grid_steps >= 2 and steps_between >= 0 are needed, "
                f"not {self.lowest}, {self.highest}, {self.grid_steps} and {self.steps_between}"
            )

    @classmethod
    def of(cls, settings: "Regional | Mapping[str, Any] | None") -> "Regional | None":
        """Accept the plain dictionary that a checkpoint's hyper-parameters hold."""
        return settings if settings is None or isinstance(settings, Regional) else cls(**settings)


class RegionalTerms(NamedTuple):
    """Errors as fractions of the teacher's own guided change, scalars.

    Attributes:
        total: Weighted sum, before `Regional.weight`.
        outside: Of the guided prediction outside the regions.
        inside: Of the guided prediction inside them.
        source: Of the prediction by the source prompt, times the squared guidance scale.
    """

    total: Tensor
    outside: Tensor
    inside: Tensor
    source: Tensor


class RegionalLoss:
    """Squared distance of ε2's guided prediction to the frozen base's, whose guidance is cut to the regions.

    With u and c the base's predictions by negative (the source) and target prompt, M the regions and s the
    guidance scale, the teacher says `u + s · M (c − u)`. ε2's own u shall stay that, so that guidance at
    another scale is regional too.

    Args:
        settings: See `Regional`.
        backbone: The frozen base.
        scale: s.
    """

    def __init__(self, settings: Regional, backbone: Backbone, scale: float) -> None:
        self.settings, self.backbone, self.scale = settings, backbone, scale
        self.grid = Grid.of(backbone.scheduler, settings.grid_steps)
        begins = NoisyInput(steps=settings.grid_steps, lowest=settings.lowest, highest=settings.highest)
        self.starts = begins.levels()

    def __call__(
        self,
        unet: UNet2DConditionModel,
        latents: Tensor,
        source: Tensor,
        target: Tensor,
        regions: Tensor,
        generator: torch.Generator,
        negative: Tensor | None = None,
    ) -> RegionalTerms:
        """Compare at one drawn level, whose error is measured by the change that it asks for.

        Args:
            unet: ε2.
            latents: Clean latents (B, C, h, w).
            source: Source prompts (B, L, D).
            target: Target prompts (B, L, D).
            regions: (B, 1, h, w), 1 where the edit may change something, else 0.
            generator: On the CPU.
            negative: What guidance moves away from (B, L, D); None is the source prompts.
        """
        student = Guidance(target, source if negative is None else negative, self.scale)
        with torch.no_grad():
            teacher = replace(student, scale=self.scale * regions)
            noisy, timesteps = self._noisy(latents, source, teacher, generator)
        return self.compare(unet, noisy, timesteps, student, regions)

    def compare(
        self,
        unet: UNet2DConditionModel,
        noisy: Tensor,
        timesteps: Tensor,
        student: Guidance,
        regions: Tensor,
    ) -> RegionalTerms:
        """Compare ε2's guided prediction with the teacher's.

        Args:
            unet: ε2.
            noisy: (B, C, h, w).
            timesteps: Of the latents, (B,) int64.
            student: The prompts, and s.
            regions: (B, 1, h, w), 1 where the edit may change something, else 0.
        """
        teacher = replace(student, scale=self.scale * regions)
        with torch.no_grad():
            outputs = teacher.outputs(self.backbone.unet, noisy, timesteps)
            kept, guided = outputs["negative"], teacher.combine(outputs)
        own = student.outputs(unet, noisy, timesteps)
        own_source, own_guided = own["negative"], student.combine(own)
        energy = (guided - kept).square().mean().clamp(min=1e-8)
        error = (own_guided - guided).square()
        outside = (error * (1 - regions)).mean() / energy
        inside = (error * regions).mean() / energy
        unmoved = self.scale**2 * (own_source - kept).square().mean() / energy
        total = self.settings.outside_weight * outside + inside + unmoved
        return RegionalTerms(total, outside, inside, unmoved)

    def _noisy(
        self, latents: Tensor, source: Tensor, teacher: Guidance, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return z_t and t at a level that an edit comes by: inverted to where it starts, edited from there.

        Noise added to a picture is not what an edit sees, and would teach ε2 too weak a guidance.
        """
        first, last = self.starts
        start = int(torch.randint(first, last + 1, (1,), generator=generator))
        level = int(torch.randint(1, start + 1, (1,), generator=generator))
        edited = float(torch.rand(1, generator=generator)) < self.settings.edited_share
        way = _strides(start, level) if edited else [level]
        noisy = self._inverted(latents, source, way[0])
        *timesteps, until = (self._timesteps(each, latents) for each in way)
        path = ImagePath(self.backbone.scheduler, timesteps, until)
        return sample(partial(teacher.predict, self.backbone.unet), noisy, path), until

    def _inverted(self, latents: Tensor, source: Tensor, level: int) -> Tensor:
        """Invert latents by the base; every other level does, since nothing is to come back exactly."""
        visited = list(range(level, 0, -2))[::-1]
        backbone, steps = self.backbone, self.grid.steps
        return invert(backbone.unet, backbone.scheduler, latents, source, steps, 0, levels=visited)[-1]

    def _timesteps(self, level: int, latents: Tensor) -> Tensor:
        return torch.full((len(latents),), self.grid.timestep(level), device=latents.device)


def _strides(start: int, level: int) -> list[int]:
    """Return levels from `start` down to `level`, in at most three strides."""
    strides = min(3, start - level)
    return [start - round((start - level) * i / strides) for i in range(strides + 1)] if strides else [start]


def cells_of(regions: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which latent cells (B, 1, h, w), 0 or 1, hold any pixel of the regions (B, H, W) bool."""
    return F.adaptive_max_pool2d(regions[:, None].float(), size)
