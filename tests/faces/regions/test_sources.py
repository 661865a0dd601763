"""Masks of regions for the crops of a clip: from label maps and from landmarks."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from keyface.celeba import REGION_IDS
from keyface.diffusion.backbone import Backbone
from keyface.editing.editor import EditSettings, Prompts, TensorFrames, VideoEditor
from keyface.faces.regions import LandmarkRegions, ParsedRegions, RegionMasks, crop_landmarks
from keyface.faces.regions.drawing import draw_regions
from keyface.miniature.population.world import draw_faces
from keyface.miniature.rendering.renderer import render

NAMES = ("skin", "mouth")


def points68(size: float) -> Tensor:
    """Anybody: a circle of points, which is a jaw, brows, eyes and a mouth to the source."""
    angles = torch.linspace(0, 2 * math.pi, 68)
    points = size / 2 + size / 4 * torch.stack([angles.cos(), angles.sin()], dim=1)
    for first, last, x, y in ((36, 42, 0.4, 0.4), (42, 48, 0.6, 0.4), (48, 68, 0.5, 0.65)):
        points[first:last] = size * torch.tensor([x, y]) + 0.1 * (points[first:last] - size / 2)
    return points


def test_labels_become_masks_a_few_crops_at_a_time() -> None:
    people = render(draw_faces(torch.arange(6), 0), 64)
    seen = []

    def label(crops: Tensor) -> Tensor:
        seen.append(len(crops))
        return people.mask[: len(crops)] if len(seen) == 1 else people.mask[4:]

    masks = ParsedRegions(label)(people.image, NAMES)
    assert seen == [4, 2]
    assert masks.shape == (6, 1, 64, 64)
    assert masks.dtype == torch.float32
    truth = (people.mask == REGION_IDS["skin"]) | (people.mask == REGION_IDS["mouth"])
    assert torch.equal(masks[:, 0] > 0.5, truth)
    assert 0.05 < masks.mean() < 0.5
    assert set(masks.unique().tolist()) == {0.0, 1.0}


def test_without_names_the_whole_picture_is_free_and_nothing_is_looked_at() -> None:
    def never(crops: Tensor) -> Tensor:
        raise AssertionError("looked at the crops")

    crops = torch.zeros(2, 3, 32, 32)
    for source in (ParsedRegions(never), LandmarkRegions(never)):
        masks = source(crops, ())
        assert masks.shape == (2, 1, 32, 32)
        assert (masks == 1).all()
        with pytest.raises(ValueError, match="unknown face regions"):
            source(crops, ("beard",))


def test_landmarks_become_the_drawn_masks() -> None:
    points = torch.stack([points68(100), points68(100).flip(0).roll(5, 0)])
    masks = LandmarkRegions(lambda crops: points)(torch.zeros(2, 3, 100, 100), NAMES)
    for mask, face in zip(masks, points, strict=True):
        assert torch.equal(mask[0], torch.from_numpy(draw_regions(face.numpy(), NAMES, 100).copy()) / 255)
    assert 0.02 < masks[0].mean() < 0.6


def test_frames_without_sane_landmarks_are_held_to_nothing() -> None:
    points = points68(64).repeat(6, 1, 1)
    points[1, 7, 0] = torch.nan
    points[2, 50] = torch.inf
    points[3] += 10_000
    points[4] = 20.0 + 0.03 * points[4]  # 1 pixel wide
    masks = LandmarkRegions(lambda crops: points)(torch.zeros(6, 3, 64, 64), NAMES)
    assert masks.isfinite().all()
    assert [bool((mask == 1).all()) for mask in masks] == [False, True, True, True, True, False]
    assert torch.equal(masks[0], masks[5])


def test_an_unknown_order_of_points_is_refused() -> None:
    with pytest.raises(ValueError, match="106 landmarks are in an unknown order; 68, 468, 478 are known"):
        LandmarkRegions(lambda crops: torch.rand(len(crops), 106, 2))(torch.zeros(1, 3, 8, 8), NAMES)


def test_networks_look_at_the_whole_crop_in_their_own_size() -> None:
    def corners(crops: Tensor) -> Tensor:
        assert crops.shape[-2:] == (16, 16)
        bright = crops[:, 0].flatten(1).argmax(dim=1)
        return (torch.stack([bright % 16, bright // 16], dim=1)[:, None] + 0.5) / 16

    crops = -torch.ones(2, 3, 64, 64)
    crops[0, :, 8:12, 40:44] = 1.0  # cell 10 across and 2 down of 16
    crops[1, :, 60:64, 0:4] = 1.0
    found = crop_landmarks(corners, 16)(crops)
    torch.testing.assert_close(found, torch.tensor([[[42.0, 10.0]], [[2.0, 62.0]]]))


def test_a_second_look_goes_to_the_square_of_a_detector() -> None:
    """A network that finds the centre of light to within a quarter of where it is from the middle."""

    def network(crops: Tensor) -> Tensor:
        weight = crops[:, 0] + 1
        steps = (torch.arange(112) + 0.5) / 112
        total = weight.sum(dim=(1, 2))
        place = torch.stack([(weight.sum(1) * steps).sum(1), (weight.sum(2) * steps).sum(1)], 1)
        place = torch.where(total[:, None] > 0, place / total[:, None], 0.5)
        face = torch.tensor([[-0.155, -0.1], [0.155, -0.1], [0.0, 0.05], [-0.12, 0.21], [0.12, 0.21]])
        return (0.5 + 0.75 * (place - 0.5))[:, None] + face

    crops = -torch.ones(1, 3, 448, 448)
    crops[..., 300:308, 200:208] = 1.0  # around (204, 304)
    error = {}
    for five in (None, lambda points: points):
        points = crop_landmarks(network, 112, five)(crops)[0]
        light = points.mean(dim=0) - torch.tensor([0.0, 0.054 * 448])
        error[five is None] = float((light - torch.tensor([204.0, 304.0])).norm())
    assert error[True] == pytest.approx(0.25 * math.hypot(20, 80), rel=0.1)
    assert error[False] < 0.5 * error[True]


def test_masks_come_in_the_chunks_of_the_clip_as_often_as_asked() -> None:
    crops = torch.rand(7, 3, 64, 64) * 2 - 1
    masks = RegionMasks(TensorFrames(crops), lambda part: ParsedRegions(_bright)(part, ("hair",)))
    for _ in range(2):
        chunks = list(masks.chunks(3))
        assert [len(chunk) for chunk in chunks] == [3, 3, 1]
        assert torch.equal(torch.cat(chunks)[:, 0] > 0, crops.mean(dim=1) > 0)
    with pytest.raises(ValueError, match="unknown face regions"):
        ParsedRegions(_bright)(crops, ("face",))


def test_an_edit_stays_inside_its_regions(tiny_backbone: Backbone) -> None:
    frames = torch.rand(3, 3, 32, 32) * 1.2 - 0.6
    frames[..., :16] -= 0.4
    frames[..., 16:] += 0.4
    regions = RegionMasks(TensorFrames(frames), lambda part: ParsedRegions(_right_half)(part, ("hair",)))
    editor = VideoEditor(tiny_backbone, None, None, EditSettings(steps=2, interval=2, chunk_size=2))
    edited: list[Tensor] = []
    editor.edit(TensorFrames(frames), Prompts("a man", "a woman"), edited.append, regions=regions)
    changed = (torch.cat(edited) != frames).any(dim=1)
    # Grown by 1 pixel (3 % of 32), and feathered by 3 standard deviations of 1.6.
    assert not changed[..., : 16 - 1 - 5].any()
    assert changed[..., 16:].any()


def _bright(crops: Tensor) -> Tensor:
    return torch.where(crops.mean(dim=1) > 0, REGION_IDS["hair"], 0)


def _right_half(crops: Tensor) -> Tensor:
    labels = np.zeros((len(crops), 32, 32), np.uint8)
    labels[..., 16:] = REGION_IDS["hair"]
    return torch.from_numpy(labels)
