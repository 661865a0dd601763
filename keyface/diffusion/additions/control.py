"""ControlNet: pictures, such as edges or depth, that a U-Net's output has to follow."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import Tensor

from keyface.diffusion.additions.weighted import Weighted
from keyface.diffusion.backbone import load_network
from keyface.diffusion.part_config import read_part_config
from keyface.opencv import load_opencv

ControlImages = Callable[[Sequence[int]], Tensor]
"""Frame numbers → their control images (F, 3, H, W) in [0, 1], at the size of the frames."""

_CANNY_THRESHOLDS = (100, 200)
"""Of 8-bit intensities, as in the pictures that the published canny networks learned from."""


@dataclass(frozen=True)
class ControlNet:
    """A ControlNet as a user gives it.

    Attributes:
        network: Gives residuals for the U-Net's blocks.
        strength: Factor of the residuals.
    """

    network: ControlNetModel
    strength: float = 1.0


@dataclass(frozen=True)
class Control:
    """A ControlNet and the control images of a batch's frames.

    Attributes:
        network: Gives residuals for the U-Net's blocks.
        images: (F, 3, H, W) in [0, 1]; a batch is (branch, frame) with these frames.
        strength: Factor of the residuals.
    """

    network: ControlNetModel
    images: Tensor
    strength: float = 1.0

    def residuals(self, latents: Tensor, timestep: int | Tensor, text: Tensor) -> dict[str, Any]:
        """Return what the U-Net adds to its blocks' outputs, as its arguments.

        Args:
            latents: (B, C, h, w), B = branches · F, as the U-Net gets them.
            timestep: Likewise.
            text: (B, L, D), likewise.
        """
        dtype, repeats = self.network.dtype, latents.shape[0] // len(self.images)
        images = self.images.to(latents.device, dtype).repeat(repeats, 1, 1, 1)
        down, middle = self.network(
            latents.to(dtype),
            timestep,
            encoder_hidden_states=text.to(dtype),
            controlnet_cond=images,
            conditioning_scale=self.strength,
            return_dict=False,
        )
        return {
            "down_block_additional_residuals": [each.to(latents.dtype) for each in down],
            "mid_block_additional_residual": middle.to(latents.dtype),
        }


def load_controlnet(given: Weighted, unet: UNet2DConditionModel) -> ControlNet:
    """Read a ControlNet from a folder of diffusers.

    Args:
        given: The folder.
        unet: What it is to control.

    Raises:
        FileNotFoundError: The folder lacks a file.
        ValueError: It holds something else, damaged weights, or a network for another kind of U-Net.
    """
    folder = given.path
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"--controlnet {folder}: has no config.json; a folder of diffusers is needed")
    config = read_part_config(folder)
    kind = config.get("_class_name")
    if kind != "ControlNetModel":
        raise ValueError(f"--controlnet {folder}: holds a {kind!s:.80}; a ControlNetModel is needed")
    for name in ("cross_attention_dim", "in_channels", "block_out_channels"):
        theirs, ours = (json.dumps(settings.get(name)) for settings in (config, unet.config))
        if theirs != ours:
            raise ValueError(
                f"--controlnet {folder}: made for another U-Net: its {name} is {theirs}, that of these "
                f"weights {ours}; use one for the same version of Stable Diffusion"
            )
    network: ControlNetModel = load_network(ControlNetModel, folder)
    return ControlNet(network.eval().requires_grad_(False), given.strength)


def canny_edges(frames: Tensor) -> Tensor:
    """Return the edges of frames (F, 3, H, W) uint8 as white lines, (F, 3, H, W) in [0, 1]."""
    cv2 = load_opencv("--control canny")
    edges = [cv2.Canny(frame.permute(1, 2, 0).contiguous().numpy(), *_CANNY_THRESHOLDS) for frame in frames]
    drawn = torch.stack([torch.from_numpy(each) for each in edges])
    return drawn[:, None].expand(-1, 3, -1, -1).float() / 255
