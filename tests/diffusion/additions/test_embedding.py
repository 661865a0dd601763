"""Words by textual inversion against diffusers' own loading, on a tiny text encoder of its classes."""

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from tiny_diffusion import build_unet, make_text_encoder, make_tokenizer, make_vae

from keyface.diffusion.additions.embedding import add_embedding
from keyface.diffusion.backbone import Backbone


@pytest.fixture
def make_parts(tmp_path, epsilon_scheduler):
    def make():
        tokenizer = make_tokenizer(tmp_path)
        return make_vae(), build_unet(), make_text_encoder(len(tokenizer)), tokenizer, epsilon_scheduler

    return make


@pytest.mark.parametrize("vectors", [1, 3])
def test_prompts_are_those_of_diffusers(vectors, make_parts, tmp_path):
    torch.manual_seed(4)
    shape = (16,) if vectors == 1 else (vectors, 16)
    file = tmp_path / "learned.safetensors"
    save_file({"<pat>": torch.randn(shape)}, file)
    vae, unet, text_encoder, tokenizer, scheduler = make_parts()
    theirs = StableDiffusionPipeline(
        vae=vae,
        unet=unet,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    theirs.load_textual_inversion(str(file))
    prompts = ["a <pat> face", "a face"]
    expected, _ = theirs.encode_prompt(prompts, torch.device("cpu"), 1, do_classifier_free_guidance=False)
    ours = Backbone(*make_parts())
    before = ours.encode_prompts(prompts)
    ours.added_words.append(add_embedding(file, ours.tokenizer, ours.text_encoder))
    assert ours.added_words == ["<pat>"]
    with torch.no_grad():
        found = ours.encode_prompts(prompts)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert (found[0] - before[0]).abs().max() > 0.01, "the word is known now"
    torch.testing.assert_close(found[1], before[1].detach(), rtol=1e-5, atol=1e-6)


def test_the_files_name_where_the_key_is_none(make_parts, tmp_path):
    file = tmp_path / "pat-style.safetensors"
    save_file({"emb_params": torch.randn(2, 16)}, file)
    ours = Backbone(*make_parts())
    assert add_embedding(file, ours.tokenizer, ours.text_encoder) == "pat-style"
    assert {"pat-style", "pat-style_1"} <= ours.tokenizer.get_vocab().keys()
    with pytest.raises(ValueError, match="'pat-style' is a word that the text encoder has already"):
        add_embedding(file, ours.tokenizer, ours.text_encoder)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"<pat>": torch.ones(1, 24)}, "for a text encoder of width 24, this one's is 16"),
        ({"clip_l": torch.ones(1, 16), "clip_g": torch.ones(1, 20)}, "a word of Stable Diffusion XL"),
        ({"a": torch.ones(16), "b": torch.ones(16)}, "it holds 2 tensors, not one"),
        ({"two words": torch.ones(16)}, "a name without spaces"),
        ({"x": torch.ones(1, 1, 16)}, r"is of shape \(1, 1, 16\)"),
        ({"x": torch.full((16,), float("inf"))}, "hold NaN or infinity"),
    ],
)
def test_others_are_refused_and_nothing_changes(weights, told, make_parts, tmp_path):
    file = tmp_path / "x.safetensors"
    save_file(weights, file)
    ours = Backbone(*make_parts())
    size = len(ours.tokenizer)
    with pytest.raises(ValueError, match=f"{file}: .*{told}"):
        add_embedding(file, ours.tokenizer, ours.text_encoder)
    assert len(ours.tokenizer) == size
    assert ours.text_encoder.get_input_embeddings().weight.shape[0] == size


def test_pickles_are_not_opened(make_parts, tmp_path):
    file = tmp_path / "x.pt"
    file.write_bytes(b"cos\nsystem\n")
    ours = Backbone(*make_parts())
    with pytest.raises(ValueError, match=r"from \.safetensors files only"):
        add_embedding(file, ours.tokenizer, ours.text_encoder)
