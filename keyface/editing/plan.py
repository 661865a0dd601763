"""In which order keyframes and the frames that follow them are denoised within one step."""

from dataclasses import dataclass

from keyface.editing.clip import Clip
from keyface.editing.keyframes import Neighbours, Windows, joint_windows, neighbours, separate_groups


@dataclass(frozen=True)
class Plan:
    """Order of work within one step, so that only the tokens of neighbouring keyframes are in memory.

    Attributes:
        windows: keyframes in groups.
        follows: keyframes that each other frame follows.
        ready: by group, the frames whose keyframes are all done after it.
        last_use: by keyframe, the last group after which a frame needs it.
    """

    windows: Windows
    follows: dict[int, Neighbours]
    ready: tuple[tuple[int, ...], ...]
    last_use: dict[int, int]

    @classmethod
    def of(cls, clip: Clip, window: int) -> "Plan":
        """Plan for a clip, with at most `window` keyframes in a group besides the anchors."""
        settings, keyframes = clip.settings, clip.keyframes
        if settings.joint_attention:
            windows = joint_windows(keyframes, window, settings.anchors)
        else:
            windows = separate_groups(keyframes, window)
        group_of = {keyframe: g for g, group in enumerate(windows.groups) for keyframe in group}
        follows = {f: neighbours(f, keyframes) for f in clip.others}
        ready: list[list[int]] = [[] for _ in windows.groups]
        last_use: dict[int, int] = {}
        for frame, pair in follows.items():
            done = max(group_of[pair.before], group_of[pair.after])
            ready[done].append(frame)
            for keyframe in (pair.before, pair.after):
                last_use[keyframe] = max(last_use.get(keyframe, 0), done)
        return cls(windows, follows, tuple(tuple(frames) for frames in ready), last_use)
