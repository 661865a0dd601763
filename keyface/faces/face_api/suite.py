"""All of face-api's networks together: from a photograph to what is known of the faces in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from keyface.faces.face_api.detector import TinyFaceDetector
from keyface.faces.face_api.features import (
    EXPRESSIONS,
    SIZE,
    AgeGenderNetwork,
    ExpressionNetwork,
    LandmarkNetwork,
    five_of_68,
)
from keyface.faces.face_api.recognition import FaceApiRecognizer
from keyface.faces.squares import crop_squares, squares_around


@dataclass(frozen=True)
class Face:
    """One face that was found.

    Attributes:
        box: (4,) pixels: left, top, right, bottom.
        score: How sure the detector is, 0 to 1.
        landmarks68: (68, 2) pixels (x, y), iBUG's order.
        landmarks: (5, 2) pixels (x, y): eyes, nose tip, mouth corners, as recognizers take them.
    """

    box: Tensor
    score: float
    landmarks68: Tensor
    landmarks: Tensor


class FaceApi(nn.Module):
    """Detector, landmarks, identity, expression, age and gender; frozen.

    Example:
        >>> faces = FaceApi.load(Path("models/face-api"))  # doctest: +SKIP
        >>> found = faces.find(images)[0][0]  # doctest: +SKIP
        >>> faces.recognizer(images, found.landmarks[None]).shape  # doctest: +SKIP
        torch.Size([1, 128])
    """

    def __init__(
        self,
        detector: TinyFaceDetector,
        landmarks: LandmarkNetwork,
        recognizer: FaceApiRecognizer,
        expression: ExpressionNetwork,
        age_gender: AgeGenderNetwork,
    ) -> None:
        super().__init__()
        self.detector = detector
        self.landmarks = landmarks
        self.recognizer = recognizer
        self.expression = expression
        self.age_gender = age_gender
        self.eval().requires_grad_(False)

    @classmethod
    def load(cls, folder: Path | str) -> Self:
        """Read the networks from the folder that `keyface weights get face-api` made.

        Raises:
            FileNotFoundError: Files are missing.
            ValueError: Files are damaged.
        """
        folder = Path(folder)
        return cls(
            TinyFaceDetector.load(folder),
            LandmarkNetwork.load(folder),
            FaceApiRecognizer.load(folder),
            ExpressionNetwork.load(folder),
            AgeGenderNetwork.load(folder),
        )

    @torch.no_grad()
    def find(self, images: Tensor, threshold: float = 0.5) -> list[list[Face]]:
        """Find faces and their landmarks.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            threshold: Least score of a face.

        Returns:
            The faces of each image, the surest first; an empty list where there is none.
        """
        found: list[list[Face]] = []
        for image, boxes in zip(images, self.detector.detect(images, threshold), strict=True):
            if not len(boxes.scores):
                found.append([])
                continue
            squares = squares_around(boxes.corners)
            crops = crop_squares(image.expand(len(squares), -1, -1, -1), squares, SIZE)
            points = squares[:, None, :2] + self.landmarks(crops) * squares[:, None, 2:]
            five = five_of_68(points)
            found.append(
                [
                    Face(box, float(score), dense, sparse)
                    for box, score, dense, sparse in zip(
                        boxes.corners, boxes.scores, points, five, strict=True
                    )
                ]
            )
        return found

    @torch.no_grad()
    def look(self, images: Tensor, faces: list[Face]) -> list[dict[str, float]]:
        """Say how one face of each image looks: age in years, the probability of male and of each expression.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1].
            faces: One a image.
        """
        points = torch.stack([face.landmarks68 for face in faces])
        low, high = points.amin(dim=1), points.amax(dim=1)
        padding = 0.1 * (high - low)
        crops = crop_squares(images, squares_around(torch.cat([low - padding, high + padding], dim=1)), SIZE)
        looks, expressions = self.age_gender(crops), self.expression(crops)
        return [
            {"age": float(age), "male": float(male)}
            | {name: float(value) for name, value in zip(EXPRESSIONS, values, strict=True)}
            for age, male, values in zip(looks.age, looks.male, expressions, strict=True)
        ]
