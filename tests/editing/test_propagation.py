import pytest
import torch

from keyface.editing.correspondence import Correspondences
from keyface.editing.keyframes import Neighbours
from keyface.editing.propagation import Blend, KeyframeTokens, PropagatedAttention
from keyface.editing.settings import EditSettings, Injection, Propagation
from keyface.resume.memory_maps import MemoryMaps


def blend_of(tmp_path, field, follows, keyframes, device="cpu"):
    files = MemoryMaps(tmp_path).allocate(Correspondences.layout(10, len(keyframes), {16: 1}))
    store = Correspondences(keyframes, (4, 4), 0.0, files)
    store.put_fields(list(range(10)), {16: field.expand(10, 2, 16)})
    return Blend.of(range(1, 1 + len(follows)), follows, keyframes, store, torch.device(device))


def test_weights_sum_to_one(tmp_path):
    """Where all keyframes carry the same tokens, a frame gets just these, whatever its weights."""
    same = torch.randn(2, 1, 16, 3).expand(2, 3, 16, 3)
    follows = [Neighbours(0, 4, 0.75), Neighbours(4, 9, 0.1), Neighbours(9, 9, 1.0)]
    found = blend_of(tmp_path, torch.arange(16), follows, [0, 4, 9]).tokens(same)
    torch.testing.assert_close(found, same)


def test_tokens_follow_field_and_distance(tmp_path):
    tokens = torch.randn(2, 3, 16, 5)
    permutation = torch.randperm(16)
    follows = [Neighbours(4, 9, 0.25), Neighbours(0, 4, 0.5)]
    found = blend_of(tmp_path, permutation, follows, [0, 4, 9]).tokens(tokens)
    first = 0.25 * tokens[:, 1, permutation] + 0.75 * tokens[:, 2, permutation]
    second = 0.5 * tokens[:, 0, permutation] + 0.5 * tokens[:, 1, permutation]
    torch.testing.assert_close(found, torch.stack([first, second], dim=1))


def test_latents_move_with_a_translation(tmp_path):
    latents = torch.randn(1, 3, 4, 4)
    field = torch.arange(16).view(4, 4).roll((1, 1), dims=(0, 1)).flatten()
    found = blend_of(tmp_path, field, [Neighbours(2, 2, 1.0)], [2]).latents(latents)
    torch.testing.assert_close(found[0], latents[0].roll((1, 1), dims=(1, 2)))


def test_a_blend_has_the_device_and_the_precision_that_it_is_asked_for(tmp_path):
    follows = [Neighbours(0, 4, 0.75), Neighbours(4, 4, 1.0)]
    elsewhere = blend_of(tmp_path, torch.arange(16), follows, [0, 4], "meta")
    parts = [elsewhere.rows, elsewhere.weights, *elsewhere.fields.values()]
    assert [part.device.type for part in parts] == ["meta"] * 3
    blend, tokens = blend_of(tmp_path, torch.arange(16), follows, [0, 4]), torch.randn(1, 2, 16, 3)
    half = blend.tokens(tokens.bfloat16())
    assert half.dtype == torch.bfloat16
    layer = PropagatedAttention("layer", KeyframeTokens([0, 4], {"layer": tokens}), blend)
    found = layer(None, torch.empty(2, 16, 3, dtype=torch.bfloat16))
    torch.testing.assert_close(found, blend.tokens(tokens)[0].bfloat16())
    torch.testing.assert_close(half[0].float(), found.float(), rtol=0.02, atol=0.02)


def test_only_wanted_tokens_are_kept():
    tokens = KeyframeTokens()
    first, second = torch.randn(2, 2, 4, 3), torch.randn(2, 1, 4, 3)
    tokens.add([0, 8], {"layer": first})
    tokens.keep({8})
    tokens.add([16], {"layer": second})
    assert tokens.keyframes == [8, 16]
    torch.testing.assert_close(tokens.outputs["layer"], torch.cat([first[:, 1:], second], dim=1))
    tokens.keep(set())
    assert tokens.outputs["layer"].shape[1] == 0


def test_settings_say_what_is_wrong():
    with pytest.raises(ValueError, match=r"injection.mode is 'q'; choose one of qk, kv, output"):
        Injection(mode="q")
    with pytest.raises(ValueError, match=r"propagation.mode is 'token'; choose one of tokens, latent, tok"):
        Propagation(mode="token")
    with pytest.raises(ValueError, match="interval is 0"):
        EditSettings(interval=0)
    with pytest.raises(ValueError, match="strength is 2"):
        EditSettings(strength=2)


def test_active_steps():
    injection = Injection(until=0.5)
    assert [injection.attention_active(step, 4) for step in range(4)] == [True, True, False, False]
    assert not Injection(enabled=False).attention_active(0, 4)
    assert EditSettings(steps=20, strength=0.5).start_level == 10
