"""ControlNet against diffusers' own pipeline, and the control images."""

import json

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline
from tiny_diffusion import build_unet

from keyface.diffusion.additions.control import Control, canny_edges, load_controlnet
from keyface.diffusion.additions.weighted import Weighted


@pytest.fixture
def folder(tmp_path):
    """A ControlNet with random weights in all its layers: those of a new one begin at zero."""
    torch.manual_seed(6)
    network = ControlNetModel.from_unet(build_unet(3), conditioning_embedding_out_channels=(8, 16))
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(tmp_path / "control")
    return tmp_path / "control"


def test_sampling_equals_diffusers_pipeline(folder, make_pipeline, parts_of, theirs, ours):
    images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    pipeline = make_pipeline(
        StableDiffusionControlNetPipeline, controlnet=ControlNetModel.from_pretrained(folder)
    )
    expected = theirs(pipeline, image=images, controlnet_conditioning_scale=0.8)
    backbone = parts_of(pipeline)
    given = load_controlnet(Weighted(folder, 0.8), backbone.unet)
    found = ours(backbone, Control(given.network, images, given.strength))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert (found - ours(backbone)).abs().max() > 1e-2, "the pictures say something"
    other = ours(backbone, Control(given.network, images.flip(0), given.strength))
    assert (found - other).abs().max() > 1e-3, "each frame has its own"


def test_canny_is_opencvs():
    import cv2

    frames = (torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    frames[0] = 7
    frames[0, :, :, 12:] = 200
    edges = canny_edges(frames)
    assert edges.shape == (2, 3, 24, 24)
    assert set(edges.unique().tolist()) == {0.0, 1.0}
    columns = edges[0, 0].sum(dim=0).nonzero().flatten().tolist()
    assert columns == [11] or columns == [12], "one line where dark meets bright"
    expected = cv2.Canny(np.ascontiguousarray(frames[1].permute(1, 2, 0).numpy()), 100, 200)
    assert torch.equal(edges[1, 2], torch.from_numpy(expected).float() / 255)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"_class_name": "UNet2DConditionModel"},
            "holds a UNet2DConditionModel; a ControlNetModel is needed",
        ),
        ({"cross_attention_dim": 768}, "its cross_attention_dim is 768, that of these weights 16"),
        ({"block_out_channels": [16, 64]}, r"its block_out_channels is \[16, 64\]"),
    ],
)
def test_others_are_refused(change, told, folder):
    config = folder / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(ValueError, match=told):
        load_controlnet(Weighted(folder), build_unet())


def test_a_folder_without_a_network(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config\.json"):
        load_controlnet(Weighted(tmp_path), build_unet())
