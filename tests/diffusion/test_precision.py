import copy

import pytest
import torch

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.editor import EditSettings, Prompts, VideoEditor
from keyface.diffusion.precision import accelerate

SETTINGS = EditSettings(steps=2, interval=4, guidance_scale=2.0)
PROMPTS = Prompts("a face", "a face with glasses")


def copied(backbone: Backbone) -> Backbone:
    parts = (copy.deepcopy(part) for part in (backbone.vae, backbone.unet, backbone.text_encoder))
    return Backbone(*parts, backbone.tokenizer, backbone.scheduler)


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ({"channels_last": True}, 1e-3),
        ({"compiled": True, "backend": "eager"}, 1e-3),
        ({"dtype": torch.bfloat16}, 0.25),
    ],
    ids=["channels last", "compiled", "bf16"],
)
def test_frames_stay_about_the_same(backbone, make_unet, frames, options, tolerance):
    frames = frames[:5]
    before, _ = VideoEditor(backbone, make_unet(2), make_unet(1), SETTINGS).edit_frames(frames, PROMPTS)
    changed, (identity, direction) = accelerate(copied(backbone), [make_unet(2), make_unet(1)], **options)
    after, _ = VideoEditor(changed, identity, direction, SETTINGS).edit_frames(frames, PROMPTS)
    assert after.dtype == torch.float32
    torch.testing.assert_close(after, before, rtol=tolerance, atol=tolerance)


def test_only_the_unets_change_precision(backbone, make_unet):
    changed, branches = accelerate(copied(backbone), [make_unet(1)], dtype=torch.bfloat16)
    assert {changed.unet.dtype, branches[0].dtype} == {torch.bfloat16}
    assert changed.vae.dtype == torch.float32
