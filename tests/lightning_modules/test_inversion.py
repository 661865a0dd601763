"""What `lightning predict` inverts for shards, and what it says about it beforehand."""

from contextlib import nullcontext
from functools import partial
from typing import Any

import torch

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inverted_images import invert_images
from keyface.diffusion.prediction import predict
from keyface.lightning_modules.inversion import InversionModule
from keyface.lightning_modules.tuning.memory import measure_step


def test_settings_say_what_decides_the_result(backbone: Backbone) -> None:
    module = InversionModule(backbone, steps=20, levels=4, lowest=0.2, highest=0.8, fixed_point_iterations=3)
    # 0.2 + 0.6 · (1, 2, 3, 4) / 4, of 20 steps
    told = {"backbone": "given", "steps": 20, "levels": [7, 10, 13, 16], "fixed_point_iterations": 3}
    assert module.settings() == told


def test_without_settings_eight_levels_of_fifty_steps_by_the_miniature() -> None:
    told = {"backbone": "miniature", "steps": 50, "fixed_point_iterations": 1}
    assert InversionModule().settings() == {**told, "levels": [6, 12, 19, 25, 31, 38, 44, 50]}


def test_bytes_of_a_member_are_those_of_its_latents(backbone: Backbone) -> None:
    """4 channels of 16², the clean one and 5 inverted ones, 4 bytes a value."""
    assert InversionModule(backbone, levels=5).member_bytes(32) == 4 * 4 * 16 * 16 * 6 + 1024


def test_a_batch_is_inverted_as_the_settings_say(backbone: Backbone, batch: dict[str, Any]) -> None:
    module = InversionModule(backbone, steps=6, levels=2, fixed_point_iterations=2)
    found = module.predict_step(batch, 0)
    expected = invert_images(backbone, batch["image"], batch["caption"], 6, [3, 6], 2)
    assert found.pop("key") == ["0", "1"]
    assert found.keys() == expected._asdict().keys()
    for name, value in expected._asdict().items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0)


def test_memory_is_that_of_the_encoder_or_of_a_step_beside_what_is_kept(backbone: Backbone) -> None:
    def encode() -> None:
        backbone.encode_images(torch.empty(3, 3, 32, 32))

    def step() -> None:
        predict(backbone.unet, torch.empty(3, 4, 16, 16), 0, torch.empty(3, 12, 16))

    half = partial(torch.autocast, "cpu", torch.bfloat16)
    peaks = []
    for context in (nullcontext, half):
        one, many = InversionModule(backbone, levels=1), InversionModule(backbone, levels=50)
        encoder = measure_step(encode, one, context).peak
        assert one.step_memory(3, 32, context).peak == encoder
        kept = 4 * 50 * 3 * 4 * 16 * 16
        found = many.step_memory(3, 32, context)
        assert found.peak == kept + measure_step(step, one, context).peak
        assert found.forward == 0, "there is no backward pass to keep anything for"
        peaks.append(encoder)
    assert peaks[1] < peaks[0]


def test_memory_of_a_module_elsewhere_is_measured_there(backbone: Backbone) -> None:
    """On the device of weights without values, which no tensor of another one meets."""
    module = InversionModule(backbone, levels=3)
    assert module.to("meta").step_memory(2, 32, nullcontext).peak > 0
