"""The miniature's CLIP pair: open_clip's model class with a small ResNet and text tower."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from keyface.miniature.networks.text import tokenize


class ClipPair(nn.Module):
    """Image and text encoder into one space, with open_clip's `CLIP` inside.

    Args:
        tokenizer: Word-level tokenizer of the miniature.
        dim: Size D of the shared space.
        width: Width of the image tower (ModifiedResNet).
        text_width: Width of the text tower.
        image_size: Side that images are resized to.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        dim: int = 128,
        width: int = 24,
        text_width: int = 128,
        image_size: int = 96,
    ) -> None:
        super().__init__()
        self.tokenizer: Any = tokenizer
        self.image_size = image_size
        self.clip = CLIP(
            embed_dim=dim,
            vision_cfg=CLIPVisionCfg(layers=(1, 1, 2, 1), width=width, head_width=32, image_size=image_size),
            text_cfg=CLIPTextCfg(
                context_length=tokenizer.model_max_length,
                vocab_size=len(tokenizer),
                width=text_width,
                heads=4,
                layers=2,
                pad_id=tokenizer.pad_token_id,
                eos_id=tokenizer.eos_token_id,
                pool_type="eos",
            ),
        )

    def encode_image(self, images: Tensor) -> Tensor:
        """Embed images (B, 3, H, W) in [-1, 1] to unit vectors (B, D), differentiably."""
        if images.shape[-1] != self.image_size:
            images = F.interpolate(
                images,
                (self.image_size, self.image_size),
                mode="bilinear",
                antialias=True,
                align_corners=False,
            )
        out: Tensor = self.clip.encode_image(images, normalize=True)
        return out

    def encode_text(self, texts: list[str]) -> Tensor:
        """Embed texts to unit vectors (B, D)."""
        return self.encode_tokens(tokenize(self.tokenizer, texts).to(self.clip.logit_scale.device))

    def encode_tokens(self, tokens: Tensor) -> Tensor:
        """Embed token ids (B, 64), on the network's device, to unit vectors (B, D)."""
        out: Tensor = self.clip.encode_text(tokens, normalize=True)
        return out
