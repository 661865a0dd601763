import torch

from keyface.faces.squares import EYES_APART, EYES_DOWN, MOUTH_DOWN, crop_squares, detector_squares


def test_a_square_of_the_crop_s_size_is_copied() -> None:
    images = torch.rand(2, 3, 20, 30, generator=torch.Generator().manual_seed(0)) * 2 - 1
    crops = crop_squares(images, torch.tensor([[4.0, 3.0, 8.0], [10.0, 0.0, 8.0]]), 8)
    torch.testing.assert_close(crops[0], images[0, :, 3:11, 4:12], atol=1e-5, rtol=0)
    torch.testing.assert_close(crops[1], images[1, :, 0:8, 10:18], atol=1e-5, rtol=0)


def test_a_larger_square_is_averaged_and_the_outside_is_black() -> None:
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    crop = crop_squares(images, torch.tensor([[0.0, 0.0, 16.0]]), 8)
    torch.testing.assert_close(crop, torch.nn.functional.avg_pool2d(images, 2), atol=1e-5, rtol=0)
    crop = crop_squares(images, torch.tensor([[-8.0, 0.0, 8.0]]), 8)
    assert torch.allclose(crop[..., :7], torch.tensor(-1.0))


def test_gradients_reach_the_square_alone() -> None:
    images = torch.zeros(1, 3, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(crop_squares(images, torch.tensor([[4.0, 4.0, 4.0]]), 4).sum(), images)
    torch.testing.assert_close(gradient[..., 4:8, 4:8], torch.ones(1, 3, 4, 4), atol=1e-5, rtol=0)
    assert gradient[..., 10:, :].abs().max() < 1e-5


def test_the_square_around_five_landmarks_is_the_detector_s() -> None:
    """Landmarks put where a box of side 100 at (50, 20) has them."""
    eye, mouth = 20 + 100 * EYES_DOWN, 20 + 100 * MOUTH_DOWN
    half = 50 * EYES_APART
    landmarks = torch.tensor(
        [[[100 - half, eye], [100 + half, eye], [100.0, 75.0], [90.0, mouth], [110.0, mouth]]]
    )
    torch.testing.assert_close(detector_squares(landmarks), torch.tensor([[50.0, 20.0, 100.0]]))
