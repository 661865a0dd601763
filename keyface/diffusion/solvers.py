"""DPM-Solver++(2M), the second-order multistep solver, on the grid of the inversion.

Lu et al., "DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models",
arXiv 2211.01095, Algorithm 2. With half log-SNR λ, h_ℓ = λ_{ℓ−1} − λ_ℓ and the predictions D_ℓ of the clean
latent, its step is DDIM's with (1 + 1/2r) D_ℓ − 1/2r D_{ℓ+1} for D_ℓ, r = h_{ℓ+1} / h_ℓ. So it is DDIM's step
and a correction, which needs what was predicted one level before.

diffusers' `DPMSolverMultistepScheduler` does the same arithmetic (tests compare them), but it keeps the
former prediction of one batch and counts its calls: windows, chunks and edits that are resumed cannot share
it. At zero terminal SNR it also takes ᾱ = 2⁻²⁴ for 0, which is not where the inversion ended.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from keyface.diffusion.schedule import Grid

Solver = Literal["ddim", "dpmpp_2m"]
"""`ddim` is of first order, and the inverse of the inversion; `dpmpp_2m` is DPM-Solver++(2M)."""


def looks_back(solver: Solver) -> bool:
    """Tell whether a solver's step needs what was predicted one level before."""
    return solver == "dpmpp_2m"


def solver_step(
    solver: Solver, grid: Grid, latents: Tensor, output: Tensor, level: int, before: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Go from a level to the one below.

    Args:
        solver: Which one.
        grid: The grid.
        latents: (B, C, h, w) at `level`.
        output: The network's output there, guided or not.
        level: Where the step begins.
        before: x̂0 as predicted one level before; None in the first step, which is of first order.

    Returns:
        The latents at `level` − 1, and x̂0 as predicted at `level` for a solver that looks back, else None.
    """
    cleaner = grid.denoise(latents, output, level)
    if not looks_back(solver):
        return cleaner, None
    original = grid.original(latents, output, level)
    if before is not None:
        cleaner = cleaner + second_order(grid, level, original, before)
    return cleaner, original


def second_order(grid: Grid, level: int, original: Tensor, before: Tensor) -> Tensor:
    """Return what a step of second order adds to `Grid.denoise`; nothing in the last step.

    Args:
        grid: The grid.
        level: Where the step begins; it began at `level` + 1 before that.
        original: D_ℓ, the x̂0 (B, C, h, w) predicted at `level`.
        before: D_{ℓ+1}, likewise at the level before.
    """
    return coefficient(grid, level) * (original - before)


def coefficient(grid: Grid, level: int) -> float:
    """Return √ᾱ_{ℓ−1} (1 − e^{−h_ℓ}) h_ℓ / 2 h_{ℓ+1}, what D_ℓ − D_{ℓ+1} counts in the step from a level.

    The last step (1 → 0) is of first order, as diffusers' `euler_at_final`: h_1 is infinite where the clean
    latent has no noise at all. It is also 0 beside a level of zero SNR, whose h is infinite.
    """
    if level == 1:
        return 0.0
    cleaner, here, noisier = (_half_log_snr(grid, each) for each in (level - 1, level, level + 1))
    step, step_before = cleaner - here, here - noisier
    return math.sqrt(grid.alphas[level - 1]) * -math.expm1(-step) * step / (2.0 * step_before)


def _half_log_snr(grid: Grid, level: int) -> float:
    """Return λ = log(signal / noise) of a level; −∞ at zero SNR."""
    alpha = grid.alphas[level]
    return 0.5 * (math.log(alpha) - math.log1p(-alpha)) if alpha > 0.0 else -math.inf
