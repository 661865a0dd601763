import math

import pytest
import torch

from keyface.celeba import REGION_IDS
from keyface.metrics.locality import (
    BackgroundDrift,
    OutsideChange,
    background_drift,
    gain,
    outside_change,
    outside_psnr,
    person_mask,
    psnr,
)


def test_change_inside_the_region_is_free() -> None:
    reference, edited = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    region = torch.zeros(1, 4, 4, dtype=torch.bool)
    region[:, :2] = True
    edited[:, :, :2] = 1.0
    assert outside_change(edited, reference, region).item() == 0.0
    assert math.isinf(outside_psnr(edited, reference, region).item())


def test_outside_by_hand() -> None:
    """Half the frame is outside; a quarter of that moved by 0.4 of [-1, 1], 0.2 of the range."""
    reference, edited = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    region = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    region[:, :, :2] = True
    edited[:, :, 2, :2] = 0.4
    assert outside_change(edited, reference, region).item() == pytest.approx(0.2 / 4)
    assert outside_psnr(edited, reference, region).item() == pytest.approx(
        -10 * math.log10(0.04 / 4), rel=1e-5
    )


def test_region_over_everything_counts_nothing() -> None:
    everything = torch.ones(2, 4, 4, dtype=torch.bool)
    assert outside_change(torch.ones(2, 3, 4, 4), torch.zeros(2, 3, 4, 4), everything).item() == 0.0


def test_psnr_by_hand_and_clamped() -> None:
    reference = torch.zeros(1, 3, 2, 2)
    assert psnr(reference + 0.2, reference).item() == pytest.approx(20.0, abs=1e-4)
    assert psnr(torch.full_like(reference, 1.7), reference + 0.8).item() == pytest.approx(20.0, abs=1e-4)


def test_metric_weighs_pixels_across_ranks() -> None:
    first, second = OutsideChange(), OutsideChange()
    nothing = torch.zeros(1, 2, 2, dtype=torch.bool)
    half = torch.tensor([[[True, True], [False, False]]])
    first.update(torch.full((1, 3, 2, 2), 0.4), torch.zeros(1, 3, 2, 2), nothing)
    second.update(torch.full((1, 3, 2, 2), 1.0), torch.zeros(1, 3, 2, 2), half)
    first.merge_state(second)
    assert first.compute()["l1"].item() == pytest.approx((4 * 0.2 + 2 * 0.5) / 6)
    assert first.compute()["psnr"].item() == pytest.approx(
        -10 * math.log10((4 * 0.04 + 2 * 0.25) / 6), rel=1e-5
    )


def test_the_person_is_face_hair_and_what_is_worn_on_them() -> None:
    names = ("background", "skin", "hair", "hat", "eye_g", "ear_r", "neck", "cloth", "neck_l", "l_brow")
    labels = torch.tensor([[[REGION_IDS[name] for name in names]]])
    expected = [False, True, True, True, True, True, False, False, False, True]
    assert person_mask(labels)[0, 0].tolist() == expected


def test_background_drift_by_hand() -> None:
    """Of 4 columns the first is the person and the second to be edited; the third moves by 0.1 of [0, 1]."""
    reference, edited = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    edited[..., 0], edited[..., 1], edited[..., 2] = 1.0, 0.6, 0.2
    person, region = torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2, 1, 4, 4, dtype=torch.bool)
    person[..., 0] = True
    region[..., 1] = True
    assert background_drift(edited, reference, person, region).item() == pytest.approx(0.1 / 2)
    assert background_drift(edited, reference, person).item() == pytest.approx((0.3 + 0.1) / 3)
    assert background_drift(edited, reference, region=region).item() == pytest.approx((0.5 + 0.1) / 3)
    with pytest.raises(ValueError, match="person's mask or the edit's region"):
        background_drift(edited, reference)
    first, second = BackgroundDrift(), BackgroundDrift()
    first.update(edited[:1], reference[:1], person[:1], region[:1])
    second.update(reference, reference, person, region)
    first.merge_state(second)
    assert first.compute()["l1"].item() == pytest.approx(0.05 / 3)
    assert first.compute()["psnr"].item() == pytest.approx(-10 * math.log10(0.1**2 / 6), rel=1e-5)


def test_gain_by_hand() -> None:
    """The source is .04 from the faultless edit: nothing done is 0, half the way 1/2, twice as far off -1."""
    assert gain(0.04, 0.04) == 0
    assert gain(0.02, 0.04) == pytest.approx(0.5)
    assert gain(0.0, 0.04) == 1
    assert gain(0.08, 0.04) == pytest.approx(-1)


def test_an_edit_that_changes_less_than_one_step_of_8_bits_has_no_gain() -> None:
    assert gain(0.001, 0.0) is None
    assert gain(0.001, 0.0039) is None
    assert gain(0.001, 0.004) == pytest.approx(0.75)


def test_beyond_black_and_white_nothing_changes() -> None:
    """As in a file of 8 bits; 1.5 is 1.0 there."""
    inside, beyond = torch.tensor([[[[1.0, -1.0, 0.5]]]]), torch.tensor([[[[1.5, -3.0, 0.5]]]])
    nothing = torch.zeros(1, 1, 3, dtype=torch.bool)
    for edited, reference in ((inside, beyond), (beyond, inside)):
        assert outside_change(edited, reference, nothing).item() == 0.0
        assert math.isinf(psnr(edited, reference).item())


def test_one_value_outside_is_enough() -> None:
    edited, reference = torch.tensor([[[[0.4, 0.9]]]]), torch.zeros(1, 1, 1, 2)
    region = torch.tensor([[[False, True]]])
    assert outside_change(edited, reference, region).item() == pytest.approx(0.2)
    assert outside_psnr(edited, reference, region).item() == pytest.approx(-10 * math.log10(0.04))
    metric = OutsideChange()
    metric.update(edited, reference, region)
    assert metric.compute()["l1"].item() == pytest.approx(0.2)
    assert metric.compute()["psnr"].item() == pytest.approx(-10 * math.log10(0.04))
