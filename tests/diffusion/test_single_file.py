"""Stable Diffusion's published single files: written by the tests in that format from small models."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.backbone_files import load_backbone
from keyface.diffusion.single_file import Shapes, backbone_from_file

WIDTHS = (64, 128)


def small_models(family: int) -> dict[str, Any]:
    torch.manual_seed(family)
    unet = UNet2DConditionModel(
        sample_size=64,
        block_out_channels=WIDTHS,
        layers_per_block=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=64,
        attention_head_dim=8 if family == 1 else [1, 2],
        use_linear_projection=family == 2,
    )
    vae = AutoencoderKL(
        block_out_channels=(32, 64),
        layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=49408,
            hidden_size=64,
            intermediate_size=80,
            num_hidden_layers=2,
            num_attention_heads=1,
            hidden_act="quick_gelu" if family == 1 else "gelu",
        )
    )
    return {"unet": unet.eval(), "vae": vae.eval(), "text": text.eval()}


# The published names, written down from the published format: a level's residual blocks and attentions are
# numbered through, halvings and doublings among them.
RESIDUAL = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}


def original_unet(state: dict[str, Tensor]) -> dict[str, Tensor]:
    places = {
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "conv_in": "input_blocks.0.0",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
        "mid_block.resnets.0": "middle_block.0",
        "mid_block.attentions.0": "middle_block.1",
        "mid_block.resnets.1": "middle_block.2",
        "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
        "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv",
    }
    for level in range(2):
        for layer in range(2):
            places[f"down_blocks.{level}.resnets.{layer}"] = f"input_blocks.{1 + 3 * level + layer}.0"
            places[f"down_blocks.{level}.attentions.{layer}"] = f"input_blocks.{1 + 3 * level + layer}.1"
        for layer in range(3):
            places[f"up_blocks.{level}.resnets.{layer}"] = f"output_blocks.{3 * level + layer}.0"
            places[f"up_blocks.{level}.attentions.{layer}"] = f"output_blocks.{3 * level + layer}.1"
    renamed = {}
    for name, value in state.items():
        start = max((place for place in places if name.startswith(place + ".")), key=len)
        rest = name.removeprefix(start + ".")
        if "resnets" in start:
            part, _, last = rest.rpartition(".")
            rest = f"{RESIDUAL[part]}.{last}"
        renamed[f"model.diffusion_model.{places[start]}.{rest}"] = value
    return renamed


def original_vae(state: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in state.items():
        name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
        name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
        name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
        # The decoder counts its levels from the finest one.
        name = re.sub(
            r"up_blocks\.(\d)\.resnets\.(\d)", lambda found: f"up.{1 - int(found[1])}.block.{found[2]}", name
        )
        name = re.sub(
            r"up_blocks\.(\d)\.upsamplers\.0", lambda found: f"up.{1 - int(found[1])}.upsample", name
        )
        name = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", name)
        if "attentions" in name:
            name = name.replace("mid_block.attentions.0", "mid.attn_1").replace("group_norm", "norm")
            for ours, theirs in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
                name = name.replace(ours, theirs)
            value = value[:, :, None, None] if value.dim() == 2 else value  # 1 by 1 convolutions once
        renamed["first_stage_model." + name] = value
    return renamed


def original_text_1(state: dict[str, Tensor]) -> dict[str, Tensor]:
    prefix = "cond_stage_model.transformer.text_model."
    positions = {prefix + "embeddings.position_ids": torch.arange(77)[None]}
    return {prefix + name.removeprefix("text_model."): value for name, value in state.items()} | positions


def original_text_2(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """OpenCLIP's: queries, keys and values in one matrix, and a last layer that is not used."""
    prefix = "cond_stage_model.model."
    state = {name.removeprefix("text_model."): value for name, value in state.items()}
    renamed = {
        prefix + "token_embedding.weight": state["embeddings.token_embedding.weight"],
        prefix + "positional_embedding": state["embeddings.position_embedding.weight"],
        prefix + "ln_final.weight": state["final_layer_norm.weight"],
        prefix + "ln_final.bias": state["final_layer_norm.bias"],
        prefix + "text_projection": torch.randn(64, 64),
        prefix + "logit_scale": torch.tensor(1.0),
    }
    parts = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    parts["self_attn.out_proj"] = "attn.out_proj"
    for layer in range(3):
        source, target = f"encoder.layers.{min(layer, 1)}.", f"{prefix}transformer.resblocks.{layer}."
        noise = 0.5 if layer == 2 else 0.0
        for last in ("weight", "bias"):
            for ours, theirs in parts.items():
                renamed[f"{target}{theirs}.{last}"] = state[f"{source}{ours}.{last}"] + noise
            packed = [state[f"{source}self_attn.{part}_proj.{last}"] for part in "qkv"]
            renamed[f"{target}attn.in_proj_{last}"] = torch.cat(packed) + noise
    return renamed


def write(path: Path, family: int, metadata: dict[str, str] | None = None) -> dict[str, Any]:
    models = small_models(family)
    text = original_text_1 if family == 1 else original_text_2
    state = {
        **original_unet(models["unet"].state_dict()),
        **original_vae(models["vae"].state_dict()),
        **text(models["text"].state_dict()),
        "model_ema.decay": torch.tensor(0.9999),
        "betas": torch.linspace(0, 1, 1000),
    }
    save_file({name: value.clone().contiguous() for name, value in state.items()}, path, metadata)
    return models


def agree(found: Backbone, models: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 32, 32, generator=generator) * 2 - 1
    with torch.no_grad():
        expected = models["vae"].encode(images).latent_dist.mode() * 0.18215
        latents = found.encode_images(images)
        torch.testing.assert_close(latents, expected)
        torch.testing.assert_close(
            found.decode_latents(latents), models["vae"].decode(latents / 0.18215).sample
        )
        tokens = found.tokenizer(["a photo of a man"], padding="max_length", return_tensors="pt").input_ids
        text = found.encode_prompts(["a photo of a man"])
        torch.testing.assert_close(text, models["text"](tokens).last_hidden_state)
        expected = models["unet"](latents, 7, encoder_hidden_states=text).sample
        torch.testing.assert_close(found.unet(latents, 7, encoder_hidden_states=text).sample, expected)


def test_the_first_family_is_read_whole(tmp_path: Path) -> None:
    models = write(tmp_path / "v1-5-pruned-emaonly.safetensors", 1)
    found = load_backbone(tmp_path / "v1-5-pruned-emaonly.safetensors")
    agree(found, models)
    assert found.scheduler.config.prediction_type == "epsilon"
    assert found.unet.config.attention_head_dim == 8
    assert found.tokenizer.pad_token == "<|endoftext|>"
    ids = found.tokenizer("a photo of a man").input_ids
    assert ids == [49406, 320, 1125, 539, 320, 786, 49407]


@pytest.mark.parametrize(
    ("name", "predicts"),
    [("v2-1_512-ema-pruned", "epsilon"), ("v2-1_768-ema-pruned", "v_prediction")],
)
def test_the_second_family_is_read_whole(name: str, predicts: str, tmp_path: Path) -> None:
    models = write(tmp_path / f"{name}.safetensors", 2)
    found = load_backbone(tmp_path / f"{name}.safetensors")
    agree(found, models)
    assert found.scheduler.config.prediction_type == predicts
    assert found.unet.config.sample_size == (64 if predicts == "epsilon" else 96)
    assert found.tokenizer.pad_token_id == 0
    assert found.text_encoder.config.num_hidden_layers == 2, "the last of three is never used"
    assert found.unet.config.attention_head_dim == [1, 2]
    assert not found.unet.training


def test_what_it_predicts_is_asked_where_nothing_says_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    write(path, 2)
    with pytest.raises(ValueError, match="add :epsilon or :v_prediction"):
        load_backbone(path)
    assert load_backbone(f"{path}:v_prediction").scheduler.config.prediction_type == "v_prediction"
    write(path, 2, {"modelspec.prediction_type": "v"})
    assert backbone_from_file(path).scheduler.config.prediction_type == "v_prediction"


def test_the_published_shapes_give_the_published_configurations() -> None:
    """Shapes alone, of SD 2.1: nothing of that size is allocated."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            cross_attention_dim=1024, attention_head_dim=[5, 10, 20, 20], use_linear_projection=True
        )
    # The names of four levels, as in the published file.
    shapes = {"cond_stage_model.model.token_embedding.weight": (49408, 1024)}
    shapes["cond_stage_model.model.positional_embedding"] = (77, 1024)
    shapes["cond_stage_model.model.transformer.resblocks.0.mlp.c_fc.weight"] = (4096, 1024)
    shapes["cond_stage_model.model.transformer.resblocks.23.ln_1.weight"] = (1024,)
    widths = [320, 640, 1280, 1280]
    prefix = "model.diffusion_model."
    shapes[prefix + "input_blocks.0.0.weight"] = (320, 4, 3, 3)
    shapes[prefix + "out.2.weight"] = (4, 320, 3, 3)
    for level, width in enumerate(widths):
        for layer in range(2):
            block = f"{prefix}input_blocks.{1 + 3 * level + layer}."
            shapes[block + "0.out_layers.3.weight"] = (width, width, 3, 3)
            if level < 3:
                shapes[block + "1.proj_in.weight"] = (width, width)
        if level < 3:
            shapes[f"{prefix}input_blocks.{3 + 3 * level}.0.op.weight"] = (width, width, 3, 3)
    shapes[prefix + "middle_block.1.proj_in.weight"] = (1280, 1280)
    shapes[prefix + "middle_block.1.transformer_blocks.0.attn2.to_k.weight"] = (1280, 1024)
    for level, width in enumerate((128, 256, 512, 512)):
        for block in range(2):
            shapes[f"first_stage_model.encoder.down.{level}.block.{block}.conv1.weight"] = (width, 1, 3, 3)
    shapes["first_stage_model.post_quant_conv.weight"] = (4, 4, 1, 1)
    found = Shapes.of(shapes)
    assert found.family == 2
    for name, value in found.unet.items():
        assert (
            list(value) == list(unet.config[name]) if isinstance(value, list) else value == unet.config[name]
        ), name
    assert found.vae["block_out_channels"] == [128, 256, 512, 512]
    assert found.vae["layers_per_block"] == 2
    assert found.text["num_hidden_layers"] == 23
    assert found.text["num_attention_heads"] == 16


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"\x80\x04.")
    with pytest.raises(ValueError, match=r"only \.safetensors is read"):
        load_backbone(tmp_path / "model.ckpt")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ValueError, match="damaged"):
        load_backbone(tmp_path / "cut.safetensors")
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a file of Stable Diffusion 1 or 2"):
        load_backbone(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError, match="no such file"):
        load_backbone(tmp_path / "missing.safetensors")
    with pytest.raises(FileNotFoundError, match="neither a folder"):
        load_backbone("nonsense")


def test_the_hub_is_asked_once_and_its_silence_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="the model hub cannot be reached"):
        load_backbone("sd2-community/no-such-model@main")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.diffusion_model.out.0.bias", "weights of the U-Net or of the autoencoder are missing"),
        ("first_stage_model.quant_conv.bias", "weights of the U-Net or of the autoencoder are missing"),
        (
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
            'Missing key.* "final_layer_norm.b',
        ),
    ],
)
def test_missing_weights_and_ones_that_are_not_finite_are_refused(
    name: str, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "v1-5-pruned-emaonly.safetensors"
    write(path, 1)
    weights = load_file(path)
    spoiled = {**weights, name: torch.full_like(weights[name], float("nan"))}
    save_file(spoiled, path)
    with pytest.raises(ValueError, match=f"{path}: 1 of .* weights hold NaN or infinity: {name};"):
        load_backbone(path)
    save_file({each: value for each, value in weights.items() if each != name}, path)
    with pytest.raises(ValueError, match=f"{path}: .*{told}"):
        load_backbone(path)
