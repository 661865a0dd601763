"""What a step of ε2 is made of: the step that memory is estimated by, regions, and changes outside them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.guidance import Guidance
from keyface.diffusion.sampling import ImagePath
from keyface.diffusion.schedule import even_timesteps
from keyface.lightning_modules.branch import StepInputs
from keyface.lightning_modules.direction import DirectionModule, mean_change
from keyface.lightning_modules.objectives.regional import Regional, RegionalLoss
from keyface.lightning_modules.objectives.targets import draw_edits


class Lengths(nn.Module):
    """An encoder whose texts are told apart by their lengths."""

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(images.mean(dim=(2, 3)), dim=-1)

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        return nn.functional.normalize(torch.tensor([[1.0, len(text), 0.0] for text in texts]), dim=-1)


@torch.no_grad()
@pytest.mark.parametrize("regional", [None, Regional(grid_steps=4, weight=7.0)])
def test_the_step_that_memory_is_estimated_by_is_a_step(
    backbone: Backbone, batch: dict[str, Any], regional: Regional | None
) -> None:
    """Eq. 6 of edited images, and the regional loss where there is one; nothing may change."""
    module = DirectionModule(
        backbone, Lengths(), categories=["glasses"], gradient_steps=2, guidance_scale=3.0, regional=regional
    )
    latents, timesteps = torch.randn(2, 4, 16, 16), torch.tensor([300, 700])
    text = backbone.encode_prompts(batch["caption"])
    found = module.rehearse(StepInputs(batch["image"], latents, timesteps, text, batch["landmarks"]))
    path = ImagePath(backbone.scheduler, even_timesteps(timesteps, 2))
    x = latents
    guidance = Guidance(text, text, 3.0)
    for index, timestep in enumerate(path.timesteps):
        x, _ = path.step(index, x, guidance.predict(module.unet, x, timestep), None)
    terms = module.loss(backbone.decode_latents(x), batch["image"], ["after"] * 2, ["before"] * 2)
    expected = terms.total
    if regional is not None:
        nowhere = torch.zeros(2, 1, 16, 16)
        teacher = RegionalLoss(regional, backbone, 3.0)
        expected = expected + teacher.compare(module.unet, latents, timesteps, guidance, nowhere).total
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_an_edit_without_regions_may_change_everything(backbone: Backbone, batch: dict[str, Any]) -> None:
    module = DirectionModule(backbone, Lengths(), categories=["glasses"], locality_margin=0.0)
    chosen = draw_edits(batch, module.categories, torch.Generator().manual_seed(0))
    assert 0 < module.regions(batch, chosen).float().mean() < 1
    free = [replace(edit, category=replace(edit.category, regions=(), mask=None)) for edit in chosen]
    assert module.regions(batch, free).all()


def test_change_where_an_image_is_held() -> None:
    """One pixel of three channels, then one value of one channel, then none."""
    generated, reference = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    generated[0, :, 0, 0], generated[0, :, 1, 1] = torch.tensor([0.3, -0.6, 0.9]), 5.0
    held = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    assert mean_change(generated, reference, held).item() == 0.0
    held[..., 0, 0] = True
    assert mean_change(generated, reference, held).item() == pytest.approx(0.6)
    assert mean_change(generated[:, :1], reference[:, :1], held).item() == pytest.approx(0.3)
