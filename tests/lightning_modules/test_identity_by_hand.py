"""ε1's loss, its parts and one optimizer step against Eq. 5 written out here."""

from typing import Any

import pytest
import torch
from losses_by_hand import (
    CACHED,
    PLAIN,
    Step,
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
from keyface.lightning_modules.identity import IdentityModule

pytestmark = [
    # Advice on data loader workers, which tiny runs do not heed.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
]


def eq_5(module: IdentityModule, network: nn.Module, batch: dict[str, Any], way: list[Tensor]) -> Step:
    """Eq. 5 and its parts, by formula."""
    backbone = module.backbone
    text = backbone.encode_prompts(batch["caption"]).detach()
    original = ddim(
        backbone,
        module.unet,
        batch["inverted"],
        way,
        lambda unet, x, t: unet(x, t, encoder_hidden_states=text).sample,
    )
    image = backbone.vae.decode(original / backbone.vae.config.scaling_factor).sample
    pixel = (image - batch["image"]).abs().sum() / image.numel()
    ours, theirs = (network(each, batch["landmarks"]) for each in (image, batch["image"]))
    identity = 1 - nn.functional.cosine_similarity(ours, theirs, dim=-1).mean()
    return {"pixel": pixel, "identity": identity}


@pytest.mark.parametrize("unroll_steps", [1, 3])
def test_identity_branch_unrolls_and_weighs_eq_5(
    backbone: Backbone, recognizer: nn.Module, cached: dict[str, Any], unroll_steps: int
) -> None:
    module = IdentityModule(
        backbone,
        recognizer,
        noisy_input=CACHED,
        unroll_steps=unroll_steps,
        pixel_weight=0.25,
        identity_weight=3.0,
        tuning=PLAIN,
    )
    start = cached["timestep"]
    ways = {1: [start], 3: [start, start * 2 // 3, start // 3]}
    with torch.no_grad():
        terms = eq_5(module, recognizer, cached, ways[unroll_steps])
        values = module.losses(cached, seeded()).values
    torch.testing.assert_close(values["pixel"], terms["pixel"], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(values["identity"], terms["identity"], rtol=1e-3, atol=1e-6)
    expected = 0.25 * terms["pixel"] + 3.0 * terms["identity"]
    torch.testing.assert_close(values["loss"], expected, rtol=1e-4, atol=1e-6)


def test_one_step_of_the_identity_branch_goes_down_eq_5(
    backbone: Backbone, recognizer: nn.Module, cached: dict[str, Any]
) -> None:
    module = IdentityModule(
        backbone,
        recognizer,
        noisy_input=CACHED,
        unroll_steps=2,
        pixel_weight=0.5,
        identity_weight=2.0,
        tuning=PLAIN,
        optimizer=plain_sgd,
    )
    start = weights_of(module.unet)
    terms = eq_5(module, recognizer, cached, [cached["timestep"], cached["timestep"] // 2])
    expected = expected_step(module, 0.5 * terms["pixel"] + 2.0 * terms["identity"])
    assert_same_step(step_of(module, cached), expected, start)
