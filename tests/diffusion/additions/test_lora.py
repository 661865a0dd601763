"""LoRAs in every key form against diffusers' own loading and fusing, on tiny networks of its classes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from tiny_diffusion import build_unet
from torch import Tensor

from keyface.diffusion.additions.lora import lora_file, merge_lora
from keyface.diffusion.additions.weighted import Weighted

ATTENTION = ["to_q", "to_out.0"], ["q_proj", "out_proj"]
EVERYTHING = ["to_q", "to_out.0", "ff.net.0.proj", "conv1", "proj_in"], ["q_proj", "out_proj", "fc1"]


def layers_of(pipeline: StableDiffusionPipeline, targets: Any = EVERYTHING) -> tuple[Any, Any, Any, Any]:
    """LoRA layers (U-Net's, text encoder's) by peft's names, and their configurations."""
    torch.manual_seed(5)
    configs = [
        LoraConfig(r=2, lora_alpha=alpha, target_modules=names, init_lora_weights=False)
        for alpha, names in zip((3, 1), targets, strict=True)
    ]
    networks = pipeline.unet, pipeline.text_encoder
    for network, config in zip(networks, configs, strict=True):
        network.add_adapter(config)
    return (*map(get_peft_model_state_dict, networks), *(config.to_dict() for config in configs))


def kohya(unet: dict[str, Tensor], text: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The names of kohya's scripts: modules with underscores, lora_down, lora_up, alpha; SD 1's encoder."""
    named = {}
    text = {f"text_model.{name}": value for name, value in text.items()}
    for prefix, layers in (("lora_unet", unet), ("lora_te", text)):
        for name, value in layers.items():
            module, _, part = name.removesuffix(".weight").rpartition(".lora_")
            place = f"{prefix}_{module.replace('.', '_')}"
            named[f"{place}.lora_{'down' if part == 'A' else 'up'}.weight"] = value
            named[f"{place}.alpha"] = torch.tensor(alpha)
    return named


def write(form: str, make_pipeline, folder: Path) -> Path:
    targets = ATTENTION if form == "old diffusers" else EVERYTHING
    unet, text, of_unet, of_text = layers_of(make_pipeline(), targets)
    folder.mkdir(exist_ok=True)
    file = folder / "pytorch_lora_weights.safetensors"
    if form == "kohya":
        save_file({k: v.contiguous() for k, v in kohya(unet, text, 1.0).items()}, file)
    elif form == "old diffusers":
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=convert_state_dict_to_diffusers(unet),
            text_encoder_lora_layers=convert_state_dict_to_diffusers(text),
        )
    else:
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=unet,
            text_encoder_lora_layers=text,
            unet_lora_adapter_metadata=of_unet if form == "with metadata" else None,
            text_encoder_lora_adapter_metadata=of_text if form == "with metadata" else None,
        )
    return file


@pytest.mark.parametrize("form", ["diffusers", "with metadata", "old diffusers", "kohya"])
def test_equals_diffusers_load_lora_weights_and_fuse(form, make_pipeline, tmp_path):
    file = write(form, make_pipeline, tmp_path)
    theirs, untuned = make_pipeline(), make_pipeline()
    theirs.load_lora_weights(str(tmp_path), weight_name=file.name)
    theirs.fuse_lora(lora_scale=0.7)
    theirs.unload_lora_weights()
    ours = make_pipeline()
    second = build_unet(7)
    merge_lora(Weighted(file, 0.7), [ours.unet, second, ours.unet], ours.text_encoder)
    for part in ("unet", "text_encoder"):
        expected, before = getattr(theirs, part).state_dict(), getattr(untuned, part).state_dict()
        found = getattr(ours, part).state_dict()
        assert found.keys() == expected.keys() == before.keys(), "no layer is left in it"
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
        changed = [name for name in before if not torch.equal(before[name], expected[name])]
        assert len(changed) >= 2
    # A tuned branch gets the same change on top of its own weights.
    name = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.weight"
    change = theirs.unet.state_dict()[name] - untuned.unet.state_dict()[name]
    tuned = build_unet(7).state_dict()[name] + change
    torch.testing.assert_close(second.state_dict()[name], tuned, rtol=1e-5, atol=1e-6)


def test_several_add_up(make_pipeline, tmp_path):
    first, second = (tmp_path / name for name in ("first", "second"))
    files = [write(form, make_pipeline, folder) for form, folder in (("kohya", first), ("diffusers", second))]
    theirs = make_pipeline()
    for file, strength in zip(files, (0.5, 2.0), strict=True):
        theirs.load_lora_weights(str(file.parent), weight_name=file.name)
        theirs.fuse_lora(lora_scale=strength)
        theirs.unload_lora_weights()
    ours = make_pipeline()
    for file, strength in zip(files, (0.5, 2.0), strict=True):
        merge_lora(Weighted(file, strength), [ours.unet], ours.text_encoder)
    torch.testing.assert_close(ours.unet.state_dict(), theirs.unet.state_dict(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        ours.text_encoder.state_dict(), theirs.text_encoder.state_dict(), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("as_file", [False, True])
def test_pefts_own_folder(make_pipeline, tmp_path, as_file):
    torch.manual_seed(5)
    config = LoraConfig(r=2, lora_alpha=5, target_modules=["to_q", "to_v"], init_lora_weights=False)
    adapted = PeftModel(build_unet(), config)
    adapted.save_pretrained(tmp_path / "lora")
    expected = adapted.merge_and_unload().state_dict()
    place = Weighted(tmp_path / "lora" / "adapter_model.safetensors" if as_file else tmp_path / "lora")
    assert lora_file(place) == tmp_path / "lora" / "adapter_model.safetensors"
    ours = make_pipeline()
    merge_lora(place, [ours.unet], ours.text_encoder)
    torch.testing.assert_close(ours.unet.state_dict(), expected, rtol=1e-6, atol=1e-7)


def test_a_unets_own_save_lora_adapter(make_pipeline, tmp_path):
    theirs = make_pipeline()
    layers_of(theirs)
    theirs.unet.save_lora_adapter(tmp_path, weight_name="lora.safetensors")
    theirs.unet.fuse_lora()
    theirs.unet.unload_lora()
    ours = make_pipeline()
    merge_lora(Weighted(tmp_path / "lora.safetensors"), [ours.unet], ours.text_encoder)
    torch.testing.assert_close(ours.unet.state_dict(), theirs.unet.state_dict(), rtol=1e-6, atol=1e-7)


def renamed(weights: dict[str, Tensor], old: str, new: str) -> dict[str, Tensor]:
    return {name.replace(old, new): value for name, value in weights.items()}


def widened(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    name = next(name for name in weights if name.endswith("attn2.to_q.lora_A.weight"))
    return {**weights, name: torch.zeros(2, 99)}


@pytest.mark.parametrize(
    ("form", "change", "told"),
    [
        ("kohya", lambda w: renamed(w, "lora_te_", "lora_te2_"), "a LoRA of Stable Diffusion XL"),
        ("kohya", lambda w: renamed(w, ".lora_down", ".hada_w1_a"), "a LoHa, which keyface does not read"),
        ("kohya", lambda w: {**w, "x.dora_scale": torch.ones(1)}, "a DoRA, which keyface does not read"),
        ("diffusers", lambda w: renamed(w, "up_blocks.1", "up_blocks.7"), "has no layer for up_blocks.7"),
        ("diffusers", lambda w: renamed(w, "fc1", "fc9"), "text encoder has no layer for encoder"),
        ("diffusers", lambda w: {n: v for n, v in w.items() if "proj_in.lora_B" not in n},
         "attentions.0.proj_in.lora_A.weight has no counterpart"),
        ("diffusers", lambda w: {n: v[:1] if "proj_in.lora_A" in n else v for n, v in w.items()},
         "has no counterpart of the same rank"),
        ("diffusers", widened, "is for 99 channels, this U-Net has"),
        ("diffusers", lambda w: {**w, "transformer.x.lora_A.weight": torch.ones(1, 1)}, "not a LoRA for"),
        ("diffusers", lambda w: {"weight": torch.ones(1)}, "not a LoRA for a U-Net and a text encoder"),
        ("kohya", lambda w: {**w, "lora_unet_x.lora_mid.weight": torch.ones(1)}, "not a LoRA of Stable"),
        ("diffusers", lambda w: {n: v * float("nan") for n, v in w.items()}, "weights hold NaN or infinity"),
    ],
)  # fmt: skip
def test_others_are_refused_and_nothing_changes(form, change, told, make_pipeline, tmp_path, capfd):
    file = write(form, make_pipeline, tmp_path)
    save_file(change(load_file(file)), file)
    ours, before = make_pipeline(), make_pipeline()
    capfd.readouterr()
    with pytest.raises(ValueError, match=f"{file}: .*{told}"):
        merge_lora(Weighted(file), [ours.unet], ours.text_encoder)
    assert capfd.readouterr().err == "", "one line is enough"
    torch.testing.assert_close(ours.unet.state_dict(), before.unet.state_dict(), rtol=0, atol=0)


def test_files_that_cannot_be_read(make_pipeline, tmp_path):
    ours = make_pipeline()
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    (tmp_path / "a.pt").write_bytes(b"nothing")
    for name, told in (
        ("a.safetensors", "damaged, or no safetensors"),
        ("a.pt", "from .safetensors files only"),
    ):
        with pytest.raises(ValueError, match=told):
            merge_lora(Weighted(tmp_path / name), [ours.unet], ours.text_encoder)


def test_strengths_as_users_write_them(tmp_path):
    file, odd = tmp_path / "a.safetensors", tmp_path / "b:2"
    file.touch()
    odd.touch()
    assert Weighted.of(f"{file}:0.7", "--lora") == Weighted(file, 0.7)
    assert Weighted.of(file, "--lora") == Weighted(file, 1.0)
    assert Weighted.of(str(odd), "--lora") == Weighted(odd, 1.0)
    assert Weighted.of(f"{odd}:-0.5", "--lora") == Weighted(odd, -0.5)
    for given, told in (
        (f"{file}:11", "strength 11 is not from"),
        (f"{file}:nan", "strength nan is not from"),
    ):
        with pytest.raises(ValueError, match=told):
            Weighted.of(given, "--lora")
    with pytest.raises(FileNotFoundError, match=r"--lora .*c.safetensors: no such file"):
        Weighted.of(tmp_path / "c.safetensors", "--lora")
