"""TokenFlow's pieces against plain loops over its published formulas."""

import math
import re

import pytest
import torch

from keyface.editing.attention import self_attention, shared_outputs
from keyface.editing.editor import EditSettings, Injection, Prompts, Propagation, VideoEditor
from keyface.editing.parts import SELF_ATTENTION
from keyface.editing.strategies import tokenflow
from keyface.editing.strategies.tokenflow import FlowAttention, PivotAttention, Pivots, own_share

SETTINGS = EditSettings(
    steps=4,
    interval=4,
    guidance_scale=3.0,
    propagation=Propagation.tokenflow(),
    injection=Injection.tokenflow(),
)


def published_share(frame: int, batch_size: int) -> float:
    """w1 of `tokenflow_utils.py`: batch_idxs[0] is the frame's own batch, batch_idxs[1] the one before."""
    own = frame // batch_size
    p1, p2 = own * batch_size + batch_size // 2, (own - 1) * batch_size + batch_size // 2
    d1, d2 = abs(frame - p1), abs(frame - p2)
    return 1 / (1 + math.exp(-d2 / (d1 + d2)))


@pytest.mark.parametrize("frame", [8, 9, 12, 15, 16, 20])
def test_own_share_is_the_published_weight(frame):
    assert own_share(frame, 8) == pytest.approx(published_share(frame, 8))
    assert 0.5 < own_share(frame, 8) < 0.74


@pytest.mark.parametrize("inject", [False, True])
def test_pivot_attention_equals_plain_loops(make_unet, inject):
    name, attn = next(iter(self_attention(make_unet(), SELF_ATTENTION).items()))
    frames, length = 3, 5
    tokens, pivots = torch.randn(3, frames, length, attn.query_dim), Pivots()
    with torch.no_grad():
        found = PivotAttention(name, pivots, inject)(attn, tokens.flatten(0, 1)).view_as(tokens)
        expected = torch.empty_like(tokens)
        for branch in range(3):
            asking = tokens[0] if inject else tokens[branch]
            for frame in range(frames):
                known = [frame] if branch == 0 else list(range(frames))
                query = attn.to_q(asking[frame]).view(length, attn.heads, -1)
                key = attn.to_k(asking[known].flatten(0, 1)).view(len(known) * length, attn.heads, -1)
                value = attn.to_v(tokens[branch][known].flatten(0, 1)).view_as(key)
                mixed = torch.empty_like(query)
                for head in range(attn.heads):
                    scores = query[:, head] @ key[:, head].T / query.shape[-1] ** 0.5
                    mixed[:, head] = scores.softmax(-1) @ value[:, head]
                expected[branch, frame] = attn.to_out[0](mixed.flatten(1))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(pivots.tokens[name], tokens[0])
    torch.testing.assert_close(pivots.outputs[name], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("number", [0, 2])
def test_flow_attention_equals_plain_loops(number):
    keyframes, frames, length, width = 3, 2, 6, 4
    pivots = Pivots(
        {"layer": torch.randn(keyframes, length, width)}, {"layer": torch.randn(3, keyframes, length, width)}
    )
    tokens, weights = torch.randn(3, frames, length, width), torch.tensor([0.6, 0.7])
    found = FlowAttention("layer", pivots, number, weights)(None, tokens.flatten(0, 1)).view_as(tokens)
    for frame in range(frames):
        for token in range(length):
            taken = []
            for keyframe in [number] if number == 0 else [number, number - 1]:
                cosines = [
                    torch.cosine_similarity(tokens[0, frame, token], key, dim=0)
                    for key in pivots.tokens["layer"][keyframe]
                ]
                nearest = max(range(length), key=lambda i: float(cosines[i]))
                taken.append(pivots.outputs["layer"][:, keyframe, nearest])
            share = weights[frame]
            expected = taken[0] if number == 0 else share * taken[0] + (1 - share) * taken[1]
            torch.testing.assert_close(found[:, frame, token], expected)


def test_residuals_of_the_source_go_to_all_branches(make_unet):
    unet, seen = make_unet(), []
    pattern = Injection.tokenflow().residual_layers
    module = dict(unet.named_modules())["up_blocks.1.resnets.1"]
    with torch.no_grad(), shared_outputs(unet, pattern, 3):
        handle = module.conv2.register_forward_hook(lambda _, __, output: seen.append(output))
        unet(torch.randn(6, 4, 8, 8), 500, encoder_hidden_states=torch.randn(6, 8, 16))
        handle.remove()
    for branch in seen[0].chunk(3):
        assert torch.equal(branch, seen[0][:2])


def test_three_branches_of_keyframes_and_of_every_frame_at_each_step(
    backbone, make_unet, frames, monkeypatch
):
    drawn, batches, direction = [], [], make_unet(1)
    select = tokenflow.select_keyframes

    def remember(*arguments):
        drawn.append(select(*arguments))
        return drawn[-1]

    monkeypatch.setattr(tokenflow, "select_keyframes", remember)
    direction.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    VideoEditor(backbone, None, direction, SETTINGS).edit_frames(frames, Prompts("a face", "with glasses"))
    assert batches == [3 * 3, 3 * 4, 3 * 4, 3 * 2] * SETTINGS.steps
    assert len(set(drawn)) > 1
    assert all([k // 4 for k in keyframes] == [0, 1, 2] for keyframes in drawn)


def test_the_layers_are_those_of_the_published_code():
    """Of SD's decoder: blocks 1 to 3, but for the first attention of block 1."""
    pattern = Injection.tokenflow().layers
    name = "up_blocks.{}.attentions.{}.transformer_blocks.0.attn1"
    chosen = {(b, a) for b in (1, 2, 3) for a in (0, 1, 2) if re.search(pattern, name.format(b, a))}
    assert chosen == {(1, 1), (1, 2), *((b, a) for b in (2, 3) for a in (0, 1, 2))}
    assert not re.search(pattern, "down_blocks.1.attentions.1.transformer_blocks.0.attn1")
