"""Scores one edit of one rendered clip with the networks that were never trained against."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.editor import EditReport, TensorFrames, VideoEditor
from keyface.diffusion.settings import Prompts
from keyface.evaluation.judges import AttributeClassifier
from keyface.faces.recognition import Recognizer


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
    def miniature(cls, device: str | torch.device = "cpu") -> Self:
        """The networks that come with keyface; those that edit on the device, those that judge on the CPU."""
        from keyface.miniature import zoo

        backbone = zoo.backbone().to(device)
        return cls(
            backbone,
            zoo.identity_unet(backbone.unet),
            zoo.direction_unet(backbone.unet),
            zoo.recognizers(),
            zoo.attribute_classifier(),
        )


@dataclass(frozen=True)
class EditedClip:
    """What the editor gave, on the CPU.

    Attributes:
        frames: (T, 3, H, W) in [-1, 1].
        reconstruction: The same without an edit, which shows what is not the edit's doing; None where it
            was not asked for.
        report: The editor's.
    """

    frames: Tensor
    reconstruction: Tensor | None
    report: EditReport


def edit_clip(
    editor: VideoEditor, frames: Tensor, prompts: Prompts, with_reconstruction: bool = True
) -> EditedClip:
    """Edit frames (T, 3, H, W) in [-1, 1]; every frame's reconstruction costs further forwards of ε1."""
    edited: list[Tensor] = []
    kept: list[Tensor] = []
    report = editor.edit(
        TensorFrames(frames),
        prompts,
        edited.append,
        reconstruction_sink=kept.append if with_reconstruction else None,
    )
    return EditedClip(_joined(edited), _joined(kept) if with_reconstruction else None, report)


def _joined(chunks: list[Tensor]) -> Tensor:
    return torch.cat(chunks).float().cpu().clamp(-1, 1)
