import copy
import os
import subprocess
import sys

import pytest
import torch

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.precision import (
    KERNEL_CACHE,
    accelerate,
    autocast_unets,
    choose_dtype,
    limit_kernel_cache,
)
from keyface.editing.editor import EditSettings, Prompts, VideoEditor

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


def test_auto_is_bf16_on_a_gpu_that_has_it_fp16_on_older_ones_and_fp32_elsewhere(monkeypatch):
    assert choose_dtype("auto", "cpu") == torch.float32
    assert choose_dtype("fp16", "cpu") == torch.float16
    for has_it, expected in ((True, torch.bfloat16), (False, torch.float16)):
        # no GPU is needed to decide; emulated bf16, which is slower than fp32, does not count
        monkeypatch.setattr(
            torch.cuda, "is_bf16_supported", lambda including_emulation, has_it=has_it: has_it
        )
        assert choose_dtype("auto", "cuda:0") == expected
    with pytest.raises(ValueError, match="dtype 'int8': choose auto, fp32, bf16, fp16"):
        choose_dtype("int8", "cpu")


def test_unets_in_training_edit_in_bf16_and_keep_their_weights(backbone, make_unet, frames):
    direction = make_unet(1)
    kinds = []
    direction.up_blocks[0].resnets[0].conv1.register_forward_hook(
        lambda *args: kinds.append((args[0].weight.dtype, args[2].dtype))
    )
    editor = VideoEditor(backbone, make_unet(2), direction, SETTINGS)
    before, _ = editor.edit_frames(frames[:5], PROMPTS)
    assert set(kinds) == {(torch.float32, torch.float32)}
    kinds.clear()
    with autocast_unets([backbone.unet, direction, direction], torch.bfloat16):
        during, _ = editor.edit_frames(frames[:5], PROMPTS)
    assert set(kinds) == {(torch.float32, torch.bfloat16)}
    torch.testing.assert_close(during, before, rtol=0.25, atol=0.25)
    assert not torch.equal(during, before)
    after, _ = editor.edit_frames(frames[:5], PROMPTS)
    torch.testing.assert_close(after, before, rtol=0, atol=0)


CONVOLUTIONS = """
import sys
import torch
from keyface.diffusion.precision import limit_kernel_cache
if sys.argv[1] == "limited":
    limit_kernel_cache()
layer = torch.nn.Conv2d(8, 8, 3)
with torch.no_grad(), torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON_CREATION):
    for frames in (*range(2, 130), 2):
        layer(torch.rand(frames, 8, 9, 9))
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this PyTorch has no oneDNN")
def test_kernels_of_many_batch_sizes_are_not_all_kept():
    """The first batch size comes back at the end: its kernel is there only if all were kept."""
    clean = {name: value for name, value in os.environ.items() if name != KERNEL_CACHE}
    compiled = {}
    for way in ("limited", "unlimited"):
        command = [sys.executable, "-P", "-c", CONVOLUTIONS, way]
        done = subprocess.run(command, env=clean, capture_output=True, text=True, check=True)
        told = [line for line in done.stdout.splitlines() if "create:cache_miss" in line]
        compiled[way] = sum(",convolution," in line for line in told)
    assert compiled["limited"] > compiled["unlimited"]


def test_a_users_own_limit_is_kept(monkeypatch):
    monkeypatch.setenv(KERNEL_CACHE, "7")
    limit_kernel_cache()
    assert os.environ[KERNEL_CACHE] == "7"
