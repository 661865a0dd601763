"""Trains the miniature's face detector."""

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.faces.squares import detector_squares
from keyface.lightning_modules.miniature.base import Batch, MiniatureModule
from keyface.miniature.networks.face_detector import STRIDE, FaceDetector, cell_middles

_HARD, _NEAR = 2.0, 4.0
"""Exponents of CenterNet's focal loss (Zhou et al. 2019)."""

_SPREAD = 0.16
"""Standard deviation of the target around a face's middle, in sides of the face."""


class FaceDetectionModule(MiniatureModule):
    """CenterNet's focal loss on the middles of faces, and the error of landmarks in sides of the face.

    Args:
        width: Channels.
        landmark_weight: Weight of the landmarks' error.
        lr: Peak learning rate.
        flat: Fraction of the run before the learning rate falls.
    """

    network: FaceDetector

    def __init__(
        self,
        width: int = 48,
        landmark_weight: float = 4.0,
        lr: float = 3e-3,
        flat: float = 0.5,
    ) -> None:
        super().__init__(lr=lr, flat=flat)
        self.save_hyperparameters()
        self.network = FaceDetector(width)
        self.landmark_weight = landmark_weight

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted sum of both losses."""
        found, landmarks = self._losses(batch)
        self.log_dict({"train/middles": found, "train/landmarks": landmarks}, prog_bar=True)
        return found + self.landmark_weight * landmarks

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log both losses on scenes of held-out people."""
        found, landmarks = self._losses(batch)
        size = len(batch["image"])
        self.log_dict({"val/middles": found, "val/landmarks": landmarks}, batch_size=size, prog_bar=True)

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, places = self.network(batch["image"])
        middles = cell_middles(logits.shape[1], logits.shape[2], logits.device)
        heat = torch.zeros_like(logits)
        counted = torch.ones_like(logits)
        errors = []
        for number, (points, visible) in enumerate(zip(batch["landmarks"], batch["visible"], strict=True)):
            if not len(points):
                continue
            sides = detector_squares(points)[:, 2]
            apart = (middles - points.mean(dim=1)[:, None, None]).norm(dim=-1)  # (n, h, w)
            near = torch.exp(-0.5 * (apart / (_SPREAD * sides[:, None, None])) ** 2)
            own = apart < 0.7 * STRIDE
            sure = torch.where(own, 1.0, near)
            heat[number] = torch.maximum(
                heat[number], sure[visible].amax(0) if visible.any() else heat[number]
            )
            # What is mostly outside is neither a face nor none.
            counted[number][(near[~visible] > 0.05).any(0)] = 0
            for face in visible.nonzero().flatten().tolist():
                cells = sure[face] > 0.3
                errors.append((places[number][cells] - points[face]).abs().mean((1, 2)) / sides[face])
        middle = heat >= 0.999
        probability = logits.sigmoid().clamp(1e-5, 1 - 1e-5)
        positive = -((1 - probability) ** _HARD) * F.logsigmoid(logits) * middle
        negative = -((1 - heat) ** _NEAR) * probability**_HARD * F.logsigmoid(-logits) * ~middle
        count = (middle * counted).sum().clamp_min(1)
        found = ((positive + negative) * counted).sum() / count
        return found, torch.cat(errors).mean() if errors else logits.sum() * 0
