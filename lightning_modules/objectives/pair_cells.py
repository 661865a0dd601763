"""The latent cells in which a pair of pictures differs, and means over them."""

from torch import Tensor

DIFFERENT = 0.15
"""Cells that are further apart than this, in any channel, differ."""

SMALLEST_CHANGE = 0.2
"""Squared difference of a pair, mean over such cells and channels, below which its error is scaled up no
further."""


def differing(first: Tensor, second: Tensor) -> Tensor:
    """Return which cells of clean latents (N, C, h, w) differ, (N, h, w) bool."""
    return (first - second).abs().amax(1) > DIFFERENT


def over(cells: Tensor, values: Tensor) -> Tensor:
    """Return the mean of values (N, h, w) over the cells (N, h, w) that are true, 0 where none is; (N,)."""
    return (values * cells).sum((1, 2)) / cells.sum((1, 2)).clamp_min(1)


def relative(cells: Tensor, errors: Tensor, changes: Tensor) -> Tensor:
    """Return the mean error over cells relative to the mean change there, so that small changes count, too.

    Args:
        cells: Those that differ, (N, h, w) bool.
        errors: (N, h, w).
        changes: Squared difference of the pair, mean over channels, (N, h, w).

    Returns:
        (N,).
    """
    return over(cells, errors) / over(cells, changes).clamp_min(SMALLEST_CHANGE)
