import pytest
import torch

from keyface.editing.attention import (
    Features,
    KeyframeAttention,
    KeyframeState,
    RecordFeatures,
    attend,
    processors,
    recorded_outputs,
    replaced_outputs,
    self_attention,
)
from keyface.editing.parts import DECODER_SELF_ATTENTION, SELF_ATTENTION
from keyface.editing.settings import Injection

RESIDUALS = Injection(residual_layers=r"up_blocks\.1\.resnets\.1\.conv2$").residual_layers


def run(unet, latents, text, timestep=500):
    with torch.no_grad():
        return unet(latents, timestep, encoder_hidden_states=text.expand(len(latents), -1, -1)).sample


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(5)
    return torch.randn(3, 4, 8, 8, generator=generator), torch.randn(1, 8, 16, generator=generator)


def keyframes(unet, state, latents, text):
    with processors(unet, SELF_ATTENTION, lambda name: KeyframeAttention(name, state)):
        return run(unet, latents, text)


@pytest.mark.parametrize("heads", [{}, {"attention_head_dim": (2, 4)}, {"use_linear_projection": True}])
def test_one_keyframe_equals_ordinary_attention(make_unet, inputs, heads):
    unet = make_unet(**heads)
    latents, text = inputs[0][:1], inputs[1]
    joint = keyframes(unet, KeyframeState(("target",), joint=True), latents, text)
    torch.testing.assert_close(joint, run(unet, latents, text), rtol=1e-4, atol=1e-5)


def test_separate_keyframes_equal_ordinary_attention(make_unet, inputs):
    unet = make_unet()
    separate = keyframes(unet, KeyframeState(("target",), joint=False), *inputs)
    torch.testing.assert_close(separate, run(unet, *inputs), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["qk", "kv", "output"])
def test_injection_from_the_same_network_equals_none(make_unet, inputs, mode):
    unet, store = make_unet(), {}
    with processors(unet, DECODER_SELF_ATTENTION, lambda name: RecordFeatures(name, mode, store)):
        plain = run(unet, *inputs)
    state = KeyframeState(("negative", "target"), mode, joint=False, source=store)
    latents = inputs[0].repeat(2, 1, 1, 1)
    for branch in keyframes(unet, state, latents, inputs[1]).chunk(2):
        torch.testing.assert_close(branch, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["qk", "kv", "output"])
def test_injection_from_another_network_changes_the_output(make_unet, inputs, mode):
    identity, direction, store = make_unet(0), make_unet(1), {}
    with processors(identity, DECODER_SELF_ATTENTION, lambda name: RecordFeatures(name, mode, store)):
        run(identity, *inputs)
    injected = keyframes(direction, KeyframeState(("target",), mode, joint=False, source=store), *inputs)
    assert (injected - run(direction, *inputs)).abs().max() > 1e-3


def test_joint_attention_equals_a_plain_loop(make_unet, inputs):
    unet = make_unet()
    name, attn = next(iter(self_attention(unet, SELF_ATTENTION).items()))
    tokens = torch.randn(2, 3, 5, attn.query_dim)
    with torch.no_grad():
        found = KeyframeAttention(name, KeyframeState(("negative", "target")))(attn, tokens.flatten(0, 1))
        expected = torch.empty_like(tokens)
        for branch in range(2):
            everything = tokens[branch].flatten(0, 1)
            key = attn.to_k(everything).view(-1, attn.heads, attn.to_k.out_features // attn.heads)
            value = attn.to_v(everything).view_as(key)
            for frame in range(3):
                query = attn.to_q(tokens[branch, frame]).view(5, attn.heads, -1)
                mixed = torch.empty_like(query)
                for head in range(attn.heads):
                    scores = query[:, head] @ key[:, head].T / query.shape[-1] ** 0.5
                    mixed[:, head] = scores.softmax(-1) @ value[:, head]
                expected[branch, frame] = attn.to_out[0](mixed.flatten(1))
    torch.testing.assert_close(found.view_as(expected), expected, rtol=1e-4, atol=1e-5)


def test_anchors_are_attended_to_by_later_groups(make_unet):
    unet = make_unet()
    name, attn = next(iter(self_attention(unet, SELF_ATTENTION).items()))
    tokens = torch.randn(4, 5, attn.query_dim)
    state = KeyframeState(("target",), anchors_in_batch=1)
    layer = KeyframeAttention(name, state)
    with torch.no_grad():
        first = layer(attn, tokens[:2])
        state.anchors_in_batch = 0
        second = layer(attn, tokens[2:])
        whole = KeyframeAttention(name, KeyframeState(("target",)))
        torch.testing.assert_close(first, whole(attn, tokens[:2]))
        torch.testing.assert_close(second, whole(attn, tokens[[0, 2, 3]])[1:], rtol=1e-4, atol=1e-5)


def test_norms_of_queries_and_keys_are_applied():
    from diffusers.models.attention_processor import Attention

    attn = Attention(16, heads=2, dim_head=8, qk_norm="layer_norm").eval()
    tokens = torch.randn(2, 5, 16)
    with torch.no_grad():
        own = attn.to_out[0](attend(attn, attn.to_q(tokens), attn.to_k(tokens), attn.to_v(tokens)))
        torch.testing.assert_close(own, attn(tokens), rtol=1e-4, atol=1e-5)


def test_a_layer_that_scales_its_output_is_scaled():
    from diffusers.models.attention_processor import Attention

    attn = Attention(16, heads=2, dim_head=8, rescale_output_factor=2.0).eval()
    tokens = torch.randn(2, 5, 16)
    with torch.no_grad():
        own = RecordFeatures("layer", "qk", {})(attn, tokens)
        torch.testing.assert_close(own, attn(tokens), rtol=1e-4, atol=1e-5)


def test_layers_are_named_alike_with_and_without_peft(make_unet, inputs):
    """peft wraps a network; ε1's features are put in place of ε2's by name, in ε2's precision."""
    unet, wrapped, store, under = make_unet(), torch.nn.Module(), {}, {}
    wrapped.base_model = torch.nn.Module()
    wrapped.base_model.model = unet
    assert list(self_attention(wrapped, SELF_ATTENTION)) == list(self_attention(unet, SELF_ATTENTION))
    with recorded_outputs(unet, RESIDUALS, store), recorded_outputs(wrapped, RESIDUALS, under):
        plain = run(unet, *inputs)
    assert list(under) == list(store)
    double = {name: output.double() for name, output in store.items()}
    with replaced_outputs(wrapped, RESIDUALS, double):
        torch.testing.assert_close(run(unet, *inputs), plain)


def test_processors_come_off_even_after_an_error(make_unet, inputs):
    unet = make_unet()
    before = {name: id(p) for name, p in unet.attn_processors.items()}
    during = {}

    def fail_inside():
        with processors(unet, DECODER_SELF_ATTENTION, lambda name: RecordFeatures(name, "qk", {})):
            during.update({name: id(p) for name, p in unet.attn_processors.items()})
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail_inside()
    changed = [name for name in before if before[name] != during[name]]
    assert changed
    assert all("up_blocks" in name and "attn1" in name for name in changed)
    assert {name: id(p) for name, p in unet.attn_processors.items()} == before


def test_a_pattern_without_layers_is_an_error(make_unet):
    with pytest.raises(ValueError, match="no attn1 module"):
        self_attention(make_unet(), "no_such_block")


def test_residual_features_of_the_same_network_change_nothing(make_unet, inputs):
    unet, store = make_unet(), {}
    with recorded_outputs(unet, RESIDUALS, store):
        plain = run(unet, *inputs)
    with replaced_outputs(unet, RESIDUALS, store):
        again = run(unet, inputs[0].repeat(2, 1, 1, 1), inputs[1])
    for branch in again.chunk(2):
        torch.testing.assert_close(branch, plain, rtol=1e-4, atol=1e-5)
    assert torch.equal(run(unet, *inputs), plain)
    assert Features().query is None
