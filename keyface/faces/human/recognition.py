"""Two identity networks: MobileFace, small and fast, and the descriptor of HSE-FaceRes."""

from pathlib import Path
from typing import ClassVar, Self

from torch import Tensor

from keyface.faces.human.crops import face_crops, template_crops
from keyface.faces.recognition import CropRecognizer
from keyface.faces.tfjs import GraphNetwork

SIZE = 224
_MEAN_BLUE_GREEN_RED = (103.939, 116.779, 123.68)


class HumanRecognizer(CropRecognizer):
    """An identity network of human's, differentiable up to the images.

    Args:
        network: Gives the embedding.
    """

    same_person: ClassVar[float]
    """Least cosine similarity of two pictures of one person."""

    def __init__(self, network: GraphNetwork) -> None:
        super().__init__()
        self.network = network


class MobileFaceRecognizer(HumanRecognizer):
    """MobileFace: 256 numbers from ArcFace's crop of 112 pixels."""

    name = "human's MobileFace"
    same_person = 0.32

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the network from the folder of human's files, see `GraphNetwork.load`."""
        return cls(GraphNetwork.load(folder / "mobileface.json", ("batchnorm0/add_1",)))

    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Cut faces out as the network's training did, (B, 3, 112, 112)."""
        return template_crops(images, landmarks)

    def embed(self, faces: Tensor) -> Tensor:
        """Embed crops as (B, 256)."""
        embedding: Tensor = self.network((faces + 1) * 127.5)[0]
        return embedding


class FaceResRecognizer(HumanRecognizer):
    """HSE-FaceRes: 1024 numbers from an upright crop of 224 pixels, with hair and chin."""

    name = "human's FaceRes"
    same_person = 0.53

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read the network from the folder of human's files, see `GraphNetwork.load`."""
        return cls(GraphNetwork.load(folder / "faceres.json", ("global_pooling/Mean",)))

    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Cut faces out with a margin, (B, 3, 224, 224)."""
        return face_crops(images, landmarks, SIZE)

    def embed(self, faces: Tensor) -> Tensor:
        """Embed crops as (B, 1024)."""
        embedding: Tensor = self.network(blue_green_red(faces))[0]
        return embedding


def blue_green_red(faces: Tensor) -> Tensor:
    """Prepare crops in [-1, 1] as networks that were trained with Caffe's colours take them."""
    mean = faces.new_tensor(_MEAN_BLUE_GREEN_RED).view(1, 3, 1, 1)
    return ((faces + 1) * 127.5).flip(1) - mean
