"""FaceNet as facenet-pytorch publishes it: an evaluation recognizer of another architecture."""

from pathlib import Path
from typing import Self

from torch import Tensor, nn

from keyface.faces.facenet.inception_resnet import InceptionResnetV1
from keyface.faces.recognition import CropRecognizer
from keyface.faces.squares import crop_squares, detector_squares
from keyface.weights.states import give_state, read_state

SIZE = 160

# (x - 127.5) / 128 for x from 0 to 255, by which the network's images were scaled.
_SCALE = 127.5 / 128


class FaceNet(CropRecognizer):
    """Inception-ResNet-v1 behind keyface's `Recognizer` protocol; frozen, differentiable up to the images.

    Its training faces were boxes of a detector with a margin; `keyface.faces.squares.detector_squares` puts
    the five landmarks where they lie in such boxes.

    Args:
        network: Trained.
    """

    name = "FaceNet"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read `20180402-114759-vggface2.pt`, or the same weights as safetensors.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It holds other weights, or more than tensors.
        """
        # The published file also holds the classifier of the training's 8,631 people.
        state = {name: value for name, value in read_state(path).items() if not name.startswith("logits.")}
        network = InceptionResnetV1()
        give_state(network, state, path)
        return cls(network)

    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Cut faces out as the training's detector did, (B, 3, 160, 160)."""
        return crop_squares(images, detector_squares(landmarks), SIZE)

    def embed(self, faces: Tensor) -> Tensor:
        """Embed crops as (B, 512)."""
        embedding: Tensor = self.network(faces * _SCALE)
        return embedding
