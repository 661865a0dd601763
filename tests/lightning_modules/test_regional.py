"""The regional teacher, by hand, and what a student learns from it."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import invert
from keyface.lightning_modules.lora import Lora, TunedUNet, Tuning
from keyface.lightning_modules.regional import Regional, RegionalLoss, _strides, cells_of
from keyface.lightning_modules.sampling import predict_at

SETTINGS = Regional(grid_steps=4, edited_share=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def inputs(backbone: Backbone, batch: dict[str, Any]) -> dict[str, Tensor]:
    latents = backbone.encode_images(batch["image"]).detach()
    regions = torch.zeros(2, 1, *latents.shape[-2:])
    regions[:, :, :6] = 1.0
    return {
        "latents": latents,
        "source": backbone.encode_prompts(["a man", "a woman"]).detach(),
        "target": backbone.encode_prompts(["a man wearing glasses", "a woman smiling"]).detach(),
        "regions": regions,
    }


def test_without_limits_the_base_is_its_own_teacher(backbone: Backbone, inputs: dict[str, Tensor]) -> None:
    inputs["regions"] = torch.ones_like(inputs["regions"])
    terms = RegionalLoss(SETTINGS, backbone, 3.0)(backbone.unet, **inputs, generator=seeded())
    assert max(float(term.detach()) for term in terms) < 1e-9


def test_an_untuned_network_is_wrong_outside_by_its_whole_change_there(
    backbone: Backbone, inputs: dict[str, Tensor]
) -> None:
    loss = RegionalLoss(SETTINGS, backbone, 3.0)
    with torch.no_grad():
        terms = loss(backbone.unet, **inputs, generator=seeded())
    generator = seeded()
    start = int(torch.randint(2, 4, (1,), generator=generator))
    level = int(torch.randint(1, start + 1, (1,), generator=generator))
    visited = [1, 3] if level == 3 else [level]
    noisy = invert(
        backbone.unet, backbone.scheduler, inputs["latents"], inputs["source"], 4, 0, levels=visited
    )[-1]
    timesteps = torch.full((2,), loss.grid.timestep(level))
    with torch.no_grad():
        by = [predict_at(backbone.unet, noisy, timesteps, inputs[p]) for p in ("source", "target")]
    change = (3.0 * (by[1] - by[0])).square()
    outside = (change * (1 - inputs["regions"])).mean() / (change * inputs["regions"]).mean()
    assert math.isclose(terms.outside, outside, rel_tol=1e-4)
    assert terms.inside < 1e-9
    assert terms.source < 1e-9
    assert math.isclose(terms.total, 10.0 * outside, rel_tol=1e-4)


def test_a_student_changes_less_outside(backbone: Backbone, inputs: dict[str, Tensor]) -> None:
    loss = RegionalLoss(Regional(grid_steps=4), backbone, 3.0)
    tuned = TunedUNet.prepare(backbone.unet, Tuning(lora=Lora(rank=8)))
    optimizer = torch.optim.AdamW([p for p in tuned.unet.parameters() if p.requires_grad], lr=1e-2)
    before = loss(tuned.unet, **inputs, generator=seeded(9)).outside
    for step in range(60):
        optimizer.zero_grad()
        torch.autograd.backward(loss(tuned.unet, **inputs, generator=seeded(step)).total)
        optimizer.step()
    after = loss(tuned.unet, **inputs, generator=seeded(9)).outside
    assert after < 0.7 * before


def test_an_edit_goes_down_to_the_level_in_few_strides() -> None:
    assert _strides(8, 1) == [8, 6, 3, 1]
    assert _strides(7, 5) == [7, 6, 5]
    assert _strides(4, 4) == [4]


def test_a_cell_that_holds_one_pixel_of_a_region_may_change() -> None:
    pixels = torch.zeros(1, 16, 16, dtype=torch.bool)
    pixels[0, 3, 12] = True
    cells = cells_of(pixels, (2, 2))
    assert cells.tolist() == [[[[0.0, 1.0], [0.0, 0.0]]]]


@pytest.mark.parametrize(
    "options", [{"highest": 0.0}, {"highest": 0.5}, {"grid_steps": 1}, {"steps_between": -1}]
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="regional"):
        Regional(**options)
