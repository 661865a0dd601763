"""Injection and joint attention against matrices multiplied by hand.

Two decoder layers of different width, two branches, two or three frames. What is expected is made of the
layers' own weight matrices and a softmax that is written out, frame by frame and head by head.
"""

import pytest
import torch

from keyface.editing.attention import KeyframeAttention, KeyframeState, RecordFeatures, self_attention
from keyface.editing.parts import DECODER_SELF_ATTENTION

BRANCHES = ("negative", "target")
LENGTH = 5


def pairs_of_layers(make_unet):
    """(name, layer of ε1, layer of ε2) of the first decoder layer and of the last one."""
    identity, direction = (self_attention(make_unet(seed), DECODER_SELF_ATTENTION) for seed in (0, 1))
    names = list(identity)
    chosen = [(name, identity[name], direction[name]) for name in (names[0], names[-1])]
    assert chosen[0][1].query_dim != chosen[1][1].query_dim
    return chosen


def tokens_of(layers, *shape):
    """Tokens (…, LENGTH, C) for each layer, large enough for attention to choose among them."""
    generator = torch.Generator().manual_seed(7)
    return {
        name: 4 * torch.randn(*shape, LENGTH, attn.query_dim, generator=generator) for name, attn, _ in layers
    }


def attention(attn, query, keys, values):
    """softmax(Q Kᵀ / √d) V of each head, then the output matrix: (S, I), (S', I), (S', I) → (S, C)."""
    width = query.shape[-1] // attn.heads
    mixed = torch.empty_like(query)
    for head in range(attn.heads):
        own = slice(head * width, (head + 1) * width)
        scores = torch.exp(query[:, own] @ keys[:, own].T / width**0.5)
        mixed[:, own] = scores / scores.sum(dim=1, keepdim=True) @ values[:, own]
    return mixed @ attn.to_out[0].weight.T + attn.to_out[0].bias


def expected_of(identity, direction, mode, source, own, seen):
    """ε2's output (branches, F, S, C), where frame f attends to the frames `seen[f]`.

    Args:
        identity: ε1's layer.
        direction: ε2's.
        mode: of injection.
        source: tokens (F, S, C) of ε1.
        own: tokens (branches, F, S, C) of ε2.
        seen: for each frame the ones that it attends to.
    """
    outputs = torch.empty_like(own)
    for branch in range(len(own)):
        for frame, others in enumerate(seen):
            if mode == "output":
                q, k, v = (source[frame] @ getattr(identity, p).weight.T for p in ("to_q", "to_k", "to_v"))
                outputs[branch, frame] = attention(identity, q, k, v)
                continue
            from_source = {"qk": ("to_q", "to_k"), "kv": ("to_k", "to_v"), "none": ()}[mode]
            query, key, value = (
                (source if name in from_source else own[branch])
                @ getattr(identity if name in from_source else direction, name).weight.T
                for name in ("to_q", "to_k", "to_v")
            )
            keys, values = torch.cat([key[i] for i in others]), torch.cat([value[i] for i in others])
            outputs[branch, frame] = attention(direction, query[frame], keys, values)
    return outputs


@torch.no_grad()
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("mode", ["qk", "kv", "output"])
def test_injected_attention(make_unet, mode, joint):
    layers, frames, store = pairs_of_layers(make_unet), 2, {}
    source, own = tokens_of(layers, frames), tokens_of(layers, len(BRANCHES), frames)
    for name, identity, _ in layers:
        seen = RecordFeatures(name, mode, store)(identity, source[name])
        alone = expected_of(identity, identity, "none", source[name], source[name][None], [[0], [1]])
        torch.testing.assert_close(seen, alone[0], rtol=1e-4, atol=1e-5)
    state = KeyframeState(BRANCHES, mode, joint, source=store)
    seen = [[0, 1], [0, 1]] if joint else [[0], [1]]
    for name, identity, direction in layers:
        found = KeyframeAttention(name, state)(direction, own[name].flatten(0, 1))
        expected = expected_of(identity, direction, mode, source[name], own[name], seen)
        torch.testing.assert_close(found.view_as(expected), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("mode", ["qk", "kv", "none"])
def test_anchors_are_seen_by_the_next_window_in_their_own_branch(make_unet, mode):
    """Three keyframes: the anchor and another one first, then one that sees the anchor and itself."""
    layers = pairs_of_layers(make_unet)
    source, own = tokens_of(layers, 3), tokens_of(layers, len(BRANCHES), 3)
    state = KeyframeState(BRANCHES, "qk" if mode == "none" else mode)
    found = {name: [] for name, *_ in layers}
    for window, anchors in (([0, 1], 1), ([2], 0)):
        state.anchors_in_batch, state.source = anchors, {}
        for name, identity, direction in layers:
            if mode != "none":
                RecordFeatures(name, mode, state.source)(identity, source[name][window])
            output = KeyframeAttention(name, state)(direction, own[name][:, window].flatten(0, 1))
            found[name].append(output.unflatten(0, (len(BRANCHES), -1)))
    for name, identity, direction in layers:
        expected = expected_of(identity, direction, mode, source[name], own[name], [[0, 1], [0, 1], [0, 2]])
        torch.testing.assert_close(torch.cat(found[name], dim=1), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_with_a_stride_frames_see_some_tokens_of_the_others_and_of_the_anchors(make_unet):
    """Five tokens a frame, every second: of the frame at place i in its window two, from token i mod 2 on."""
    name, _, direction = pairs_of_layers(make_unet)[0]
    own = 4 * torch.randn(len(BRANCHES), 5, LENGTH, direction.query_dim)
    state, found = KeyframeState(BRANCHES, stride=2), []
    for window, state.anchors_in_batch in (([0, 1, 2], 2), ([3, 4], 0)):
        output = KeyframeAttention(name, state)(direction, own[:, window].flatten(0, 1))
        found.append(output.unflatten(0, (len(BRANCHES), -1)))
    all_tokens, even, odd = slice(None), [0, 2], [1, 3]
    seen = [
        {0: all_tokens, 1: odd, 2: even},
        {0: even, 1: all_tokens, 2: even},
        {0: even, 1: odd, 2: all_tokens},
        {3: all_tokens, 4: odd, 0: even, 1: odd},
        {3: even, 4: all_tokens, 0: even, 1: odd},
    ]
    expected = torch.empty_like(own)
    for branch, tokens in enumerate(own):
        query, key, value = (tokens @ getattr(direction, part).weight.T for part in ("to_q", "to_k", "to_v"))
        for frame, others in enumerate(seen):
            keys, values = (
                torch.cat([x[other][rows] for other, rows in others.items()]) for x in (key, value)
            )
            expected[branch, frame] = attention(direction, query[frame], keys, values)
    torch.testing.assert_close(torch.cat(found, dim=1), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_outputs_are_kept_for_propagation_by_branch_and_frame(make_unet):
    name, _, direction = pairs_of_layers(make_unet)[0]
    own = torch.randn(len(BRANCHES), 3, LENGTH, direction.query_dim)
    state = KeyframeState(BRANCHES, joint=False, keep_outputs=True)
    KeyframeAttention(name, state)(direction, own.flatten(0, 1))
    expected = expected_of(direction, direction, "none", own[0], own, [[0], [1], [2]])
    torch.testing.assert_close(state.outputs[name], expected, rtol=1e-4, atol=1e-5)
