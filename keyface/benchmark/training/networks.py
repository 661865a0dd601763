"""The modules that are measured, with the paper's settings, and a batch for them."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW

from keyface.benchmark.sd21 import build_backbone
from keyface.benchmark.training.request import TrainRequest
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.schedule import Grid
from keyface.faces.alignment import TEMPLATE, TEMPLATE_SIZE, align
from keyface.lightning_modules.branch import Batch, BranchModule
from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.sampling import NoisyInput
from keyface.lightning_modules.tuning.lora import Lora, Tuning
from keyface.miniature import zoo
from keyface.miniature.networks.recognition import IResNetBlock
from keyface.models.encoders import OpenClipEncoder

CACHED = NoisyInput("cached")
"""As in the paper's configs: latents come with the data, inverted beforehand."""

_CAPTION = "a photo of a young woman with brown hair"
_ATTRIBUTES = {"Young": True, "Brown_Hair": True, "No_Beard": True}


class IResNet100(nn.Module):
    """ArcFace's 100-layer network, 65 M parameters, with random weights; a `Recognizer`."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)]
        inputs = 64
        for outputs, blocks in ((64, 3), (128, 13), (256, 30), (512, 3)):
            layers += [
                IResNetBlock(inputs if i == 0 else outputs, outputs, 2 - (i > 0)) for i in range(blocks)
            ]
            inputs = outputs
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(512), nn.Flatten())
        self.embed = nn.Sequential(nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512))

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        """Embed faces in images (B, 3, H, W), or faces that are aligned already, as unit vectors (B, 512)."""
        faces = images if landmarks is None else align(images, landmarks)
        return F.normalize(self.embed(self.body(faces)), dim=-1)


def build_module(request: TrainRequest) -> BranchModule:
    """Build the branch's module on the current default device, with the optimizer of its shipped config."""
    miniature = request.scale == "miniature"
    backbone = zoo.backbone() if miniature else build_backbone(request.device, seed=request.seed)
    lora = Lora() if request.tuning == "lora" else None
    tuning = Tuning(
        lora=lora,
        ema_decay=0.9999,
        gradient_checkpointing=request.gradient_checkpointing,
        compiled=request.compiled,
        export=False,
    )
    optimizer = partial(AdamW, lr=1e-5, weight_decay=0.01, fused=request.fused)
    with torch.device(request.device):
        if request.branch == "identity":
            network: Any = zoo.identity_network() if miniature else IResNet100().eval()
            return IdentityModule(
                backbone, network, noisy_input=CACHED, tuning=tuning, optimizer=optimizer, seed=request.seed
            )
        encoder = zoo.clip_pair() if miniature else OpenClipEncoder.untrained("ViT-B-32", request.device)
        return DirectionModule(
            backbone, encoder, noisy_input=CACHED, tuning=tuning, optimizer=optimizer, seed=request.seed
        )


def build_batch(request: TrainRequest, backbone: Backbone) -> Batch:
    """Make images of noise, on the CPU, with all that shards hold: speed does not depend on it."""
    generator = torch.Generator().manual_seed(request.seed)
    count, size = request.batch_size, request.size
    cells = size // backbone.downscale
    latents = torch.randn(2, count, backbone.latent_channels, cells, cells, generator=generator)
    timesteps = torch.tensor(Grid.of(backbone.scheduler, CACHED.steps).timesteps)
    batch: dict[str, Any] = {
        "image": torch.rand(count, 3, size, size, generator=generator) * 2.0 - 1.0,
        "latent": latents[0],
        "inverted": latents[1],
        "timestep": timesteps[torch.randint(len(timesteps), (count,), generator=generator)],
        "landmarks": (torch.tensor(TEMPLATE) * (size / TEMPLATE_SIZE)).expand(count, 5, 2).clone(),
        "caption": [_CAPTION] * count,
        "attributes": [dict(_ATTRIBUTES)] * count,
    }
    return batch
