import json

import pytest
import torch
from peft import LoraConfig, get_peft_model

from keyface.diffusion.backbone import Backbone, load_unet


@pytest.fixture
def folder(backbone, tmp_path):
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(backbone, part).save_pretrained(tmp_path / part)
    return tmp_path


def test_a_folder_saved_by_diffusers_comes_back(backbone, folder):
    found = Backbone.from_folder(folder)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        latents = backbone.encode_images(images)
        torch.testing.assert_close(found.encode_images(images), latents)
        torch.testing.assert_close(found.decode_latents(latents), backbone.decode_latents(latents))
        prompts = ["a face", "a face with glasses"]
        text = backbone.encode_prompts(prompts)
        torch.testing.assert_close(found.encode_prompts(prompts), text)
        expected = backbone.unet(latents, 9, encoder_hidden_states=text).sample
        torch.testing.assert_close(found.unet(latents, 9, encoder_hidden_states=text).sample, expected)
    assert latents.shape == (2, 4, 8, 8)
    assert text.shape == (2, 8, 16)
    assert not torch.equal(text[0], text[1])
    assert (found.latent_channels, found.downscale, found.image_size) == (4, 2, 16)
    assert found.scheduler.config.prediction_type == "v_prediction"
    assert not found.scheduler.config.clip_sample


def test_clipping_of_pixels_is_switched_off(folder):
    path = folder / "scheduler" / "scheduler_config.json"
    config = json.loads(path.read_text())
    del config["clip_sample"]
    path.write_text(json.dumps(config))
    assert not Backbone.from_folder(folder).scheduler.config.clip_sample


def test_latents_are_scaled_and_differentiable(backbone):
    images = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        mode = backbone.vae.encode(images).latent_dist.mode()
        torch.testing.assert_close(backbone.encode_images(images), mode * 0.5)
    latents = (mode * 0.5).requires_grad_()
    backbone.decode_latents(latents).sum().backward()
    assert latents.grad is not None


def test_pickled_weights_are_refused(backbone, folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save(backbone.unet.state_dict(), folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        Backbone.from_folder(folder)


def test_what_is_missing_is_named(tmp_path):
    (tmp_path / "vae").mkdir()
    with pytest.raises(FileNotFoundError, match="unet, text_encoder, tokenizer, scheduler"):
        Backbone.from_folder(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"neither config.json nor adapter_config.json"):
        load_unet(tmp_path)


def test_lora_folder_and_whole_folder_give_equal_outputs(make_unet, tmp_path):
    base = make_unet()
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    torch.manual_seed(3)
    adapted = get_peft_model(make_unet(), config)
    adapted.save_pretrained(tmp_path / "lora")
    inputs, text = torch.randn(1, 4, 8, 8), torch.randn(1, 8, 16)
    with torch.no_grad():
        expected = adapted(inputs, 5, encoder_hidden_states=text).sample
        untuned = base(inputs, 5, encoder_hidden_states=text).sample
        adapted.merge_and_unload().save_pretrained(tmp_path / "whole")
        for folder in ("lora", "whole"):
            found = load_unet(tmp_path / folder, base)(inputs, 5, encoder_hidden_states=text).sample
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(base(inputs, 5, encoder_hidden_states=text).sample, untuned)
    assert (expected - untuned).abs().max() > 1e-3
    with pytest.raises(ValueError, match="give the U-Net they were trained on"):
        load_unet(tmp_path / "lora")
