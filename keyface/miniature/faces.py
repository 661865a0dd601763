"""The miniature's networks on faces that a finder found anywhere in a frame: identity, sex and smile."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.alignment import align
from keyface.faces.crops import Placement, cut
from keyface.faces.face import Face, Looks
from keyface.miniature.networks.attributes import AttributeClassifier
from keyface.miniature.networks.recognition import IdentityNetwork

_SIDE = 128


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
        placement: How faces lie in such frames.
    """

    def __init__(self, classifier: AttributeClassifier, placement: Placement) -> None:
        self.classifier, self.placement = classifier, placement

    @torch.no_grad()
    def look(self, images: Tensor, faces: list[Face]) -> list[Looks]:
        """See `keyface.faces.face.FaceDescriber`; a smile is the expression `happy`."""
        if not faces:
            return []
        squares = self.placement.squares(torch.stack([face.landmarks for face in faces]).cpu())
        logits = self.classifier(cut(images, squares.to(images.device), _SIDE)).sigmoid()
        chances = dict(zip(self.classifier.labels, logits.unbind(dim=1), strict=True))
        rows = zip(chances["Male"].tolist(), chances["Smiling"].tolist(), strict=True)
        return [Looks(male=male, expressions={"happy": smiling}) for male, smiling in rows]
