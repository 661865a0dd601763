"""Crops of faces as the networks that look at them were trained, from five landmarks."""

import torch
from torch import Tensor

from keyface.faces.alignment import TEMPLATE, TEMPLATE_SIZE, check_landmarks, similarity_from_landmarks
from keyface.faces.human.squares import cut_each

_SIDE = 3.67
_UP = 0.023
"""Side of a square with hair and chin, of the distance between the eyes or from eyes to mouth, and how far
its middle lies above that of eyes and mouth, of the side: so lie squares around the whole mesh of a face."""


def template_crops(images: Tensor, landmarks: Tensor) -> Tensor:
    """Cut ArcFace's crops (B, 3, 112, 112) out of images as `alignment.align` does, but without aliasing.

    Args:
        images: (B, 3, H, W) in [-1, 1].
        landmarks: (B, 5, 2) pixels (x, y).
    """
    check_landmarks(landmarks)
    landmarks = landmarks.to(device=images.device, dtype=torch.float32)
    # The template counts from the middle of the first pixel, squares from its edge.
    template = landmarks.new_tensor(TEMPLATE) + 0.5
    matrix = similarity_from_landmarks(landmarks, template)
    scale = matrix[:, :, 0].norm(dim=1)
    roll = torch.atan2(matrix[:, 0, 1], matrix[:, 0, 0])
    middle = torch.linalg.solve(matrix[:, :, :2], TEMPLATE_SIZE / 2 - matrix[:, :, 2])
    squares = torch.cat([middle, torch.stack([TEMPLATE_SIZE / scale, roll], dim=1)], dim=1)
    return cut_each(images, squares, TEMPLATE_SIZE)


def face_crops(images: Tensor, landmarks: Tensor, size: int, zoom: float = 1.0) -> Tensor:
    """Cut upright faces with hair and chin out of images, (B, 3, size, size).

    Args:
        images: (B, 3, H, W) in [-1, 1].
        landmarks: (B, 5, 2) pixels (x, y).
        size: Side of the crops, pixels.
        zoom: How many times larger the face shall be in its crop.
    """
    check_landmarks(landmarks)
    points = landmarks.to(device=images.device, dtype=torch.float32)
    eyes, mouth = points[:, :2].mean(dim=1), points[:, 3:].mean(dim=1)
    across, down = (points[:, 1] - points[:, 0]).unbind(dim=1)
    # Turned aside, eyes come closer; the face stays as high.
    side = _SIDE * torch.maximum(torch.hypot(across, down), (mouth - eyes).norm(dim=1))
    roll = torch.atan2(down, across)
    up = torch.stack([roll.sin(), -roll.cos()], dim=1)
    middle = (eyes + mouth) / 2 + _UP * side[:, None] * up
    squares = torch.cat([middle, torch.stack([side / zoom, roll], dim=1)], dim=1)
    return cut_each(images, squares, size)
