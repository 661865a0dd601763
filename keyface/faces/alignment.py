"""Differentiable five-point alignment, as ArcFace's crops are made."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

TEMPLATE_SIZE = 112
TEMPLATE: tuple[tuple[float, float], ...] = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
"""Where ArcFace wants the five landmarks in its 112 by 112 crop, pixels (x, y)."""

_MIN_SPREAD_PIXELS = 1e-3
_MIN_ASPECT = 0.02


def sane_landmarks(landmarks: Tensor) -> Tensor:
    """Tell which landmarks (B, 5, 2) are finite and neither a point nor a line, (B,) bool."""
    finite = landmarks.isfinite().flatten(1).all(dim=1)
    spreads = _spreads(torch.where(finite[:, None, None], landmarks, 0.0))
    return finite & (spreads[:, 0] >= _MIN_SPREAD_PIXELS) & (spreads[:, 1] >= _MIN_ASPECT * spreads[:, 0])


def _spreads(landmarks: Tensor) -> Tensor:
    """Return the points' spread along their two axes (B, 2), largest first."""
    centred = landmarks - landmarks.mean(dim=1, keepdim=True)
    spreads: Tensor = torch.linalg.svdvals(centred.double())
    return spreads


def check_landmarks(landmarks: Tensor) -> None:
    """Refuse landmarks (B, 5, 2) from which no sane crop can be made; the message names the batch index.

    Values on a GPU are not looked at, since all that it has to do would have to be waited for: who brings
    landmarks there asks before.
    """
    if landmarks.dim() != 3 or landmarks.shape[1:] != (5, 2):
        raise ValueError(f"landmarks must have shape (B, 5, 2), not {tuple(landmarks.shape)}")
    if landmarks.is_cuda or isinstance(landmarks, FakeTensor):  # or shapes alone, as of a forecast
        return
    finite = landmarks.isfinite().flatten(1).all(dim=1)
    if not finite.all():
        raise ValueError(f"landmarks of face {_first(~finite)} are not finite; leave that face out")
    spreads = _spreads(landmarks)
    same = spreads[:, 0] < _MIN_SPREAD_PIXELS
    if same.any():
        raise ValueError(f"the five landmarks of face {_first(same)} are one point; detect them again")
    collinear = spreads[:, 1] < _MIN_ASPECT * spreads[:, 0]
    if collinear.any():
        raise ValueError(f"the five landmarks of face {_first(collinear)} lie on a line; detect them again")


def _first(flags: Tensor) -> int:
    return int(flags.nonzero()[0, 0])


def similarity_from_landmarks(landmarks: Tensor, target: Tensor) -> Tensor:
    """Fit the similarity (rotation, uniform scale, shift) that takes landmarks to a target, by least squares.

    Umeyama's solution in its closed two-dimensional form: with centred points p and q,
    `scale·(cos, sin) = (Σ p·q, Σ p×q) / Σ‖p‖²`. It never mirrors.

    Args:
        landmarks: (B, 5, 2) pixels (x, y).
        target: (5, 2) or (B, 5, 2) pixels (x, y).

    Returns:
        (B, 2, 3) matrices M, with `target ≈ M[:, :2] · landmark + M[:, 2]`.

    Raises:
        ValueError: Landmarks make no face, see `check_landmarks`.
    """
    check_landmarks(landmarks)
    # Under autocast the products would be bf16, in which pixel coordinates above 256 are 2 apart.
    with torch.autocast(landmarks.device.type, enabled=False):
        return _similarity(landmarks, target)


def _similarity(landmarks: Tensor, target: Tensor) -> Tensor:
    target = target.to(landmarks, non_blocking=True).expand_as(landmarks)
    source_mean, target_mean = landmarks.mean(dim=1), target.mean(dim=1)
    p, q = landmarks - source_mean[:, None], target - target_mean[:, None]
    norm = (p * p).sum(dim=(1, 2))
    cosine = (p * q).sum(dim=(1, 2)) / norm
    sine = (p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]).sum(dim=1) / norm
    linear = torch.stack([torch.stack([cosine, -sine], dim=1), torch.stack([sine, cosine], dim=1)], dim=1)
    shift = target_mean - _times(linear, source_mean[:, None])[:, 0]
    return torch.cat([linear, shift[..., None]], dim=2)


def _times(matrices: Tensor, points: Tensor) -> Tensor:
    """Multiply points (B, N, 2) by matrices (B, 2, 2); as a product of matrices, TF32 would round it."""
    return (matrices[:, None] * points[:, :, None]).sum(dim=3)


def align(images: Tensor, landmarks: Tensor, size: int = TEMPLATE_SIZE) -> Tensor:
    """Warp faces to ArcFace's crop, bilinearly, black outside the image; differentiable in the images.

    Pixel centres are at integer coordinates, as in OpenCV's `warpAffine`, which made the crops that
    ArcFace networks were trained on.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        landmarks: (B, 5, 2) pixels (x, y) in the images.
        size: Side of the crop; the template scales with it.

    Returns:
        (B, 3, size, size) in [-1, 1].
    """
    template = torch.tensor(TEMPLATE) * (size / TEMPLATE_SIZE)
    # Where the landmarks are, so that those on the CPU can be looked at.
    matrix = similarity_from_landmarks(landmarks.float(), template)
    matrix = matrix.to(images.device, non_blocking=images.is_cuda)
    steps = torch.arange(size, device=images.device, dtype=torch.float32)
    ys, xs = torch.meshgrid(steps, steps, indexing="ij")
    crop_points = torch.stack([xs, ys], dim=-1).view(1, -1, 2)
    with torch.autocast(images.device.type, enabled=False):
        inverse = torch.linalg.inv(matrix[:, :, :2])
        image_points = _times(inverse, crop_points - matrix[:, None, :, 2])
    height, width = images.shape[-2:]
    grid = torch.stack(
        [2 * image_points[..., 0] / (width - 1) - 1, 2 * image_points[..., 1] / (height - 1) - 1], dim=-1
    ).view(-1, size, size, 2)
    # The shift by 1 makes zero padding mean black.
    shifted = F.grid_sample(
        images.float() + 1, grid, mode="bilinear", padding_mode="zeros", align_corners=True
    )
    return shifted - 1
