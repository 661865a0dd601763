"""What tests name in configs: a tiny architecture of OpenCLIP, which every process must be told of."""

from pathlib import Path

import open_clip

from keyface.models.encoders import OpenClipEncoder


class TinyOpenClip(OpenClipEncoder):
    """OpenCLIP's model of a file beside its architecture, as the fixture `tiny_clip` writes them.

    Args:
        model: Architecture.
        weights: File.
    """

    def __init__(self, model: str, weights: str) -> None:
        open_clip.add_model_config(Path(weights).parent)
        super().__init__(model, weights)
