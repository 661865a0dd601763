"""The miniature's networks on faces that a finder found anywhere in a frame: identity, sex and smile."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.alignment import TEMPLATE, align, check_landmarks
from keyface.faces.face import Face, Looks
from keyface.faces.squares import crop_squares
from keyface.miniature.networks.attributes import AttributeClassifier
from keyface.miniature.networks.recognition import IdentityNetwork

_SIDE = 128
_FACE_SCALE = 0.65  # of the miniature's faces: side of ArcFace's crop, in sides of the frame
_FACE_CENTRE = (0.5, 0.62)  # of their landmarks


class LandmarkRecognizer(nn.Module):
    """A recognizer that finds faces itself, given their landmarks instead: see `Recognizer`.

    Args:
        network: Its own finder is not asked.
    """

    def __init__(self, network: IdentityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """Embed the faces of images (B, 3, H, W) in [-1, 1] with landmarks (B, 5, 2) as unit vectors (B, D).

        Raises:
            ValueError: There are no landmarks, or none that make a face.
        """
        if landmarks is None:
            raise ValueError("the miniature's recognizer needs five landmarks for each face")
        network = self.network
        faces = align(images, landmarks, network.input_size)
        embedding: Tensor = network.norm(network.embed(network.body(faces).flatten(1)))
        return F.normalize(embedding, dim=1)


class MiniatureDescriber:
    """Guesses sex and smile of rendered faces; of age the classifier knows young from old alone, no years.

    Args:
        classifier: Says which labels a frame of the miniature has.
    """

    def __init__(self, classifier: AttributeClassifier) -> None:
        self.classifier = classifier

    @torch.no_grad()
    def look(self, images: Tensor, faces: list[Face]) -> list[Looks]:
        """See `keyface.faces.face.FaceDescriber`; a smile is the expression `happy`."""
        if not faces:
            return []
        squares = frame_squares(torch.stack([face.landmarks for face in faces]))
        logits = self.classifier(crop_squares(images, squares, _SIDE)).sigmoid()
        chances = dict(zip(self.classifier.labels, logits.unbind(dim=1), strict=True))
        rows = zip(chances["Male"].tolist(), chances["Smiling"].tolist(), strict=True)
        return [Looks(male=male, expressions={"happy": smiling}) for male, smiling in rows]


def frame_squares(landmarks: Tensor) -> Tensor:
    """Return squares (B, 3) that hold faces with landmarks (B, 5, 2) as the miniature's frames do."""
    check_landmarks(landmarks)
    template = torch.tensor(TEMPLATE, device=landmarks.device)
    apart = (template - template.mean(dim=0)).norm() / 112
    middles = landmarks.mean(dim=1)
    spread = (landmarks - middles[:, None]).flatten(1).norm(dim=1, keepdim=True)
    sides = spread / (apart * _FACE_SCALE)
    across = sides * landmarks.new_tensor(_FACE_CENTRE)
    return torch.cat([middles - across, sides], dim=1)
