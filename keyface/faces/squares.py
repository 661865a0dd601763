"""Where a face detector's box would lie, given five landmarks."""

import torch
from torch import Tensor

from keyface.faces.alignment import check_landmarks

EYES_APART = 0.31
EYES_DOWN = 0.40
MOUTH_DOWN = 0.71
"""Of the box's side. ArcFace's template has the face fill its 112 pixels; a detector's box with the margin of
FaceNet's training, 32 of 160 pixels, is wider by a quarter: an estimate, the boxes were not published."""


def detector_squares(landmarks: Tensor) -> Tensor:
    """Upright squares (B, 3), see `keyface.faces.crops`, around faces with landmarks (B, 5, 2)."""
    check_landmarks(landmarks)
    points = landmarks.float()
    eyes, mouth = points[:, :2].mean(dim=1), points[:, 3:].mean(dim=1)
    apart = (points[:, 1] - points[:, 0]).norm(dim=-1) / EYES_APART
    height = (mouth - eyes).norm(dim=-1) / (MOUTH_DOWN - EYES_DOWN)
    side = torch.maximum(apart, height)  # turned aside, eyes come closer; the face stays as high
    middle = (eyes + mouth) / 2
    down = (EYES_DOWN + MOUTH_DOWN) / 2
    return torch.stack([middle[:, 0] - side / 2, middle[:, 1] - down * side, side], dim=1)
