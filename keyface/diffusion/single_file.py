"""Stable Diffusion 1.x and 2.x from one safetensors file in the format in which they were published.

Such a file holds weights and no configuration. Widths and depths are read off the weights' shapes; what
shapes do not tell (attention heads, noise levels, what the U-Net predicts) is fixed for each family.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.checks import require_finite_weights
from keyface.diffusion.model_kinds import require_known_names, require_text_to_image

Prediction = Literal["epsilon", "v_prediction"]

UNET = "model.diffusion_model."
VAE = "first_stage_model."
TEXT_1 = "cond_stage_model.transformer.text_model."
TEXT_2 = "cond_stage_model.model."

PUBLISHED: dict[str, Prediction] = {
    "512-base-ema": "epsilon",
    "768-v-ema": "v_prediction",
    "v2-1_512-ema-pruned": "epsilon",
    "v2-1_512-nonema-pruned": "epsilon",
    "v2-1_768-ema-pruned": "v_prediction",
    "v2-1_768-nonema-pruned": "v_prediction",
}
"""What the published files of the second family predict; their weights do not show it."""

_INPUTS = UNET + "input_blocks.0.0.weight"
_OUTPUTS = UNET + "out.2.weight"
_HEADS_1 = 8
_HEAD_WIDTH_2 = 64
_TEXT_HEAD_WIDTH = 64
_SCALING_FACTOR = 0.18215


@dataclass(frozen=True)
class Shapes:
    """Configurations that follow from the weights' shapes, as diffusers and transformers name them.

    Attributes:
        family: 1 (OpenAI's text encoder) or 2 (OpenCLIP's).
        unet: Of the U-Net, but for its sample size.
        vae: Of the autoencoder.
        text: Of the text encoder.
    """

    family: Literal[1, 2]
    unet: dict[str, Any]
    vae: dict[str, Any]
    text: dict[str, Any]

    @classmethod
    def of(cls, shapes: Mapping[str, tuple[int, ...]]) -> "Shapes":
        """Read them off the names and shapes of a file's weights.

        Raises:
            KeyError: A weight that every such file has is missing.
        """
        family: Literal[1, 2] = 2 if TEXT_2 + "token_embedding.weight" in shapes else 1
        text = _text_2(shapes) if family == 2 else _text_1(shapes)
        return cls(family, _unet(shapes, family), _vae(shapes), text)


def backbone_from_file(
    path: Path | str, prediction_type: Prediction | None = None, *, dtype: torch.dtype = torch.float32
) -> Backbone:
    """Read a whole model from one safetensors file; nothing is downloaded.

    Args:
        path: Such as `v2-1_512-ema-pruned.safetensors` or `v1-5-pruned-emaonly.safetensors`.
        prediction_type: What the U-Net predicts; None finds it in the file's metadata, by the family, or by
            the published name.
        dtype: Precision of the weights.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another format or damaged, of another kind of model such as Stable Diffusion XL
            or inpainting, lacks weights or holds such that are not finite, or nothing says what the U-Net
            predicts.
    """
    path = Path(path)
    weights, metadata = _read(path)
    require_finite_weights(weights, path)
    try:
        shapes = Shapes.of({name: tuple(value.shape) for name, value in weights.items()})
        predicts = _prediction(prediction_type, metadata, shapes.family, path)
        sample = 96 if shapes.family == 2 and predicts == "v_prediction" else 64
        with tempfile.TemporaryDirectory() as folder:
            unet = _model(UNet2DConditionModel, weights, {**shapes.unet, "sample_size": sample}, folder)
            downscale = 2 ** (len(shapes.vae["block_out_channels"]) - 1)
            vae = _model(AutoencoderKL, weights, {**shapes.vae, "sample_size": sample * downscale}, folder)
        text = _text_encoder(weights, shapes)
    except KeyError as error:
        raise ValueError(f"{path}: not a file of Stable Diffusion 1 or 2: it lacks {error}") from error
    except NotImplementedError as error:  # torch's, of a weight that diffusers found no values for
        raise ValueError(f"{path}: weights of the U-Net or of the autoencoder are missing") from error
    except RuntimeError as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{path}: not the weights of its text encoder: {told}") from error
    return Backbone(
        vae=vae.to(dtype).eval(),
        unet=unet.to(dtype).eval(),
        text_encoder=text.to(dtype).eval(),
        tokenizer=clip_tokenizer(pad="!" if shapes.family == 2 else "<|endoftext|>"),
        scheduler=DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
            prediction_type=predicts,
        ),
        source=path,
    )


def clip_tokenizer(pad: str) -> CLIPTokenizer:
    """CLIP's tokenizer with 77 places, from the vocabulary that OpenCLIP's package brings."""
    import open_clip  # takes seconds, and folders bring their own tokenizer

    original = open_clip.get_tokenizer("ViT-B-32")
    vocabulary = {
        {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(word, word): index
        for word, index in original.encoder.items()
    }
    merges = sorted(original.bpe_ranks, key=original.bpe_ranks.__getitem__)
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=pad, model_max_length=77)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path}: only .safetensors is read, since other checkpoints can run code when they are opened; "
            "get the safetensors file of the same name, or a folder in diffusers' layout"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; see `keyface weights list`")
    try:
        with safe_open(path, framework="pt") as file:
            names: list[str] = file.keys()
            require_known_names(names, path)
            if _INPUTS in names and _OUTPUTS in names:
                inputs, outputs = (file.get_slice(name).get_shape() for name in (_INPUTS, _OUTPUTS))
                require_text_to_image({"in_channels": inputs[1], "out_channels": outputs[0]}, path)
            wanted = [name for name in names if name.startswith((UNET, VAE, TEXT_1, TEXT_2))]
            return {name: file.get_tensor(name) for name in wanted}, file.metadata() or {}
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged, or no safetensors file: {error}") from error


def _prediction(given: Prediction | None, metadata: Mapping[str, str], family: int, path: Path) -> Prediction:
    found = given or {"v": "v_prediction"}.get(
        metadata.get("modelspec.prediction_type", ""), metadata.get("modelspec.prediction_type")
    )
    if found is None:
        found = "epsilon" if family == 1 else PUBLISHED.get(path.stem)
    for known in get_args(Prediction):
        if found == known:
            return known  # type: ignore[no-any-return]
    raise ValueError(
        f"{path}: nothing says whether it predicts the noise or v; add :epsilon or :v_prediction to the name "
        "(models for 512 pixels mostly predict the noise, those for 768 v)"
    )


def _unet(shapes: Mapping[str, tuple[int, ...]], family: int) -> dict[str, Any]:
    widths: list[int] = []
    attends: list[bool] = []
    layers = 0
    for block in range(1, _count(shapes, rf"{re.escape(UNET)}input_blocks\.(\d+)\.")):
        name = f"{UNET}input_blocks.{block}."
        if name + "0.op.weight" in shapes:  # a halving ends a level
            widths, attends, layers = [*widths, 0], [*attends, False], 0
            continue
        if not widths:
            widths, attends = [0], [False]
        widths[-1] = shapes[name + "0.out_layers.3.weight"][0]
        attends[-1] = name + "1.proj_in.weight" in shapes
        layers += 1
    attention = f"{UNET}middle_block.1."
    return {
        "in_channels": shapes[_INPUTS][1],
        "out_channels": shapes[_OUTPUTS][0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": ["CrossAttnDownBlock2D" if each else "DownBlock2D" for each in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if each else "UpBlock2D" for each in reversed(attends)],
        "cross_attention_dim": shapes[attention + "transformer_blocks.0.attn2.to_k.weight"][1],
        "use_linear_projection": len(shapes[attention + "proj_in.weight"]) == 2,
        # diffusers calls the number of heads by this name.
        "attention_head_dim": _HEADS_1 if family == 1 else [width // _HEAD_WIDTH_2 for width in widths],
        "norm_num_groups": 32,
    }


def _vae(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    levels = _count(shapes, rf"{re.escape(VAE)}encoder\.down\.(\d+)\.")
    widths = [shapes[f"{VAE}encoder.down.{level}.block.0.conv1.weight"][0] for level in range(levels)]
    return {
        "block_out_channels": widths,
        "layers_per_block": _count(shapes, rf"{re.escape(VAE)}encoder\.down\.0\.block\.(\d+)\."),
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "latent_channels": shapes[VAE + "post_quant_conv.weight"][0],
        "scaling_factor": _SCALING_FACTOR,
        "norm_num_groups": 32,
    }


def _text_1(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    words, width = shapes[TEXT_1 + "embeddings.token_embedding.weight"]
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shapes[TEXT_1 + "encoder.layers.0.mlp.fc1.weight"][0],
        "num_hidden_layers": _count(shapes, rf"{re.escape(TEXT_1)}encoder\.layers\.(\d+)\."),
        "num_attention_heads": width // _TEXT_HEAD_WIDTH,
        "max_position_embeddings": shapes[TEXT_1 + "embeddings.position_embedding.weight"][0],
        "hidden_act": "quick_gelu",
    }


def _text_2(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    words, width = shapes[TEXT_2 + "token_embedding.weight"]
    return {
        "vocab_size": words,
        "hidden_size": width,
        "intermediate_size": shapes[TEXT_2 + "transformer.resblocks.0.mlp.c_fc.weight"][0],
        # Stable Diffusion 2 reads the layer before the last, so the last one is never run.
        "num_hidden_layers": _count(shapes, rf"{re.escape(TEXT_2)}transformer\.resblocks\.(\d+)\.") - 1,
        "num_attention_heads": width // _TEXT_HEAD_WIDTH,
        "max_position_embeddings": shapes[TEXT_2 + "positional_embedding"][0],
        "hidden_act": "gelu",
    }


def _count(names: Mapping[str, Any], pattern: str) -> int:
    found = [int(match[1]) for name in names if (match := re.match(pattern, name))]
    if not found:
        raise KeyError(pattern.replace("\\", ""))
    return max(found) + 1


def _model(kind: Any, weights: dict[str, Tensor], config: dict[str, Any], folder: str) -> nn.Module:
    # diffusers converts the names itself and takes the configuration from a folder only.
    Path(folder, "config.json").write_text(json.dumps({"_class_name": kind.__name__, **config}))
    model: nn.Module = kind.from_single_file(dict(weights), config=folder, local_files_only=True)
    return model


def _text_encoder(weights: Mapping[str, Tensor], shapes: Shapes) -> CLIPTextModel:
    state = _state_2(weights) if shapes.family == 2 else _state_1(weights)
    model = CLIPTextModel(CLIPTextConfig(**shapes.text))
    last = shapes.text["num_hidden_layers"]
    state = {name: value for name, value in state.items() if not name.startswith(f"encoder.layers.{last}.")}
    wrapped = next(iter(model.state_dict())).startswith("text_model.")  # transformers before 5.6
    model.load_state_dict({f"text_model.{name}" if wrapped else name: value for name, value in state.items()})
    return model


def _state_1(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    names = [name for name in weights if name.startswith(TEXT_1) and not name.endswith("position_ids")]
    return {name.removeprefix(TEXT_1): weights[name].float() for name in names}


_OUTSIDE = {
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_INSIDE = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}


def _state_2(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        place = name.removeprefix(TEXT_2)
        if place in _OUTSIDE:
            state[_OUTSIDE[place]] = value.float()
        match = re.match(r"transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)$", place)
        if match and match[2] == "attn.in_proj":
            for part, rows in zip(("q_proj", "k_proj", "v_proj"), value.float().chunk(3), strict=True):
                state[f"encoder.layers.{match[1]}.self_attn.{part}.{match[3]}"] = rows.contiguous()
        elif match:
            state[f"encoder.layers.{match[1]}.{_INSIDE[match[2]]}.{match[3]}"] = value.float()
    return state
