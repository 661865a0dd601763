"""ArcFace and CosFace as insightface publishes them: five-point alignment and an ONNX network."""

from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keyface.faces.alignment import TEMPLATE_SIZE, align
from keyface.faces.arcface.onnx_graph import OnnxGraph

_FIRST_NODES = 8


class ArcFace(nn.Module):
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

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """Embed faces as unit vectors.

        Args:
            images: (B, 3, H, W) RGB in [-1, 1], whole frames.
            landmarks: (B, 5, 2) pixels (x, y) in the frames.

        Returns:
            (B, 512), each of length 1.

        Raises:
            ValueError: There are no landmarks, or none from which a face can be aligned.
        """
        if landmarks is None:
            raise ValueError(f"{self.name} needs five landmarks for each face; detect them first")
        faces = align(images, landmarks)
        if self.normalizes:
            faces = (faces + 1) * 127.5
        # The graph stays in its own precision: half precision loses identities.
        with torch.autocast(faces.device.type, enabled=False):
            embedding: Tensor = self.network(faces)
        return F.normalize(embedding, dim=-1)
