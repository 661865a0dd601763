"""A rectified-flow transformer behind the method, which offers what `keyface.diffusion.protocol` says."""

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from torch import Tensor, nn

import keyface.editing
from keyface.diffusion.schedule import Grid
from keyface.editing.editor import EditSettings, Injection, Prompts, Propagation, VideoEditor

WIDTH, PATCH = 16, 2


class TinyTransformer(nn.Module):
    """Patches of a latent through two blocks of diffusers' transformers, at one resolution."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Conv2d(4, WIDTH, PATCH, PATCH)
        self.time = nn.Linear(1, WIDTH)
        self.blocks = nn.ModuleList(
            BasicTransformerBlock(WIDTH, 2, WIDTH // 2, cross_attention_dim=WIDTH) for _ in range(2)
        )
        self.head = nn.Linear(WIDTH, 4 * PATCH**2)

    @property
    def device(self) -> torch.device:
        return self.head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.head.weight.dtype

    def forward(self, latents: Tensor, timestep: int | Tensor, *, encoder_hidden_states: Tensor):
        height, width = (side // PATCH for side in latents.shape[-2:])
        tokens = self.embed(latents).flatten(2).transpose(1, 2)
        tokens = tokens + self.time(torch.as_tensor(timestep, dtype=tokens.dtype).reshape(-1, 1, 1) / 1000)
        for block in self.blocks:
            tokens = block(tokens, encoder_hidden_states=encoder_hidden_states)
        cells = self.head(tokens).unflatten(1, (height, width)).unflatten(-1, (4, PATCH, PATCH))
        return SimpleNamespace(sample=cells.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3) * 0.1)


@dataclass(frozen=True)
class FlowGrid(Grid):
    """Straight lines: x_σ = (1 − σ) x0 + σ noise, the network predicts noise − x0; `alphas` hold 1 − σ."""

    def coefficients(self, level: int) -> tuple[float, float]:
        return 1.0, self.alphas[level] - self.alphas[level - 1]

    def only(self, levels: Sequence[int]) -> "FlowGrid":
        return FlowGrid(**vars(super().only(levels)))


class TransformerModel:
    """What is not a `Backbone` and offers the same."""

    matched_layers = r"blocks\.\d+\.attn1$"
    latent_channels, downscale, coarsest_cell = 4, 2, 4

    def __init__(self, backbone) -> None:
        self.unet = TinyTransformer(0).eval()
        self.vae, self.text_encoder = backbone.vae, backbone.text_encoder
        self.encode_images, self.decode_latents = backbone.encode_images, backbone.decode_latents
        self.encode_prompts = backbone.encode_prompts

    @property
    def device(self) -> torch.device:
        return self.unet.device

    def grid(self, steps: int) -> Grid:
        share = [step / steps for step in range(steps + 1)]
        timesteps = tuple(round(1000 * noise) for noise in share[1:])
        return FlowGrid(timesteps, tuple(1 - noise for noise in share), "flow")

    def token_count(self, layer: str, latent_size: tuple[int, int]) -> int:
        return math.prod(side // PATCH for side in latent_size)


@pytest.mark.parametrize("mode", ["tokens", "latent"])
def test_a_clip_is_edited(backbone, frames, mode):
    settings = EditSettings(
        steps=4,
        interval=4,
        guidance_scale=3.0,
        propagation=Propagation(mode=mode),
        injection=Injection(layers="attn1$", until=0.5, residual_until=0.0),
    )
    model = TransformerModel(backbone)
    editor = VideoEditor(model, TinyTransformer(1).eval(), TinyTransformer(2).eval(), settings)
    edited, report = editor.edit_frames(frames, Prompts("a face", "a face with glasses"))
    assert edited.shape == frames.shape
    assert report.reconstruction_psnr > report.vae_psnr - 3, "inversion and its way back belong together"
    same, _ = VideoEditor(model, settings=settings).edit_frames(frames, Prompts("a face", "a face"))
    assert (edited - same).abs().max() > 1e-3


def test_the_flow_goes_both_ways(backbone):
    """Towards noise and back, by hand: x_σ' = x_σ + (σ' − σ) v."""
    grid = TransformerModel(backbone).grid(4)
    x, v = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    torch.testing.assert_close(grid.invert(x, v, 2), x + 0.25 * v)
    torch.testing.assert_close(grid.denoise(x, v, 2), x - 0.25 * v)
    torch.testing.assert_close(grid.only([2, 4]).invert(x, v, 2), x + 0.5 * v)


def test_the_method_names_no_class_of_networks():
    """In code, comments and docstrings aside, which may say what there is today."""
    for path in sorted(Path(keyface.editing.__file__).parent.rglob("*.py")):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        names |= {
            alias.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ImportFrom | ast.Import)
            for alias in node.names
        }
        assert not [
            name for name in names if "UNet" in name or "Transformer" in name or name == "Backbone"
        ], path
