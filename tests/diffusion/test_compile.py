"""Compiled U-Nets: one graph for a whole network, and few of them for a whole edit."""

import copy
import dataclasses

import pytest
import torch

from keyface.diffusion.precision import accelerate, is_compiled
from keyface.editing.editor import EditSettings, Injection, Prompts, VideoEditor
from keyface.resume.batches import Batches

PROMPTS = Prompts("a face", "a face with glasses")
ONE_LEVEL = {
    "block_out_channels": (16,),
    "down_block_types": ("CrossAttnDownBlock2D",),
    "up_block_types": ("CrossAttnUpBlock2D",),
}


@pytest.fixture
def fresh_compiler():
    config = torch._dynamo.config
    limit, skip = config.recompile_limit, config.skip_nnmodule_hook_guards
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()
    config.recompile_limit, config.skip_nnmodule_hook_guards = limit, skip


def test_an_edit_has_one_graph_for_each_kind_of_attention(backbone, make_unet, fresh_compiler):
    """Nor do timesteps, levels, steps or a last, shorter batch need further ones, nor a second edit."""
    graphs = []

    def counting(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    x = torch.linspace(0, 6.28, 16)
    shifts = torch.arange(13)[:, None, None] * 0.2
    wave = torch.sin(x[None, None] + shifts) * torch.cos(x[None, :, None])
    frames = torch.stack([wave, wave.flip(1), wave * 0.5], dim=1)
    settings = EditSettings(
        steps=4, interval=4, chunk_size=4, guidance_scale=2.0, injection=Injection(until=0.5)
    )
    base = dataclasses.replace(backbone, unet=make_unet(0, **ONE_LEVEL), vae=copy.deepcopy(backbone.vae))
    branches = [make_unet(2, **ONE_LEVEL), make_unet(1, **ONE_LEVEL)]
    before, _ = VideoEditor(base, *branches, settings).edit_frames(frames, PROMPTS)
    accelerate(base, branches, compiled=True, backend=counting)
    assert all(is_compiled(unet) for unet in (base.unet, *branches))
    after, _ = VideoEditor(base, *branches, settings).edit_frames(frames, PROMPTS)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-3)
    # The inverting U-Net matching and plain, epsilon1 recording, epsilon2 on keyframes with features and
    # without, and on other frames.
    assert len(graphs) == 6
    assert not torch._dynamo.utils.counters["graph_break"]
    VideoEditor(base, *branches, settings).edit_frames(frames.flip(0), PROMPTS)
    assert len(graphs) == 6


def test_even_batches_repeat_the_last_frame_and_count_it_once():
    seen, told = [], []
    Batches(4, even=True).each(range(6), seen.append, told.append, name="work")
    assert [list(part) for part in seen] == [[0, 1, 2, 3], [4, 5, 5, 5]]
    assert told == [0, 4, 2]
