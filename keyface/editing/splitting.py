"""A long clip in parts that are edited each by itself, on devices of their own."""

from collections.abc import Sequence
from dataclasses import dataclass

from keyface.editing.keyframes import KeyframeChoice, joint_windows, select_keyframes, separate_groups
from keyface.editing.settings import EditSettings


@dataclass(frozen=True)
class ClipPart:
    """The frames [first, stop) of a clip, with what their edit needs of the others.

    Attributes:
        first: Number of the first frame.
        stop: Number of the frame after the last.
        frames: Ascending numbers of the frames that are edited here: the part's own, the anchors, and the
            keyframe after the part, which its last frames follow.
        choice: The keyframes among them, by their place in `frames`.
    """

    first: int
    stop: int
    frames: tuple[int, ...]
    choice: KeyframeChoice

    @property
    def own(self) -> slice:
        """Return which places in `frames` are the part's own."""
        start = self.frames.index(self.first)
        return slice(start, start + self.stop - self.first)


def split_clip(length: int, settings: EditSettings, count: int) -> tuple[ClipPart, ...]:
    """Split a clip where a window of keyframes ends, so that the parts take about as long as each other.

    Every part has the whole clip's anchors, keyframes and windows. Two things are otherwise than in one
    piece: in all parts but the first the anchors run without the first window; and the keyframe after a part
    runs in a window of its own there. docs/results.md says how far the frames differ ("One clip on several
    devices").

    Args:
        length: Of the clip, in frames.
        settings: How it is edited.
        count: Parts that are asked for; there are as many windows at most.

    Returns:
        The parts in order; one alone is the whole clip.

    Raises:
        ValueError: Keyframes are drawn anew at each step, so that no part has windows of its own.
    """
    if settings.propagation.mode == "tokenflow":
        raise ValueError(
            "--devices: propagation.mode tokenflow cannot be split, since its keyframes are drawn anew at "
            "each step; leave --devices out, or take another mode"
        )
    keyframes = select_keyframes(length, settings.interval, settings.seed)
    anchors: tuple[int, ...] = ()
    if settings.joint_attention:
        whole = joint_windows(keyframes, settings.window, settings.anchors)
        anchors = whole.groups[0][: whole.anchors]
        windows = [whole.groups[0][whole.anchors :], *whole.groups[1:]]
    else:
        windows = [*separate_groups(keyframes, settings.window).groups]
    count = min(count, len(windows))
    shares = [windows[len(windows) * n // count : len(windows) * (n + 1) // count] for n in range(count)]
    starts = [0, *(share[0][0] for share in shares[1:]), length]
    return tuple(
        _part([k for window in share for k in window], anchors, first, stop, stop == length)
        for share, first, stop in zip(shares, starts[:-1], starts[1:], strict=True)
    )


def _part(own: Sequence[int], anchors: Sequence[int], first: int, stop: int, last: bool) -> ClipPart:
    after = () if last else (stop,)
    frames = tuple(sorted({*range(first, stop), *anchors, *after}))
    place = {frame: row for row, frame in enumerate(frames)}
    choice = KeyframeChoice(
        tuple(place[frame] for frame in sorted({*own, *anchors, *after})),
        tuple(place[frame] for frame in anchors),
        alone=first > 0 and bool(anchors),
    )
    return ClipPart(first, stop, frames, choice)
