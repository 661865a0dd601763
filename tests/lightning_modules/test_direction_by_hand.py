"""ε2's loss, its parts and one optimizer step against Eq. 6 written out here."""

from typing import Any

import pytest
import torch
from losses_by_hand import (
    CACHED,
    PLAIN,
    assert_same_step,
    ddim,
    expected_step,
    plain_sgd,
    seeded,
    step_of,
    weights_of,
)
from torch import Tensor, nn

from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.objectives.regional import Regional, RegionalLoss
from keyface.plugins import Category

pytestmark = [
    # Advice on data loader workers, which tiny runs do not heed.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
]


GLASSES = Category(
    "spectacles",
    targets=("wearing glasses",),
    source="without glasses",
    attribute="Eyeglasses",
    replaces=("without glasses",),
    regions=("l_eye",),
)
TARGETS = ["a photo of a man, wearing glasses", "a photo of a woman, wearing glasses"]
PHRASES = ("a photo of a person, without glasses", "a photo of a person, wearing glasses")


def editing(backbone: Backbone, encoder: nn.Module, **options: Any) -> DirectionModule:
    """ε2 in two steps with guidance 2, with one category of one phrase and a region known to the pixel."""
    module = DirectionModule(
        backbone,
        encoder,
        **{
            "noisy_input": CACHED,
            "generation_steps": 2,
            "gradient_steps": 2,
            "guidance_scale": 2.0,
            "locality_margin": 1 / 32,
            "tuning": PLAIN,
            "optimizer": plain_sgd,
            **options,
        },
    )
    module.categories = [GLASSES]
    return module


def generated(module: DirectionModule, batch: dict[str, Any], gradient_steps: int) -> Tensor:
    """y_gen, (B, 3, H, W): two guided DDIM steps, of which so many last ones keep their gradient."""
    backbone, start = module.backbone, batch["timestep"]
    source, target = (backbone.encode_prompts(p).detach() for p in (batch["caption"], TARGETS))

    def outputs_of(unet: Any, x: Tensor, t: Tensor) -> Tensor:
        v = unet(x, t, encoder_hidden_states=target).sample
        if gradient_steps == 1 and t is not way[-1]:
            v = v.detach()
        away = unet(x, t, encoder_hidden_states=source).sample.detach()
        return away + 2.0 * (v - away)

    way = [start, start // 2]
    original = ddim(backbone, module.unet, batch["inverted"], way, outputs_of)
    image: Tensor = backbone.vae.decode(original / backbone.vae.config.scaling_factor).sample
    return image


def round_trip(backbone: Backbone, batch: dict[str, Any]) -> Tensor:
    image: Tensor = backbone.vae.decode(batch["latent"] / backbone.vae.config.scaling_factor).sample
    return image.detach()


def eq_6(
    encoder: Any,
    image: Tensor,
    batch: dict[str, Any],
    reference: Tensor,
    sources: list[str],
    targets: list[str],
) -> dict[str, Tensor]:
    """Eq. 6's parts, and the plain inner product of its two directions, by formula."""
    ours, theirs, from_here = (encoder.encode_image(each) for each in (image, batch["image"], reference))
    moved = ours - from_here.detach()
    words = (encoder.encode_text(targets) - encoder.encode_text(sources)).detach()
    inner = (moved * words).sum(dim=1)
    lengths = [(each.square().sum(dim=1) + 1e-3**2).sqrt() for each in (moved, words)]
    return {
        "content": (ours - theirs.detach()).square().sum(dim=1).sqrt().mean(),
        "direction": (1 - inner / (lengths[0] * lengths[1])).mean(),
        "plain": (1 - inner).mean(),
    }


def outside_change(image: Tensor, kept: Tensor) -> Tensor:
    """Mean |y_gen − round trip| of all pixels but the block of l_eye with its margin of one pixel."""
    held = torch.ones(image.shape[-2:], dtype=torch.bool)
    held[7:17, 7:25] = False
    return (image - kept).abs()[..., held].mean()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"locality_weight": 5.0},
        {"content_weight": 0.9, "direction_weight": 0.2},
        {"normalize_directions": False},
        {"reference": "reconstruction"},
        {"prompts": "category"},
    ],
)
def test_editing_branch_weighs_eq_6(
    backbone: Backbone, encoder: Any, cached: dict[str, Any], options: dict[str, Any]
) -> None:
    module = editing(backbone, encoder, **options)
    with torch.no_grad():
        losses = module.losses(cached, seeded())
        image = generated(module, cached, 2)
        kept = round_trip(backbone, cached)
        reference = kept if "reference" in options else cached["image"]
        phrases = ([PHRASES[0]] * 2, [PHRASES[1]] * 2)
        sources, targets = phrases if "prompts" in options else (cached["caption"], TARGETS)
        terms = eq_6(encoder, image, cached, reference, sources, targets)
        locality = outside_change(image, kept)
    assert losses is not None
    direction = terms["direction" if options.get("normalize_directions", True) else "plain"]
    weights = options.get("content_weight", 0.3), options.get("direction_weight", 0.7)
    expected = weights[0] * terms["content"] + weights[1] * direction
    expected = expected + options.get("locality_weight", 0.0) * locality
    torch.testing.assert_close(losses.values["content"], terms["content"], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(losses.values["direction"], direction, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(losses.values["loss"], expected, rtol=1e-4, atol=1e-6)
    if "locality_weight" in options:
        assert locality > 0.01
        torch.testing.assert_close(losses.values["locality"], locality, rtol=1e-4, atol=1e-6)
    else:
        assert "locality" not in losses.values


@pytest.mark.parametrize("gradient_steps", [1, 2])
def test_one_step_of_the_editing_branch_goes_down_eq_6_and_the_locality_term(
    backbone: Backbone, encoder: Any, cached: dict[str, Any], gradient_steps: int
) -> None:
    module = editing(backbone, encoder, locality_weight=0.5, gradient_steps=gradient_steps)
    start = weights_of(module.unet)
    image = generated(module, cached, gradient_steps)
    terms = eq_6(encoder, image, cached, cached["image"], cached["caption"], TARGETS)
    locality = outside_change(image, round_trip(backbone, cached))
    loss = 0.3 * terms["content"] + 0.7 * terms["direction"] + 0.5 * locality
    expected = expected_step(module, loss)
    assert_same_step(step_of(module, cached), expected, start)


def test_the_regional_loss_is_added_with_its_weight(
    backbone: Backbone, encoder: Any, cached: dict[str, Any]
) -> None:
    """Inside the cells, of two pixels a side, that the grown region touches."""
    regional = Regional(weight=0.25, grid_steps=4)
    module = editing(backbone, encoder, regional=regional)
    with torch.no_grad():
        losses = module.losses(cached, seeded())
        without = editing(backbone, encoder).losses(cached, seeded())
        regions = torch.zeros(2, 1, 16, 16)
        regions[:, :, 3:9, 3:13] = 1.0
        generator = seeded()
        torch.randint(2**31, (2, 2), generator=generator)  # the categories' and phrases' draws come first
        terms = RegionalLoss(regional, backbone, 2.0)(
            module.unet,
            cached["latent"],
            backbone.encode_prompts(cached["caption"]),
            backbone.encode_prompts(TARGETS),
            regions,
            generator,
        )
    assert losses is not None
    assert without is not None
    assert terms.total > 0.1
    torch.testing.assert_close(losses.values["loss"] - without.values["loss"], 0.25 * terms.total)
    torch.testing.assert_close(losses.values["regional_outside"], terms.outside)
