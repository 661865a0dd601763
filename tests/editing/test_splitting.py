"""Parts of a clip that are edited by themselves, against the clip in one piece."""

import dataclasses

import pytest
import torch
from torch import Tensor

from keyface.editing.editor import EditSettings, Prompts, Propagation, TensorFrames, VideoEditor
from keyface.editing.keyframes import joint_windows, select_keyframes
from keyface.editing.splitting import ClipPart, split_clip

SMALL = EditSettings(steps=4, interval=2, window=2, anchors=2, chunk_size=3, guidance_scale=3.0)
PROMPTS = Prompts("a face", "a face with glasses")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 50])
@pytest.mark.parametrize("anchors", [1, 2, 3])
def test_parts_have_the_whole_clips_keyframes_anchors_and_windows(count: int, anchors: int) -> None:
    settings = EditSettings(interval=3, window=4, anchors=anchors)
    keyframes = select_keyframes(100, 3, 0)
    whole = joint_windows(keyframes, 4, anchors)
    fixed, windows = whole.groups[0][:anchors], [whole.groups[0][anchors:], *whole.groups[1:]]
    parts = split_clip(100, settings, count)
    assert len(parts) == min(count, len(windows))
    assert [part.first for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == 100
    found = []
    for part in parts:
        assert part.frames[part.own] == tuple(range(part.first, part.stop))
        made = part.choice.windows(4)
        assert made.anchors == anchors
        groups = [tuple(part.frames[row] for row in group) for group in made.groups]
        assert groups[0][:anchors] == fixed
        first = groups[0][anchors:]
        own = [first, *groups[1:]] if first else groups[1:]
        if part.stop < 100:
            assert part.stop in own[-1], "the keyframe that the last frames follow"
            own[-1] = tuple(k for k in own[-1] if k != part.stop)
        found += [window for window in own if window]
        assert {part.frames[row] for row in part.choice.keyframes} == {k for g in groups for k in g}
    assert found == windows


def test_frames_by_themselves_need_no_anchors() -> None:
    first, second = split_clip(10, EditSettings(interval=1, joint_attention=False, window=5), 2)
    assert (first.frames, first.choice.anchors) == ((0, 1, 2, 3, 4, 5), ())
    assert (second.frames, second.choice.alone) == ((5, 6, 7, 8, 9), False)


def test_a_short_clip_stays_whole_and_tokenflow_cannot_be_split() -> None:
    (whole,) = split_clip(20, EditSettings(interval=8), 4)
    assert whole.frames == tuple(range(20))
    with pytest.raises(ValueError, match=r"--devices: propagation\.mode tokenflow cannot be split"):
        split_clip(200, EditSettings(propagation=Propagation.tokenflow()), 2)


@pytest.fixture
def clip() -> Tensor:
    """24 frames in which something moves."""
    generator = torch.Generator().manual_seed(1)
    still = torch.rand(1, 3, 16, 40, generator=generator) * 2 - 1
    return torch.cat([still[..., n : n + 16] for n in range(24)])


@pytest.mark.parametrize(
    "settings",
    [SMALL, dataclasses.replace(SMALL, propagation=Propagation(mode="latent"))],
    ids=["tokens", "latent"],
)
def test_the_first_part_is_as_in_one_piece_and_the_others_almost(backbone, make_unet, clip, settings) -> None:
    editor = VideoEditor(backbone, None, make_unet(1), settings)

    def latents(frames: Tensor, part: ClipPart | None) -> tuple[Tensor, Tensor]:
        choice = None if part is None else part.choice
        with editor.prepare(TensorFrames(frames), PROMPTS, choice=choice) as edited:
            return edited.latents.edited.clone(), edited.latents.clean.clone()

    whole, clean = latents(clip, None)
    first, second = split_clip(len(clip), settings, 2)
    size = (whole - clean).abs().mean()
    for part in (first, second):
        edited = latents(clip[list(part.frames)], part)[0][part.own]
        difference = (edited - whole[part.first : part.stop]).abs().flatten(1).mean(1)
        if part is first:
            last = part.frames[max(k for k in part.choice.keyframes if part.frames[k] < part.stop)]
            assert difference[: last + 1].max() < 1e-5, "nothing of the first window is elsewhere"
        assert difference.max() < 0.25 * size
