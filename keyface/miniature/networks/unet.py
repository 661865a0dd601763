"""The miniature's U-Net and noise schedule."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from keyface.editing.attention import attend, finish


class FullPrecisionAttention:
    """Self- and cross-attention in float32, also under autocast.

    For training in bf16 on CPUs: all other layers gain from bf16 there, but the backward pass of the
    attention's bf16 kernel takes four times as long as that of the float32 one.
    """

    def __call__(
        self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None, **_: Any
    ) -> Tensor:
        """Attend from (B, S, C) to itself or to (B, S', C')."""
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context)
        with torch.autocast(query.device.type, enabled=False):
            attended = attend(attn, query.float(), key.float(), value.float())
        return finish(attn, attended.to(query.dtype))


def build_unet(
    latent_channels: int = 12,
    sample_size: int = 16,
    widths: tuple[int, int, int] = (64, 128, 192),
    text_width: int = 128,
) -> UNet2DConditionModel:
    """Build an untrained U-Net with self- and cross-attention at 16×16, 8×8 and 4×4.

    Args:
        latent_channels: Channels of the latents.
        sample_size: Side of the latents.
        widths: Channels by level; each a multiple of 32, the width of a head.
        text_width: Width of the text encoder.
    """
    return UNet2DConditionModel(
        sample_size=sample_size,
        in_channels=latent_channels,
        out_channels=latent_channels,
        block_out_channels=widths,
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text_width,
        # diffusers reads this as the number of heads.
        attention_head_dim=tuple(width // 32 for width in widths),
        norm_num_groups=16,
        use_linear_projection=True,
    )


def build_scheduler() -> DDIMScheduler:
    """Build the schedule: v-prediction with zero terminal SNR, trailing timesteps."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
    )
