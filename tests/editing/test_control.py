"""A ControlNet in an edit: it sees every prediction of every network, each frame with its own picture."""

import pytest
import torch
from diffusers import ControlNetModel
from tiny_diffusion import build_unet

from keyface.diffusion.additions.control import ControlNet
from keyface.editing.editor import (
    Composition,
    EditSettings,
    Injection,
    Prompts,
    Propagation,
    TensorFrames,
    VideoEditor,
)


@pytest.fixture
def controlnet():
    torch.manual_seed(6)
    network = ControlNetModel.from_unet(build_unet(3), conditioning_embedding_out_channels=(8, 16))
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return network.eval()


def pictures(frames) -> torch.Tensor:
    """Frame 7 is everywhere .07."""
    return torch.tensor([frame / 100 for frame in frames])[:, None, None, None].expand(-1, 3, 16, 16)


@pytest.mark.parametrize("mode", ["tokens", "latent", "tokenflow"])
def test_every_prediction_is_controlled_by_its_frames_pictures(backbone, make_unet, frames, controlnet, mode):
    injection = Injection.tokenflow() if mode == "tokenflow" else Injection()
    settings = EditSettings(
        steps=4,
        interval=4,
        guidance_scale=3.0,
        propagation=Propagation(mode=mode),
        injection=injection,
    )
    identity, direction = make_unet(1), make_unet(2)
    predicted, controlled = [], []
    for unet in (backbone.unet, identity, direction):
        unet.register_forward_pre_hook(
            lambda _, inputs, options: predicted.append((inputs[0].clone(), set(options))), with_kwargs=True
        )
    controlnet.register_forward_pre_hook(
        lambda _, inputs, options: controlled.append((inputs[0].clone(), options["controlnet_cond"])),
        with_kwargs=True,
    )
    editor = VideoEditor(
        backbone, identity, direction, settings, controlnet=ControlNet(controlnet, strength=0.5)
    )
    prompts = Prompts("a face", "a face with glasses")
    try:
        with editor.prepare(TensorFrames(frames), prompts, control=pictures) as edited:
            report = edited.report
    finally:
        backbone.unet._forward_pre_hooks.clear()
    assert len(predicted) == len(controlled) > 0
    branches = {"tokens": 2, "latent": 2, "tokenflow": 3}[mode]
    seen = set()
    for (latents, options), (same, images) in zip(predicted, controlled, strict=True):
        assert torch.equal(latents, same)
        assert {"down_block_additional_residuals", "mid_block_additional_residual"} <= options
        numbers = (images[:, 0, 0, 0] * 100).round().int().tolist()
        assert len(numbers) == len(latents)
        for count in (1, branches):  # (branch, frame) → batch
            if len(numbers) == count * len(set(numbers)):
                assert numbers == numbers[: len(set(numbers))] * count
        seen |= set(numbers)
    assert seen == set(range(len(frames)))
    assert report.reconstruction_psnr > report.vae_psnr - 3, "inversion and its way back see the same"


def test_control_images_are_needed(backbone, frames, controlnet):
    editor = VideoEditor(backbone, controlnet=ControlNet(controlnet))
    with pytest.raises(ValueError, match="a ControlNet and nothing that it looks at"):
        editor.edit_frames(frames, Prompts("a face", "with glasses"))


def test_a_picture_changes_its_own_frame_alone(backbone, make_unet, frames, controlnet):
    settings = EditSettings(
        steps=3,
        interval=1,
        joint_attention=False,
        propagation=Propagation(mode="latent"),
        composition=Composition(mode="off"),
    )
    editor = VideoEditor(backbone, None, make_unet(2), settings, controlnet=ControlNet(controlnet))

    def edited_with(images):
        prompts = Prompts("a face", "a face with glasses")
        with editor.prepare(TensorFrames(frames[:4]), prompts, control=images) as edited:
            return torch.cat([layer.edited for layer in edited.layers()])

    before = edited_with(pictures)
    after = edited_with(lambda numbers: pictures([50 if number == 2 else number for number in numbers]))
    changed = (before - after).abs().amax(dim=(1, 2, 3)) > 1e-3
    assert changed.tolist() == [False, False, True, False]
