"""Begins a U-Net for new latents with what one for other latents of the same pictures knows."""

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch import Tensor

from keyface.miniature.networks.autoencoder import PatchAutoencoder


@torch.no_grad()
def carry_over(
    unet: UNet2DConditionModel,
    known: UNet2DConditionModel,
    autoencoder: PatchAutoencoder,
    known_autoencoder: PatchAutoencoder,
    images: Tensor,
) -> None:
    """Copy a U-Net's weights, its first and last layer by way of the linear map between the latents.

    Both autoencoders must cut a picture into equally many patches, each in its own resolution, so that a cell
    of one stands for the same place as a cell of the other.

    Args:
        unet: Gets the weights; all its layers but the first and the last have the shapes of `known`'s.
        known: Trained on the latents of `known_autoencoder`.
        autoencoder: Of the new latents.
        known_autoencoder: Of the known latents.
        images: (B, 3, H, W) in [-1, 1] at the new autoencoder's resolution; a hundred are plenty.

    Raises:
        ValueError: The autoencoders do not have equally many cells.
    """
    shrink = autoencoder.config.patch_size / known_autoencoder.config.patch_size
    side = round(images.shape[-1] / shrink)
    smaller = F.interpolate(images, (side, side), mode="area")
    new = autoencoder.encode(images).latent_dist.mode()
    old = known_autoencoder.encode(smaller).latent_dist.mode()
    if new.shape[-2:] != old.shape[-2:]:
        raise ValueError(f"latents of {tuple(new.shape[-2:])} and {tuple(old.shape[-2:])} cells do not match")
    new, old = (latents.movedim(1, -1).flatten(0, 2).double() for latents in (new, old))
    to_old = torch.linalg.lstsq(new, old).solution.float()  # (new channels, old channels)
    to_new = torch.linalg.lstsq(old, new).solution.float()
    weights = known.state_dict()
    weights["conv_in.weight"] = torch.einsum("oikl,ni->onkl", weights["conv_in.weight"], to_old)
    weights["conv_out.weight"] = torch.einsum("oikl,on->nikl", weights["conv_out.weight"], to_new)
    weights["conv_out.bias"] = weights["conv_out.bias"] @ to_new
    unet.load_state_dict(weights)
