"""What of a frame the model is shown around a face. Imports nothing heavy, for `--help`.

The text under each field is also its line in `keyface edit --help`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from keyface.editing.parts import check_choice, check_within

_SMALLEST, _LARGEST = 16, 2048


@dataclass(frozen=True)
class Framing:
    """Choose how the crop of a face is cut out of the frame."""

    margin: float = 1.0
    """Side of the crop, as a multiple of what the weights want; more than 1 shows more around the face, and
    the face smaller."""
    border: Literal["mirror", "black"] = "mirror"
    """What the model sees where the crop reaches over the border of the frame: the frame mirrored, or
    black."""
    size: int | None = None
    """Pixels of the crop's side as the model sees it. None takes what the weights were made for; larger shows
    finer detail and takes more time and memory, as far as the weights know such sizes."""

    def __post_init__(self) -> None:
        check_within("framing.margin", self.margin, 0.5, 3.0)
        check_choice("framing.border", self.border, ("mirror", "black"))
        if self.size is not None:
            check_within("framing.size", self.size, _SMALLEST, _LARGEST)

    def side(self, usual: int, cell: int) -> int:
        """Return the side of the crops in pixels.

        Args:
            usual: What the weights were made for.
            cell: Pixels of the model's coarsest cell, of which the side is a multiple.

        Raises:
            ValueError: It is none.
        """
        side = usual if self.size is None else self.size
        if side % cell:
            near = max(round(side / cell), 1) * cell
            raise ValueError(
                f"framing.size is {side}; these weights need a multiple of {cell}, such as {near}; they were "
                f"made for {usual}"
            )
        return side
