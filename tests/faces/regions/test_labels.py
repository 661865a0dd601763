import pytest
import torch

from keyface.faces.regions import dilate, region_mask


def test_region_mask_marks_the_named_classes_only() -> None:
    labels = torch.tensor([[[0, 3], [13, 1]]], dtype=torch.uint8)
    assert region_mask(labels, ["eye_g", "hair"]).tolist() == [[[False, True], [True, False]]]
    assert not region_mask(labels, []).any()


def test_unknown_region_is_refused() -> None:
    with pytest.raises(ValueError, match="'beard'"):
        region_mask(torch.zeros(1, 2, 2, dtype=torch.uint8), ["hair", "beard"])


def test_dilate_grows_by_the_radius() -> None:
    mask = torch.zeros(1, 7, 7, dtype=torch.bool)
    mask[0, 3, 3] = True
    assert dilate(mask, 0) is mask
    grown = dilate(mask, 2)
    assert grown.sum() == 25
    assert grown[0, 1:6, 1:6].all()
