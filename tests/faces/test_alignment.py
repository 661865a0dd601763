import math
from typing import Any

import numpy as np
import pytest
import torch
from skimage.transform import SimilarityTransform
from torch.utils._python_dispatch import TorchDispatchMode

from keyface.faces.alignment import TEMPLATE, align, similarity_from_landmarks
from keyface.faces.squares import crop_squares

TARGET = torch.tensor(TEMPLATE)


def posed_landmarks(angle: float, scale: float, shift: tuple[float, float]) -> torch.Tensor:
    """The template turned, scaled and shifted: its alignment must undo exactly that."""
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    return (TARGET @ turn.T * scale + torch.tensor(shift))[None]


def test_similarity_undoes_a_known_pose() -> None:
    landmarks = posed_landmarks(0.3, 2.0, (5.0, -7.0))
    matrix = similarity_from_landmarks(landmarks, TARGET)
    moved = landmarks @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]
    torch.testing.assert_close(moved[0], TARGET, atol=1e-4, rtol=0)
    assert math.isclose(matrix[0, 0, 0], math.cos(0.3) / 2, rel_tol=1e-5)


def test_similarity_agrees_with_scikit_image_on_noisy_landmarks() -> None:
    generator = torch.Generator().manual_seed(3)
    landmarks = TARGET + 4 * torch.randn(6, 5, 2, generator=generator)
    ours = similarity_from_landmarks(landmarks, TARGET)
    for index, points in enumerate(landmarks.double().numpy()):
        theirs = SimilarityTransform.from_estimate(points, TARGET.double().numpy())
        np.testing.assert_allclose(ours[index].numpy(), theirs.params[:2], atol=1e-4)


def test_align_with_template_landmarks_returns_the_image() -> None:
    images = torch.rand(2, 3, 112, 112) * 2 - 1
    crop = align(images, TARGET.expand(2, 5, 2))
    torch.testing.assert_close(crop, images, atol=1e-4, rtol=0)


def test_align_shifts_by_whole_pixels_and_fills_with_black() -> None:
    images = torch.rand(1, 3, 112, 112) * 2 - 1
    crop = align(images, TARGET[None] + torch.tensor([10.0, 0.0]))  # the face stands 10 px to the right
    torch.testing.assert_close(crop[..., :102], images[..., 10:], atol=1e-4, rtol=0)
    assert torch.allclose(crop[..., 103:], torch.tensor(-1.0))


def test_faces_are_cut_under_autocast_as_without() -> None:
    """Faces of 512 pixels, whose coordinates bf16 cannot hold."""
    images = torch.rand(2, 3, 512, 512, generator=torch.Generator().manual_seed(0)) * 2 - 1
    landmarks = torch.cat(
        [posed_landmarks(0.2, 3.0, (120.3, 60.7)), posed_landmarks(-0.3, 2.5, (90.0, 150.1))]
    )
    squares = torch.tensor([[130.3, 70.7, 301.9], [260.1, 255.3, 210.7]])
    expected = align(images, landmarks), crop_squares(images, squares, 160)
    matrix = similarity_from_landmarks(landmarks, TARGET)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(align(images, landmarks), expected[0])
        assert torch.equal(crop_squares(images, squares, 160), expected[1])
        assert torch.equal(similarity_from_landmarks(landmarks, TARGET), matrix)


def test_no_pixel_goes_through_a_product_of_matrices() -> None:
    """An H200 with TF32, which rounds what such a product gets to 11 bits, was 59 dB from the CPU."""
    used: set[str] = set()

    class Used(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            used.add(func.__name__)
            return func(*args, **(kwargs or {}))

    with Used():
        align(torch.zeros(2, 3, 64, 64), torch.tensor(TEMPLATE).expand(2, 5, 2))
    assert "mul.Tensor" in used
    assert not {name for name in used if name.split(".")[0] in ("mm", "bmm", "addmm", "baddbmm")}


def test_gradients_reach_the_image() -> None:
    images = torch.zeros(1, 3, 64, 64, requires_grad=True)
    (gradient,) = torch.autograd.grad(align(images, TARGET[None] * (64 / 112), size=56).sum(), images)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("landmarks", "message"),
    [
        (torch.zeros(1, 5, 2), "face 0 are one point"),
        (torch.arange(5.0)[None, :, None].expand(1, 5, 2), "lie on a line"),
        (torch.full((1, 5, 2), math.nan), "not finite"),
        (torch.zeros(5, 2), r"shape \(B, 5, 2\)"),
    ],
)
def test_bad_landmarks_are_refused(landmarks: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        similarity_from_landmarks(landmarks, TARGET)


def test_the_bad_face_of_a_batch_is_named() -> None:
    landmarks = torch.stack([TARGET, torch.zeros(5, 2)])
    with pytest.raises(ValueError, match="face 1 "):
        similarity_from_landmarks(landmarks, TARGET)
