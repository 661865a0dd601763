"""What the tests of the losses by hand share: DDIM from the schedule alone, and one optimizer step."""

from typing import Any

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.sampling import NoisyInput
from keyface.lightning_modules.tuning.lora import Tuning

CACHED = NoisyInput(source="cached")
RATE = 0.1
PLAIN = Tuning(ema_decay=None, export=False)
Step = dict[str, Tensor]


class OneBatch(Dataset[dict[str, Any]]):
    """One batch, as often as asked for."""

    def __init__(self, batch: dict[str, Any]) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.batch


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain_sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=RATE)


def ddim(backbone: Backbone, unet: nn.Module, noisy: Tensor, way: list[Tensor], outputs_of: Any) -> Tensor:
    """x̂0 after v-prediction DDIM steps through timesteps (B,), from the ᾱ of the schedule alone."""
    alphas = backbone.scheduler.alphas_cumprod
    x = original = noisy
    for index, timestep in enumerate(way):
        alpha = alphas[timestep].view(-1, 1, 1, 1)
        v = outputs_of(unet, x, timestep)
        original = alpha.sqrt() * x - (1 - alpha).sqrt() * v
        epsilon = alpha.sqrt() * v + (1 - alpha).sqrt() * x
        if index + 1 < len(way):
            below = alphas[way[index + 1]].view(-1, 1, 1, 1)
            x = below.sqrt() * original + (1 - below).sqrt() * epsilon
    return original


def step_of(module: IdentityModule | DirectionModule, batch: dict[str, Any]) -> Step:
    """The trained weights after one step of a Trainer."""
    trainer = Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, DataLoader(OneBatch(batch), batch_size=None))
    return {name: value.detach() for name, value in module.unet.named_parameters()}


def expected_step(module: IdentityModule | DirectionModule, loss: Tensor) -> Step:
    """The weights after θ − η ∂loss/∂θ, by autograd on the formula."""
    named = dict(module.unet.named_parameters())
    gradients = torch.autograd.grad(loss, list(named.values()))
    return {
        name: value.detach() - RATE * gradient
        for (name, value), gradient in zip(named.items(), gradients, strict=True)
    }


def assert_same_step(found: Step, expected: Step, start: Step) -> None:
    """Compare what was added to the weights, which is much smaller than they are."""
    assert found.keys() == expected.keys()
    moved, wanted = (
        torch.cat([(step[name] - start[name]).flatten() for name in start]) for step in (found, expected)
    )
    assert wanted.norm() > 1e-4
    assert (moved - wanted).norm() < 1e-3 * wanted.norm()


def weights_of(module: nn.Module) -> Step:
    return {name: value.detach().clone() for name, value in module.named_parameters()}
