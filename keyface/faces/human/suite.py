"""All of human's networks together: from a picture to what is known of the faces in it."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn
from torchvision.ops import box_area

from keyface.faces.face import Face, Looks
from keyface.faces.human.detector import BlazeFace
from keyface.faces.human.looks import LookNetworks
from keyface.faces.human.mesh import FaceMesh, five_points
from keyface.faces.human.person import PersonNetwork
from keyface.faces.human.recognition import FaceResRecognizer, HumanRecognizer, MobileFaceRecognizer
from keyface.faces.human.squares import Pyramid

_SAME_FACE = 0.5


class HumanFaces(nn.Module):
    """Detector, mesh, two identity networks, age, sex, expression and a mask of people; frozen.

    Args:
        detector: Finds what may be faces.
        mesh: Lays 468 points on them, and says whether there is a face.
        recognizers: Identity networks by name; the first is `recognizer`.
        looks: Guesses age, sex and expression.
        people: Gives masks of people.

    Example:
        >>> faces = HumanFaces.load(Path("models/human"))  # doctest: +SKIP
        >>> found = faces.find(images)[0][0]  # doctest: +SKIP
        >>> faces.recognizer(images, found.landmarks[None]).shape  # doctest: +SKIP
        torch.Size([1, 1024])
    """

    knows = "real faces"

    def __init__(
        self,
        detector: BlazeFace,
        mesh: FaceMesh,
        recognizers: dict[str, HumanRecognizer],
        looks: LookNetworks,
        people: PersonNetwork,
    ) -> None:
        super().__init__()
        self.detector, self.mesh = detector, mesh
        self.recognizers = nn.ModuleDict(recognizers)
        self.recognizer = next(iter(recognizers.values()))
        self.looks, self.people = looks, people
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read the networks from the folder that `keyface weights get human` made.

        Raises:
            FileNotFoundError: Files are missing.
            ValueError: Files are damaged.
        """
        folder = Path(folder)
        return cls(
            BlazeFace.load(folder),
            FaceMesh.load(folder),
            {"faceres": FaceResRecognizer.load(folder), "mobileface": MobileFaceRecognizer.load(folder)},
            LookNetworks.load(folder),
            PersonNetwork.load(folder),
        )

    @torch.no_grad()
    def find(
        self, images: Tensor, candidate: float = 0.6, presence: float = 0.5, levels: int = 2
    ) -> list[list[Face]]:
        """Find faces with their meshes; the box is that of the mesh, the score detector's times presence.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            candidate: Least score of the detector.
            presence: Least presence of a face by the mesh, also times the detector's score.
            levels: 1 looks at the whole image; each further level also at square parts of it, for smaller
                faces: of the image's shorter side, of half of it and so on.

        Returns:
            The faces of each image, the surest first; an empty list where there is none.
        """
        return [self._find(image, candidate, presence, levels) for image in images.float()]

    def _find(self, image: Tensor, candidate: float, presence: float, levels: int) -> list[Face]:
        pyramid = Pyramid(image)
        found = self.detector.detect(pyramid, candidate, levels)
        if not len(found.scores):
            return []
        points, scores = self.mesh.locate(pyramid, found, presence)
        boxes = torch.cat([points.amin(dim=1), points.amax(dim=1)], dim=1)
        kept = _separate(boxes, scores)
        rows = zip(boxes[kept], scores[kept], five_points(points[kept]), points[kept], strict=True)
        return [Face(box, float(score), landmarks, mesh) for box, score, landmarks, mesh in rows]

    def look(self, images: Tensor, faces: list[Face]) -> list[Looks]:
        """Return how one face of each image looks.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            faces: One an image.
        """
        looks: list[Looks] = self.looks(images, torch.stack([face.landmarks for face in faces]))
        return looks

    def person(self, images: Tensor) -> Tensor:
        """Return where people are, (B, H, W) in [0, 1], in images (B, 3, H, W) in [-1, 1]."""
        mask: Tensor = self.people(images)
        return mask


def _separate(boxes: Tensor, scores: Tensor) -> Tensor:
    """Return which of (n,) faces stay, the surest first: none that lies for the most part on a surer one."""
    order = scores.argsort(descending=True)
    corners, areas = boxes[order], box_area(boxes[order])
    low = torch.maximum(corners[:, None, :2], corners[None, :, :2])
    high = torch.minimum(corners[:, None, 2:], corners[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2) / torch.minimum(areas[:, None], areas[None])
    kept: list[int] = []
    for index in range(len(order)):
        if not kept or shared[index, kept].max() < _SAME_FACE:
            kept.append(index)
    return order[kept]
