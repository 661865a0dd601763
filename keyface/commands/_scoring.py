"""Scores one edit of one rendered clip with the networks that were never trained against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.editor import EditReport, TensorFrames, VideoEditor
from keyface.diffusion.settings import Prompts
from keyface.faces.recognition import Recognizer
from keyface.plugins import Category


class AttributeClassifier(Protocol):
    """Says which labels a face has."""

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        """Label → (B,) bool, for images (B, 3, H, W) in [-1, 1]."""
        ...


@dataclass(frozen=True)
class Networks:
    """Everything that edits and judges.

    Attributes:
        backbone: The frozen base.
        identity: ε1; None is the base's U-Net.
        direction: ε2; None is the base's U-Net.
        recognizers: Evaluation recognizers by name; ε1 was not trained against them.
        classifier: Says whether an edit is there; ε2 was not trained against it.
    """

    backbone: Backbone
    identity: UNet2DConditionModel | None
    direction: UNet2DConditionModel | None
    recognizers: Mapping[str, Recognizer]
    classifier: AttributeClassifier

    @classmethod
    def miniature(cls) -> Self:
        """The networks that come with keyface."""
        from keyface.miniature import zoo

        backbone = zoo.backbone()
        return cls(
            backbone,
            zoo.identity_unet(backbone.unet),
            zoo.direction_unet(backbone.unet),
            zoo.recognizers(),
            zoo.attribute_classifier(),
        )


@dataclass(frozen=True)
class EditedClip:
    """What the editor gave, on the CPU: both (T, 3, H, W) in [-1, 1]."""

    frames: Tensor
    reconstruction: Tensor
    report: EditReport


def edit_clip(editor: VideoEditor, frames: Tensor, prompts: Prompts) -> EditedClip:
    """Edit frames (T, 3, H, W) in [-1, 1] and keep the reconstruction, which shows what is not the edit's."""
    edited: list[Tensor] = []
    reconstructed: list[Tensor] = []
    report = editor.edit(
        TensorFrames(frames),
        prompts,
        edited.append,
        reconstruction_sink=reconstructed.append,
    )
    return EditedClip(
        torch.cat(edited).float().cpu().clamp(-1, 1),
        torch.cat(reconstructed).float().cpu().clamp(-1, 1),
        report,
    )


@torch.inference_mode()
def edit_success(classifier: AttributeClassifier, frames: Tensor, category: Category) -> float:
    """The share of frames (T, 3, H, W) whose attribute is as the category wants it after the edit."""
    present = classifier.predict(frames)[category.attribute]
    return float((present == category.present).float().mean())
