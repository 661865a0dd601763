import copy
import json
import re
import shlex
import subprocess
import sys

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


PARTS = {"vae": "diffusion_pytorch_model", "unet": "diffusion_pytorch_model", "text_encoder": "model"}


def halved(backbone, folder):
    """The folder with nothing but weights of half precision, as many models are published."""
    for part, stem in PARTS.items():
        network = getattr(backbone, part)
        (folder / part / f"{stem}.safetensors").unlink()
        halves = copy.deepcopy(network).half()
        halves.save_pretrained(folder / part, variant="fp16")
        assert (folder / part / f"{stem}.fp16.safetensors").is_file()
        assert not (folder / part / f"{stem}.safetensors").exists()


def test_a_folder_with_fp16_files_alone_is_read_in_the_precision_that_was_asked_for(backbone, folder):
    halved(backbone, folder)
    found = Backbone.from_folder(folder)
    assert {found.vae.dtype, found.unet.dtype, found.text_encoder.dtype} == {torch.float32}
    for part in PARTS:
        stored, weights = getattr(backbone, part).state_dict(), getattr(found, part).state_dict()
        for name, value in weights.items():
            if value.is_floating_point():
                torch.testing.assert_close(value, stored[name].half().float(), rtol=0, atol=0)
    assert load_unet(folder / "unet", backbone.unet).dtype == torch.float32
    file = folder / "unet" / "diffusion_pytorch_model.fp16.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"diffusion_pytorch_model.fp16.safetensors: damaged"):
        Backbone.from_folder(folder)


def test_shards_of_a_variant_are_read(backbone, folder):
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    backbone.unet.save_pretrained(folder / "unet", variant="fp16", max_shard_size="20KB")
    assert len(list((folder / "unet").glob("*.fp16-*-of-*.safetensors"))) > 1
    found = Backbone.from_folder(folder)
    torch.testing.assert_close(found.unet.state_dict(), backbone.unet.state_dict())


def test_plain_files_are_preferred_to_a_variant(backbone, folder):
    copy.deepcopy(backbone.unet).half().save_pretrained(folder / "unet", variant="fp16")
    found = Backbone.from_folder(folder)
    torch.testing.assert_close(found.unet.state_dict(), backbone.unet.state_dict(), rtol=0, atol=0)


def test_pickled_weights_are_named_with_how_to_convert_them(backbone, folder):
    for part in ("unet", "text_encoder"):
        (folder / part / f"{PARTS[part]}.safetensors").unlink()
        target = folder / part / ("diffusion_pytorch_model.bin" if part == "unet" else "pytorch_model.bin")
        torch.save(getattr(backbone, part).state_dict(), target)
    with pytest.raises(FileNotFoundError) as told:
        Backbone.from_folder(folder)
    message = str(told.value)
    assert (
        f"{folder}/unet/diffusion_pytorch_model.safetensors, {folder}/text_encoder/model.safetensors"
        in message
    )
    assert (
        f"{folder}/unet/diffusion_pytorch_model.bin, {folder}/text_encoder/pytorch_model.bin can hold code"
        in message
    )
    command = re.search(r'convert it: (python -c ".+")$', message)
    assert command is not None
    subprocess.run(shlex.split(command[1].replace("python", sys.executable, 1)), check=True)
    found = Backbone.from_folder(folder)
    torch.testing.assert_close(found.unet.state_dict(), backbone.unet.state_dict())
    torch.testing.assert_close(found.text_encoder.state_dict(), backbone.text_encoder.state_dict())


def test_a_pickle_is_not_opened(backbone, folder, tmp_path):
    canary = tmp_path / "canary"
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    code = f"cbuiltins\nexec\n(S'open({str(canary)!r}, chr(119))'\ntR."
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(code.encode())
    with pytest.raises(FileNotFoundError, match="is never opened here"):
        Backbone.from_folder(folder)
    with pytest.raises(FileNotFoundError, match="is never opened here"):
        load_unet(folder / "unet")
    assert not canary.exists()
    (folder / "unet" / "diffusion_pytorch_model.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"diffusion_pytorch_model.safetensors \(or .* is wanted$"):
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
