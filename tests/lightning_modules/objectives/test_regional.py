"""The regional teacher, by hand, and what a student learns from it."""

import copy
import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import invert
from keyface.diffusion.prediction import predict
from keyface.lightning_modules.objectives.regional import Regional, RegionalLoss, _strides, cells_of
from keyface.lightning_modules.tuning.lora import Lora, TunedUNet, Tuning

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
        by = [predict(backbone.unet, noisy, timesteps, inputs[p]) for p in ("source", "target")]
    change = (3.0 * (by[1] - by[0])).square()
    outside = (change * (1 - inputs["regions"])).mean() / (change * inputs["regions"]).mean()
    assert math.isclose(terms.outside, outside, rel_tol=1e-4)
    assert terms.inside < 1e-9
    assert terms.source < 1e-9
    assert math.isclose(terms.total, 10.0 * outside, rel_tol=1e-4)


def test_a_student_on_an_edited_latent(backbone: Backbone, inputs: dict[str, Tensor]) -> None:
    """All terms by formula, where the latent was edited from the start down to the level compared."""
    settings = Regional(grid_steps=8, lowest=1.0, highest=1.0, edited_share=1.0, outside_weight=7.0)
    loss, scale, regions = RegionalLoss(settings, backbone, 3.0), 3.0, inputs["regions"]
    student = copy.deepcopy(backbone.unet)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=seeded(5)))
    seed = next(s for s in range(50) if _level_of(seeded(s)) == 2)

    def outputs(unet: Any, x: Tensor, level: int) -> list[Tensor]:
        t = torch.full((2,), loss.grid.timestep(level))
        return [unet(x, t, encoder_hidden_states=inputs[p]).sample for p in ("source", "target")]

    with torch.no_grad():
        x = invert(
            backbone.unet, backbone.scheduler, inputs["latents"], inputs["source"], 8, 0, levels=[2, 4, 6, 8]
        )[-1]
        for above, below in ((8, 6), (6, 4), (4, 2)):  # three strides of the regional teacher
            kept, towards = outputs(backbone.unet, x, above)
            v = kept + scale * regions * (towards - kept)
            here, there = (
                backbone.scheduler.alphas_cumprod[loss.grid.timestep(level)] for level in (above, below)
            )
            original = here.sqrt() * x - (1 - here).sqrt() * v
            epsilon = here.sqrt() * v + (1 - here).sqrt() * x
            x = there.sqrt() * original + (1 - there).sqrt() * epsilon
        kept, towards = outputs(backbone.unet, x, 2)
        own, own_towards = outputs(student, x, 2)
        found = loss(student, **inputs, generator=seeded(seed))
    wanted_change = scale * regions * (towards - kept)
    energy = wanted_change.square().mean()
    error = (own + scale * (own_towards - own) - kept - wanted_change).square()
    outside, inside = ((error * part).mean() / energy for part in (1 - regions, regions))
    source = 9.0 * (own - kept).square().mean() / energy
    assert min(outside, inside, source) > 0.01
    for value, expected in (
        (found.outside, outside),
        (found.inside, inside),
        (found.source, source),
        (found.total, 7.0 * outside + inside + source),
    ):
        torch.testing.assert_close(value, expected, rtol=1e-3, atol=1e-5)


def _level_of(generator: torch.Generator) -> int:
    """The level that an edit which starts at level 8 is compared at."""
    torch.randint(8, 9, (1,), generator=generator)
    return int(torch.randint(1, 9, (1,), generator=generator))


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


def test_timesteps_are_where_the_latents_are(backbone: Backbone) -> None:
    loss = RegionalLoss(SETTINGS, backbone, 3.0)
    timesteps = loss._timesteps(2, torch.empty(3, 4, 16, 16, device="meta"))
    assert (timesteps.shape, timesteps.device.type) == ((3,), "meta")


def test_settings_at_their_limits() -> None:
    """Eq. 6 in every step, and edits from any level."""
    settings = Regional(lowest=0.0, highest=1.0, grid_steps=2, steps_between=0)
    assert Regional.of(dataclasses.asdict(settings)) == settings


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
