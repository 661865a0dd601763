"""MediaPipe's face mesh: 468 points of a face, and whether there is one."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from keyface.faces.human.detector import Candidates
from keyface.faces.human.squares import Pyramid, around, from_squares
from keyface.faces.tfjs import GraphNetwork

SIZE = 192
MARGIN = 1.5
"""Side of the crop, of the longer side of the box or of what the points fill: as the network was trained."""

_LOOKS = 2
_STEADY = 0.03
"""How often the mesh is laid again, and how little its points then move, of the face's longer side."""

LEFT_EYE = (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7)
RIGHT_EYE = (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249)
NOSE, LEFT_MOUTH, RIGHT_MOUTH = 1, 61, 291
"""Points of the mesh, left and right as seen in the image."""


class FaceMesh(nn.Module):
    """Looks at upright crops of faces.

    Args:
        network: Gives the points and the presence of a face.
    """

    def __init__(self, network: GraphNetwork) -> None:
        super().__init__()
        self.network = network

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the network from the folder of human's files, see `GraphNetwork.load`."""
        return cls(GraphNetwork.load(folder / "facemesh.json", ("Identity_2", "Identity_1")))

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Look at crops (n, 3, 192, 192) in [-1, 1].

        Returns:
            Points (n, 468, 2) in fractions of the side, and presences (n,), 0 to 1.
        """
        points, presence = self.network((crops + 1) / 2)
        return points.view(len(crops), -1, 3)[..., :2] / SIZE, presence[:, 0]

    def locate(self, pyramid: Pyramid, found: Candidates, threshold: float) -> tuple[Tensor, Tensor]:
        """Lay the mesh on what a detector found; then again where the last one lies, until it rests.

        Args:
            pyramid: The image.
            found: What may be faces.
            threshold: Least presence of a face, also times the detector's score.

        Returns:
            Points (n, 468, 2) in pixels and scores (n,), presence times the detector's, of those that are
            faces.
        """
        corners = found.boxes.view(-1, 2, 2)
        squares = around(corners, found.eyes[:, 0], found.eyes[:, 1], MARGIN)
        box_sides = (corners[:, 1] - corners[:, 0]).amax(dim=1)
        squares[:, 2] = MARGIN * box_sides  # detectors' boxes are not turned with the face
        points, presence = self._lay(pyramid, squares)
        there = presence >= threshold
        points, scores = points[there], found.scores[there]
        results = [(points[:0], scores[:0])]
        for _ in range(_LOOKS):
            if not len(points):
                break
            before = points
            squares = around(before, before[:, LEFT_EYE[0]], before[:, RIGHT_EYE[0]], MARGIN)
            points, presence = self._lay(pyramid, squares)
            # On a face the mesh comes to rest; on what only looks like one it does not.
            moved = (points - before).norm(dim=-1).mean(dim=1) / (squares[:, 2] / MARGIN)
            there = presence >= threshold
            rests = there & (moved < _STEADY)
            sure = rests & (presence * scores >= threshold)
            results.append((points[sure], (presence * scores)[sure]))
            points, scores = points[there & ~rests], scores[there & ~rests]
        return torch.cat([each for each, _ in results]), torch.cat([each for _, each in results])

    def _lay(self, pyramid: Pyramid, squares: Tensor) -> tuple[Tensor, Tensor]:
        points, presence = self(pyramid.cut(squares, SIZE))
        return from_squares(points, squares), presence


def five_points(points: Tensor) -> Tensor:
    """Take the five landmarks (n, 5, 2), eyes, nose tip and mouth corners, out of the mesh (n, 468, 2)."""
    eyes = torch.stack([points[:, list(eye)].mean(dim=1) for eye in (LEFT_EYE, RIGHT_EYE)], dim=1)
    return torch.cat([eyes, points[:, [NOSE, LEFT_MOUTH, RIGHT_MOUTH]]], dim=1)
