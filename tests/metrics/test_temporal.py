import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from keyface.metrics.temporal import TemporalLoss, pair_errors, temporal_loss, warp


def shifting_clip(frames: int, speed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Random texture moving right by `speed` pixels a frame; its exact flow."""
    texture = torch.rand(3, 12, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    start = 30 - 12
    clip = torch.stack([texture[:, :, start - speed * t : start - speed * t + 12] for t in range(frames)])
    flow = torch.zeros(frames - 1, 2, 12, 12)
    flow[:, 0] = speed
    return clip, flow


def test_warp_fetches_from_where_the_pixel_went() -> None:
    image = torch.arange(4.0).reshape(1, 1, 1, 4)
    flow = torch.zeros(1, 2, 1, 4)
    flow[:, 0] = 1.5
    warped, inside = warp(image, flow)
    assert warped[0, 0, 0, :2].tolist() == pytest.approx([1.5, 2.5])
    assert inside[0, 0].tolist() == [True, True, False, False]


def test_warp_is_scipys_linear_interpolation() -> None:
    generator = torch.Generator().manual_seed(1)
    images, flow = torch.rand(2, 3, 9, 14, generator=generator), torch.randn(2, 2, 9, 14, generator=generator)
    warped, inside = warp(images, 3 * flow)
    rows, columns = np.mgrid[0:9, 0:14]
    for image, displacement, found, kept in zip(images, 3 * flow, warped, inside, strict=True):
        y, x = rows + displacement[1].numpy(), columns + displacement[0].numpy()
        assert torch.equal(kept, torch.from_numpy((x >= 0) & (x <= 13) & (y >= 0) & (y <= 8)))
        for channel, values in zip(image, found, strict=True):
            expected = map_coordinates(channel.numpy(), [y, x], order=1, mode="nearest")
            np.testing.assert_allclose(values.numpy(), expected, atol=1e-5)


def test_flow_of_another_precision_and_on_another_device() -> None:
    images, flow = torch.arange(4.0).reshape(1, 1, 1, 4), torch.zeros(1, 2, 1, 4, dtype=torch.float64)
    flow[:, 0] = 0.5
    warped, _ = warp(images, flow)
    assert warped.dtype == torch.float32
    assert warped[0, 0, 0, :3].tolist() == pytest.approx([0.5, 1.5, 2.5])
    assert {each.device.type for each in warp(images.to("meta"), flow.to("meta"))} == {"meta"}


def test_pure_motion_costs_nothing() -> None:
    clip, flow = shifting_clip(4, speed=2)
    assert temporal_loss(clip, flow).item() == pytest.approx(0.0, abs=1e-6)
    assert temporal_loss(clip, torch.zeros_like(flow)).item() > 0.1


def test_flicker_by_hand_and_both_normalizations() -> None:
    """Three grey frames at 0, 0.4, 0 in [-1, 1]: each pair differs by 0.2 of the [0, 1] range."""
    clip = torch.tensor([0.0, 0.4, 0.0]).reshape(3, 1, 1, 1).expand(3, 3, 5, 5)
    flow = torch.zeros(2, 2, 5, 5)
    assert temporal_loss(clip, flow).item() == pytest.approx(0.2)
    assert temporal_loss(clip, flow, normalization="frames").item() == pytest.approx(0.2 * 2 / 3)


def test_hidden_pixels_do_not_count() -> None:
    clip = torch.zeros(2, 3, 2, 2)
    clip[1, :, 0, 0] = 1.0
    clip[1, :, 1, 1] = 0.5
    flow = torch.zeros(1, 2, 2, 2)
    valid = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    assert pair_errors(clip, flow, valid).item() == pytest.approx((0.5 + 0.25) / 4)
    valid[0, 0, 0, 0] = False
    assert pair_errors(clip, flow, valid).item() == pytest.approx(0.25 / 3)
    assert pair_errors(clip, flow, torch.zeros_like(valid)).item() == 0.0


def test_one_frame_and_a_wrong_number_of_flows() -> None:
    assert temporal_loss(torch.zeros(1, 3, 4, 4), torch.zeros(0, 2, 4, 4)).item() == 0.0
    with pytest.raises(ValueError, match="3 frames need 2 flow fields, got 3"):
        temporal_loss(torch.zeros(3, 3, 4, 4), torch.zeros(3, 2, 4, 4))


def test_metric_averages_clips_across_ranks() -> None:
    flow = torch.zeros(1, 2, 4, 4)
    still, blink = torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)
    blink[1] = 0.6
    first, second = TemporalLoss(), TemporalLoss()
    first.update(still, flow)
    second.update(blink, flow)
    second.update(blink, flow)
    first.merge_state(second)
    assert first.compute().item() == pytest.approx((0 + 0.3 + 0.3) / 3)
    by_frames = TemporalLoss("frames")
    by_frames.update(blink, flow, torch.ones(1, 4, 4, dtype=torch.bool))
    assert by_frames.compute().item() == pytest.approx(0.3 / 2)
    by_frames.update(blink, flow, torch.zeros(1, 4, 4, dtype=torch.bool))
    assert by_frames.compute().item() == pytest.approx(0.3 / 4)
