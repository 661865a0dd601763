"""What a step of ε1 is made of: the draw, the schedule, and the step that memory is estimated by."""

from typing import Any

import torch
from torch import nn
from torch.optim import SGD

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.prediction import predict, predict_original
from keyface.diffusion.schedule import Grid
from keyface.lightning_modules.branch import StepInputs
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.optim import WarmupLinear
from keyface.lightning_modules.sampling import INVERTED, NoisyInput
from keyface.lightning_modules.tuning.lora import Tuning

NOISE = NoisyInput(source="noise", steps=20)


def test_without_settings_one_step_from_inverted_latents(backbone: Backbone, recognizer: nn.Module) -> None:
    module = IdentityModule(backbone, recognizer)
    assert (module.unroll_steps, module.noisy_input, module.seed) == (1, INVERTED, 0)
    assert (module.loss.pixel_weight, module.loss.identity_weight) == (1.0, 1.0)


def test_the_generator_draws_the_levels_and_they_are_noted(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any]
) -> None:
    module = IdentityModule(backbone, recognizer, noisy_input=NOISE)
    levels = torch.tensor(Grid.of(backbone.scheduler, 20).timesteps)
    for seed in range(3):
        with torch.no_grad():
            module.reconstruct(batch, torch.Generator().manual_seed(seed))
        drawn = torch.randint(1, 21, (2,), generator=torch.Generator().manual_seed(seed))
        assert module.timesteps.tolist() == levels[drawn - 1].tolist()


def test_an_average_is_made_where_it_is_asked_for(backbone: Backbone, recognizer: nn.Module) -> None:
    module = IdentityModule(backbone, recognizer, tuning=Tuning(ema_decay=0.5))
    assert module.ema is not None
    assert module.ema.decay == 0.5
    averages, trained = list(module.ema.module.parameters()), list(module.trained_parameters())
    assert all(torch.equal(*pair) for pair in zip(averages, trained, strict=True))
    assert IdentityModule(backbone, recognizer, tuning=Tuning(ema_decay=None)).ema is None


def test_the_schedule_is_stepped_with_the_optimizer(backbone: Backbone, recognizer: nn.Module) -> None:
    module = IdentityModule(
        backbone,
        recognizer,
        optimizer=lambda parameters: SGD(parameters, lr=0.5),
        lr_scheduler=lambda optimizer: WarmupLinear(optimizer, 10, warmup=5),
    )
    configured: Any = module.configure_optimizers()
    assert configured["optimizer"].param_groups[0]["lr"] == 0.1  # a fifth, in the first of five steps
    assert configured["lr_scheduler"]["interval"] == "step"


@torch.no_grad()
def test_the_step_that_memory_is_estimated_by_is_a_step(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any]
) -> None:
    """Eq. 5 of the one-step estimate, decoded."""
    module = IdentityModule(backbone, recognizer, pixel_weight=2.0, identity_weight=3.0)
    latents, timesteps = torch.randn(2, 4, 16, 16), torch.tensor([300, 700])
    text = backbone.encode_prompts(batch["caption"])
    inputs = StepInputs(batch["image"], latents, timesteps, text, batch["landmarks"])
    output = predict(module.unet, latents, timesteps, text)
    decoded = backbone.decode_latents(predict_original(output, latents, timesteps, backbone.scheduler))
    expected = module.loss(decoded, batch["image"], batch["landmarks"])
    torch.testing.assert_close(module.rehearse(inputs), 2.0 * expected.pixel + 3.0 * expected.identity)
