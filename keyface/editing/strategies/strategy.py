"""The questions that a strategy answers, and what it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from keyface.editing.settings import EditSettings

if TYPE_CHECKING:
    from torch import Tensor

    from keyface.diffusion.guidance import Guidance
    from keyface.diffusion.protocol import Network
    from keyface.editing.clip import Clip
    from keyface.resume.batches import Advance


class Networks(NamedTuple):
    """The U-Nets that edit, and what they are told.

    Attributes:
        identity: ε1.
        direction: ε2.
        guidance: Of ε2.
        source_text: Source prompt (1, L, D), for ε1.
    """

    identity: Network
    direction: Network
    guidance: Guidance
    source_text: Tensor


class Denoiser(Protocol):
    """Turns the inverted latents of a clip into edited ones, `Clip.edited`."""

    @property
    def work(self) -> int:
        """Units that `run` reports."""

    def run(self, advance: Advance) -> None:
        """Denoise every frame; go on where the journal says that an earlier process stopped."""


@dataclass(frozen=True)
class Strategy(ABC):
    """How the keyframes' edit reaches every frame.

    Attributes:
        settings: Of the edit.
    """

    settings: EditSettings

    def source_frames(self, length: int, keyframes: Sequence[int]) -> tuple[int, ...]:
        """Return the frames whose inverted latents are kept at every level: the keyframes.

        Args:
            length: Number of frames of the clip.
            keyframes: Ascending frame numbers.
        """
        return tuple(keyframes)

    @property
    @abstractmethod
    def every_frame_from(self) -> int:
        """Level, 1 … start level, from which every frame is denoised; 0 where only keyframes are."""

    @property
    def inverts_others(self) -> bool:
        """Whether frames that are no sources are inverted, and not only matched to keyframes."""
        return self.every_frame_from > 0 and self.settings.propagation.invert_others > 0

    @property
    def needs_reconstruction(self) -> bool:
        """Whether the edit needs every keyframe reconstructed; else the gate looks at a few."""
        return False

    @property
    def matched_levels(self) -> tuple[int, ...]:
        """Levels of the inversion at which tokens are compared, ascending, 1 … start level."""
        steps, last = self.settings.steps, self.settings.start_level
        fractions = self.settings.propagation.correspondence_at
        return tuple(sorted({min(max(1, round(fraction * steps)), last) for fraction in fractions}))

    @abstractmethod
    def denoiser(self, clip: Clip, networks: Networks) -> Denoiser:
        """Return what edits an inverted (and, for `every_frame_from` 0, reconstructed) clip."""
