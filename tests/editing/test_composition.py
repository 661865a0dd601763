"""Composition on small tensors by hand, and in the editor."""

import math
from dataclasses import replace

import pytest
import torch

from keyface.editing import composition
from keyface.editing.composition import Decoded, blur, change_mask, compose, grow, within_range
from keyface.editing.editor import (
    Composition,
    EditSettings,
    Prompts,
    TensorFrames,
    TensorMasks,
    VideoEditor,
)

PROMPTS = Prompts("a face", "a face with glasses")
BARE = Composition(low=0.08, high=0.2, blur=0.0, feather=0.0, smoothing=0.0, margin=0.0, replaced=4.0)
"""M is the soft threshold of |d|, pixel by pixel and frame by frame, and all of the clip's detail is kept."""
SMALL = EditSettings(steps=4, interval=4, window=2, anchors=1, chunk_size=3, guidance_scale=3.0)


def pictures(seed: int, frames: int = 9, size: int = 16) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A source, its round trip and an edit of the upper left quarter, each (T, 3, size, size)."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.rand(frames, 3, size, size, generator=generator) * 2 - 1
    kept = source + 0.05 * torch.randn(source.shape, generator=generator)
    edited = kept.clone()
    edited[:, :, : size // 2, : size // 2] += torch.rand(
        (frames, 3, size // 2, size // 2), generator=generator
    )
    return source, kept.clamp(-1, 1), edited.clamp(-1, 1)


def composed(source, kept, edited, settings, region=None, part=4):
    """Compose tensors in parts; return mask, change and frames of the whole clip."""
    regions = [None] * len(source) if region is None else region
    decoded = [Decoded(*each) for each in zip(source, kept, edited, regions, strict=True)]
    layers = list(compose((decoded[i : i + part] for i in range(0, len(decoded), part)), settings))
    assert [layer.first for layer in layers] == [
        sum(len(before.mask) for before in layers[:index]) for index in range(len(layers))
    ]
    return tuple(
        torch.cat([getattr(layer, name) for layer in layers]) for name in ("mask", "change", "edited")
    )


def test_equation_by_hand():
    """One row of four pixels: below the thresholds, in the middle, above; the largest channel decides."""
    source = torch.tensor([0.5, 0.5, 0.5, -0.5]).expand(3, 1, 4).clone()
    kept = source - 0.1
    d = torch.zeros(3, 1, 4)
    d[0, 0] = torch.tensor([0.08, 0.14, -0.3, -0.9])
    d[1, 0] = torch.tensor([0.01, 0.02, 0.1, 0.3])
    expected_mask = torch.tensor([[0.0, 0.5, 1.0, 1.0]])
    for mode, expected in {
        "detail": source + expected_mask * d,
        "mask": source + expected_mask * (kept + d - source),
        "off": kept + d,
    }.items():
        mask, change, frames = composed(source[None], kept[None], (kept + d)[None], replace(BARE, mode=mode))
        shown = expected if mode == "off" else expected.clamp(-1, 1)  # decoded frames are in range already
        torch.testing.assert_close(frames[0], shown)
        torch.testing.assert_close(source + change[0], expected)
        wanted = torch.ones(1, 1, 4) if mode == "off" else expected_mask[None]
        torch.testing.assert_close(mask[0], wanted)


def test_what_an_edit_replaces_takes_its_detail_with_it():
    """Changes of .1, .3 and .6 where all is gone from .4 on: all of the line s - r, half of it, nothing."""
    kept = torch.zeros(3, 1, 3)
    source = kept + 0.2
    edited = torch.tensor([0.1, 0.3, 0.6]).expand(3, 1, 3)
    settings = replace(BARE, low=0.01, high=0.02, replaced=0.4)
    mask, _, frames = composed(source[None], kept[None], edited[None], settings)
    assert mask.min() == 1.0
    assert frames[0, 0, 0].tolist() == pytest.approx([0.3, 0.4, 0.6])
    _, _, all_kept = composed(source[None], kept[None], edited[None], replace(settings, replaced=4.0))
    assert all_kept[0, 0, 0].tolist() == pytest.approx([0.3, 0.5, 0.8])


def test_composed_frames_stay_in_range():
    source = torch.tensor([0.9, -0.9, 1.1, 0.0]).expand(1, 3, 1, 4)
    kept = torch.zeros(1, 3, 1, 4)
    d = torch.tensor([0.5, -0.5, 0.0, 0.5]).expand(1, 3, 1, 4)
    _, _, frames = composed(source, kept, kept + d, BARE)
    assert frames[0, 0, 0].tolist() == pytest.approx([1.0, -1.0, 1.1, 0.5])
    assert within_range(torch.tensor(5.0), torch.tensor(1.1)) == pytest.approx(1.1)


@pytest.mark.parametrize("mode", ["detail", "mask"])
def test_outside_the_mask_every_pixel_is_the_source(mode):
    source, kept, edited = pictures(1, size=64)
    mask, change, frames = composed(source, kept, edited, Composition(mode=mode, blur=0.02, feather=0.02))
    outside = (mask == 0.0).expand_as(source)
    assert outside[:, :, 48:, :].all(), "the blurs' tails are cut off"
    assert outside[:, :, :, 48:].all()
    assert (mask[:, :, 8:16, 8:16] > 0.9).all()
    assert torch.equal(frames[outside], source[outside])
    assert (change[outside] == 0.0).all()


def test_an_empty_edit_changes_nothing():
    source, kept, _ = pictures(2)
    mask, change, frames = composed(source, kept, kept, Composition())
    assert torch.equal(frames, source)
    assert not mask.any()
    assert not change.any()


def test_detail_keeps_what_the_autoencoder_loses():
    """A round trip that loses the fine stripes: `detail` has them under a smooth change, `mask` has not."""
    stripes = 0.2 * torch.tensor([1.0, -1.0]).repeat(16).expand(3, 3, 32, 32)
    kept, edited = torch.zeros(3, 3, 32, 32), torch.full((3, 3, 32, 32), 0.5)
    _, _, detail = composed(stripes, kept, edited, Composition())
    torch.testing.assert_close(detail, stripes + 0.5)
    _, _, masked = composed(stripes, kept, edited, Composition(mode="mask"))
    torch.testing.assert_close(masked, edited)


def test_light_that_changes_needs_no_matching():
    """The clip brightens while the same d is added: outside M it is the clip, inside the clip plus d."""
    light = torch.linspace(-0.4, 0.4, 7).view(7, 1, 1, 1)
    source = light + torch.zeros(7, 3, 48, 48)
    kept = source * 0.9 + 0.02  # the autoencoder's own error of tone
    d = torch.zeros(7, 3, 48, 48)
    d[:, :, 12:36, 12:36] = 0.3
    _, _, frames = composed(source, kept, kept + d, Composition(blur=0.03, feather=0.04))
    added = frames - source
    torch.testing.assert_close(added, added[:1].expand_as(added), rtol=0, atol=1e-5)
    assert torch.equal(frames[:, :, :4], source[:, :, :4])
    steps = (frames[:, :, 24, 1:] - frames[:, :, 24, :-1]).abs().amax()
    assert steps < 0.3 + 1e-4, "no seam beyond the edge of d itself"
    _, _, pasted = composed(source, kept, kept + d, Composition(mode="mask", blur=0.03, feather=0.04))
    assert (pasted - source - added).abs().max() > 0.03, "plain masking brings the error of tone along"


@pytest.mark.parametrize("part", [1, 2, 5, 9, 50])
def test_frames_do_not_depend_on_parts(part):
    source, kept, edited = pictures(3)
    regions = (torch.rand(9, 1, 16, 16, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    expected = composed(source, kept, edited, Composition(smoothing=0.7), regions)
    found = composed(source, kept, edited, Composition(smoothing=0.7), regions, part)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("frames", [1, 2, 9, 20])
def test_smoothing_over_time_is_symmetric(frames):
    """The reversed clip has the reversed masks; a mask in one frame spreads alike to both sides."""
    source, kept, edited = pictures(4, frames)
    mask, _, _ = composed(source, kept, edited, Composition(smoothing=1.5))
    backwards, _, _ = composed(source.flip(0), kept.flip(0), edited.flip(0), Composition(smoothing=1.5))
    torch.testing.assert_close(backwards.flip(0), mask)


def test_smoothing_of_two_frames_of_deviation():
    """The weights of distances 0, 1, … are 1, e^(−1/8), …, and up to 6 frames count."""
    edited = torch.zeros(13, 3, 2, 2)
    edited[6] = 1.0
    source = torch.zeros_like(edited)
    mask, _, _ = composed(source, source, edited, replace(BARE, smoothing=2.0))
    weights = [math.exp(-(step**2) / 8) for step in range(7)]
    assert mask[6, 0, 0, 0] == pytest.approx(1.0 / (1.0 + 2 * sum(weights[1:])))
    assert mask[0, 0, 0, 0] == pytest.approx(weights[6] / sum(weights))


def test_smoothing_over_time_by_hand():
    source = torch.zeros(9, 3, 2, 2)
    edited = source.clone()
    edited[4] = 1.0
    mask, _, _ = composed(source, source, edited, replace(BARE, smoothing=1.0), part=2)
    weights = [math.exp(-(step**2) / 2) for step in range(4)]
    total = weights[0] + 2 * sum(weights[1:])
    expected = [weights[abs(frame - 4)] / total if abs(frame - 4) <= 3 else 0.0 for frame in range(9)]
    ends = weights[0] + sum(weights[1:]) + weights[1] + weights[2]  # frame 6 has only two frames after it
    expected[6] = weights[2] / ends
    expected[2] = expected[6]
    expected[1] = expected[7] = weights[3] / (weights[0] + sum(weights[1:]) + weights[1])
    assert mask[:, 0, 0, 0].tolist() == pytest.approx(expected)
    assert mask[0, 0, 0, 0] == mask[8, 0, 0, 0] == 0.0


def test_memory_is_flat():
    """No more frames are asked for ahead than three deviations of the smoothing."""
    source, kept, edited = pictures(5, 40)
    read = []

    def parts():
        for index, each in enumerate(zip(source, kept, edited, strict=True)):
            read.append(index)
            yield [Decoded(*each)]

    for layer in compose(parts(), Composition(smoothing=2.0)):
        assert len(read) - (layer.first + len(layer.mask)) <= 6


def test_regions_hold_the_mask():
    source = torch.zeros(1, 3, 40, 40)
    edited = torch.ones(1, 3, 40, 40)
    region = torch.zeros(1, 1, 40, 40)
    region[:, :, 10:20, 10:20] = 1.0
    mask, _, frames = composed(source, source, edited, replace(BARE, margin=0.1), region)
    expected = torch.zeros(1, 1, 40, 40)
    expected[:, :, 6:24, 6:24] = 1.0
    assert torch.equal(mask, expected)
    assert torch.equal(frames, expected.expand_as(frames))


def test_grow_by_hand():
    region = torch.zeros(1, 5, 6)
    region[0, 0, 0] = 1.0
    expected = torch.zeros(1, 5, 6)
    expected[0, :3, :3] = 1.0
    assert torch.equal(grow(region, 2), expected)
    expected[0, 2], expected[0, :, 2] = 0.0, 0.0
    assert torch.equal(grow(region, 1), expected)
    assert torch.equal(grow(region, 0), region)


def test_blur_by_hand():
    """A spike becomes the product of two Gaussians; one value everywhere stays, at the borders too."""
    image = torch.zeros(1, 27, 39)
    image[0, 13, 19] = 1.0
    row, column = (
        torch.exp(-0.5 * ((torch.arange(length) - middle) / 2.0) ** 2).where(
            (torch.arange(length) - middle).abs() <= 6, 0.0
        )
        for length, middle in ((27, 13), (39, 19))
    )
    expected = torch.outer(row / row.sum(), column / column.sum())
    torch.testing.assert_close(blur(image, 2.0)[0], expected, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(blur(torch.ones(1, 7, 9), 3.0), torch.ones(1, 7, 9))
    assert composition._gaussian_matrix(7, 3.0, torch.device("meta")).device.type == "meta"


def test_the_mask_follows_the_blurred_magnitude():
    """A wide change shows and a speck of the same height does not."""
    change = torch.zeros(3, 100, 100)
    change[1, 20:60, 20:60] = 0.3
    change[1, 90, 90] = 0.3
    mask = change_mask(change, Composition())
    assert mask[0, 40, 40] > 0.97
    assert mask[0, 90, 90] == 0.0


def test_tails_of_blurs_are_cut_to_zero():
    """Left half changed, its edge softened over 4 pixels: 2.5 deviations out .6 % would be left."""
    change = torch.zeros(3, 100, 100)
    change[:, :, :50] = 1.0
    mask = change_mask(change, replace(BARE, feather=0.04))[0, 50]
    assert mask[60:].tolist() == [0.0] * 40
    inside = math.erfc(4.5 / 4.0 / math.sqrt(2.0)) / 2.0  # share of the Gaussian of column 54 beyond the edge
    assert mask[54] == pytest.approx((inside - 0.02) / 0.98, abs=2e-3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"mode": "soft"}, "choose one of detail, mask, off"),
        ({"replaced": 0.0}, "composition.replaced is 0"),
        ({"low": -0.1}, "composition.low is -0.1"),
        ({"low": float("nan")}, "composition.low is nan"),
        ({"low": 0.3, "high": 0.2}, "composition.high is 0.2; it must be above composition.low"),
        ({"blur": 0.6}, "composition.blur is 0.6"),
        ({"smoothing": 100.0}, "composition.smoothing is 100"),
    ],
)
def test_bad_values(changes, told):
    with pytest.raises(ValueError, match=told):
        Composition(**changes)


@pytest.fixture
def editor(backbone, make_unet):
    return VideoEditor(backbone, None, make_unet(1), SMALL)


def test_layers_are_what_the_sink_gets(editor, frames):
    edited, _ = editor.edit_frames(frames, PROMPTS)
    with editor.prepare(TensorFrames(frames), PROMPTS) as clip:
        seen = []
        layers = list(clip.layers(seen.append))
        report = clip.report
    assert sum(seen) == len(frames) == report.frames
    assert "decode" in report.seconds
    torch.testing.assert_close(torch.cat([layer.edited for layer in layers]), edited)
    change = torch.cat([layer.change for layer in layers])
    torch.testing.assert_close((frames + change).clamp(-1, 1), edited)


def test_the_editor_composes_as_the_equation_says(editor, backbone, frames):
    """The layers of `detail` from those of `off`: d is the decoded edit minus the round trip."""
    by_mode = {}
    for mode in ("detail", "mask", "off"):
        settings = replace(SMALL, composition=Composition(mode=mode, smoothing=0.0))
        each = VideoEditor(backbone, None, editor.direction, settings)
        with each.prepare(TensorFrames(frames), PROMPTS) as clip:
            layers = list(clip.layers())
        by_mode[mode] = torch.cat([layer.edited for layer in layers])
        if mode == "detail":
            mask = torch.cat([layer.mask for layer in layers])
    with torch.no_grad():
        kept = backbone.decode_latents(backbone.encode_images(frames)).clamp(-1, 1)
    d = by_mode["off"] - kept
    expected = torch.stack([change_mask(each, Composition()) for each in d])
    torch.testing.assert_close(mask, expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(by_mode["detail"], (frames + mask * d).clamp(-1, 1), rtol=1e-3, atol=1e-3)
    pasted = frames + mask * (by_mode["off"] - frames)
    torch.testing.assert_close(by_mode["mask"], pasted, rtol=1e-3, atol=1e-3)


def test_regions_reach_the_masks(editor, frames):
    nowhere = TensorMasks(torch.zeros(len(frames), 1, *frames.shape[-2:], dtype=torch.bool))
    got = []
    editor.edit(TensorFrames(frames), PROMPTS, got.append, regions=nowhere)
    assert torch.equal(torch.cat(got), frames)


def test_regions_of_fewer_frames_are_refused(editor, frames):
    few = TensorMasks(torch.zeros(4, 1, *frames.shape[-2:]))
    with pytest.raises(ValueError, match="regions"):
        editor.edit(TensorFrames(frames), PROMPTS, lambda _: None, regions=few)


def test_masks_have_one_channel():
    with pytest.raises(ValueError, match=r"\(T, 1, H, W\) is needed"):
        TensorMasks(torch.zeros(2, 3, 4, 4))
