"""ArcFace and CosFace as insightface publishes them: five-point alignment and an ONNX network."""

from pathlib import Path
from typing import Self

from torch import Tensor

from keyface.faces.alignment import TEMPLATE_SIZE, align
from keyface.faces.arcface.onnx_graph import OnnxGraph
from keyface.faces.recognition import CropRecognizer

_FIRST_NODES = 8


class ArcFace(CropRecognizer):
    """A frozen recognition network on aligned faces, differentiable from the embedding to the image.

    It is f_arc of Eq. 5, and, with the weights of another loss (CosFace) or training set, an evaluation
    recognizer: see `keyface.faces.recognition.Recognizer`.

    Args:
        network: Takes aligned faces (B, 3, 112, 112).
        name: For messages and reports.

    Example:
        `ArcFace.from_file("models/buffalo-l/w600k_r50.onnx")(frames, landmarks)`
    """

    def __init__(self, network: OnnxGraph, name: str = "ArcFace") -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)
        self.name = name
        first = {node.kind for node in network.nodes[:_FIRST_NODES]}
        # Networks that came from MXNet subtract the mean and scale by themselves: they want 0 to 255.
        self.normalizes = {"Sub", "Mul"} <= first

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read one network of an insightface pack, such as `w600k_r50.onnx` or `glintr100.onnx`.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: It is no ONNX network that can be run, or not one for aligned faces.
        """
        network = OnnxGraph.from_file(path)
        if network.size not in (None, (TEMPLATE_SIZE, TEMPLATE_SIZE)):
            raise ValueError(
                f"{path}: takes pictures of {network.size}; a recognition network takes aligned faces of "
                f"{TEMPLATE_SIZE} by {TEMPLATE_SIZE}. Detectors and landmark networks lie in the same packs"
            )
        return cls(network, Path(path).stem)

    def crop(self, images: Tensor, landmarks: Tensor) -> Tensor:
        """Align faces to (B, 3, 112, 112)."""
        return align(images, landmarks)

    def embed(self, faces: Tensor) -> Tensor:
        """Embed aligned faces as (B, 512)."""
        embedding: Tensor = self.network((faces + 1) * 127.5 if self.normalizes else faces)
        return embedding
