"""All of face-api's networks together: from a photograph to what is known of the faces in it."""

from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from keyface.faces.face import Face, Looks
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
from keyface.faces.face_api.ssd import SsdFaceDetector
from keyface.faces.squares import crop_squares, squares_around


class FaceApi(nn.Module):
    """Detector, landmarks, identity, expression, age and gender; frozen.

    Example:
        >>> faces = FaceApi.load(Path("models/face-api"))  # doctest: +SKIP
        >>> found = faces.find(images)[0][0]  # doctest: +SKIP
        >>> faces.recognizer(images, found.landmarks[None]).shape  # doctest: +SKIP
        torch.Size([1, 128])
    """

    knows = "real faces"

    def __init__(
        self,
        detector: SsdFaceDetector | TinyFaceDetector,
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

        The single-shot detector finds faces where its files are there; folders of earlier versions hold
        only the tiny one.

        Raises:
            FileNotFoundError: Files are missing.
            ValueError: Files are damaged.
        """
        folder = Path(folder)
        detector = SsdFaceDetector if SsdFaceDetector.is_in(folder) else TinyFaceDetector
        return cls(
            detector.load(folder),
            LandmarkNetwork.load(folder),
            FaceApiRecognizer.load(folder),
            ExpressionNetwork.load(folder),
            AgeGenderNetwork.load(folder),
        )

    @torch.no_grad()
    def find(self, images: Tensor) -> list[list[Face]]:
        """Find faces with 68 landmarks in iBUG's order (`points`), see `keyface.faces.face.FaceFinder`."""
        found: list[list[Face]] = []
        for image, boxes in zip(images, self.detector.detect(images), strict=True):
            if not len(boxes.scores):
                found.append([])
                continue
            points = self._points(image, boxes.corners)
            five = five_of_68(points)
            found.append(
                [
                    Face(box, float(score), sparse, dense)
                    for box, score, sparse, dense in zip(
                        boxes.corners, boxes.scores, five, points, strict=True
                    )
                ]
            )
        return found

    def _points(self, image: Tensor, corners: Tensor) -> Tensor:
        """Find landmarks (n, 68, 2) in boxes (n, 4), and again around those found, where they jump less."""
        for _ in range(2):
            squares = squares_around(corners)
            crops = crop_squares(image.expand(len(squares), -1, -1, -1), squares, SIZE)
            points: Tensor = squares[:, None, :2] + self.landmarks(crops) * squares[:, None, 2:]
            corners = _padded(points)
        return points

    @torch.no_grad()
    def look(self, images: Tensor, faces: list[Face]) -> list[Looks]:
        """Guess age, sex and expression, see `keyface.faces.face.FaceDescriber`.

        Raises:
            ValueError: A face has no 68 points, because another finder found it.
        """
        if any(face.points is None or face.points.shape != (68, 2) for face in faces):
            raise ValueError("face-api looks at faces that it found itself, with 68 points")
        if not faces:
            return []
        points = torch.stack([face.points for face in faces if face.points is not None])
        crops = crop_squares(images, squares_around(_padded(points)), SIZE)
        guesses, expressions = self.age_gender(crops), self.expression(crops)
        return [
            Looks(float(age), float(male), dict(zip(EXPRESSIONS, values.tolist(), strict=True)))
            for age, male, values in zip(guesses.age, guesses.male, expressions, strict=True)
        ]


def _padded(points: Tensor) -> Tensor:
    """Return boxes (n, 4) around landmarks (n, 68, 2), with a tenth more on each side as face-api takes."""
    low, high = points.amin(dim=1), points.amax(dim=1)
    padding = 0.1 * (high - low)
    return torch.cat([low - padding, high + padding], dim=1)
