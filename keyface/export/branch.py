"""Fine-tuned branches, as runs export them, in the forms that diffusers reads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from safetensors.torch import load_file, save_file
from torch import Tensor

from keyface.diffusion.backbone import Backbone, load_unet
from keyface.models.backbones import find_backbone
from keyface.models.cards import read_card, write_card
from keyface.pipeline.branches import branch_folder
from keyface.untrusted import read_json_object

ADAPTER = "adapter_model.safetensors"
LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name under which diffusers looks for adapters in a folder."""


@dataclass(frozen=True)
class Branch:
    """A fine-tuned U-Net on disk.

    Attributes:
        folder: Its folder.
        facts: What its card.json says: title, configuration, data, steps, metrics.
    """

    folder: Path
    facts: dict[str, Any]

    @classmethod
    def read(cls, place: Path) -> Branch:
        """Find a branch in the folder of an export, of a run, or of an experiment with its runs.

        Raises:
            FileNotFoundError: There is none.
            ValueError: Its card is damaged, or it is a checkpoint in parts.
        """
        if (place / ".metadata").is_file():
            raise ValueError(
                f"{place}: a checkpoint in parts, of processes that shared the weights; go on from it with "
                "`lightning fit --ckpt_path` and ModelParallelStrategy, for which one process is enough: a "
                "run exports when it ends"
            )
        folder = branch_folder(place)
        return cls(folder, read_card(folder))

    @property
    def is_adapter(self) -> bool:
        """Say whether it holds adapters instead of a whole U-Net."""
        return (self.folder / "adapter_config.json").is_file()

    @property
    def title(self) -> str:
        """Return what it is."""
        return str(self.facts.get("title", "Fine-tuned U-Net"))

    @property
    def base(self) -> str | None:
        """Return what it was tuned from, as its config named it."""
        configuration = self.facts.get("configuration", {})
        name = configuration.get("backbone") if isinstance(configuration, dict) else None
        return name if isinstance(name, str) else None


def write_form(
    branch: Branch, form: Literal["pipeline", "unet", "lora"], base: str | None, folder: Path
) -> None:
    """Write a branch in one of the forms of `keyface export`, with its card.

    Args:
        branch: The branch.
        form: What to write.
        base: What it was tuned from; not needed for adapters alone or a whole U-Net alone.
        folder: An empty folder.

    Raises:
        FileNotFoundError: The base is not here.
        ValueError: The form does not fit the branch or the base.
    """
    if form == "lora":
        write_lora(branch, folder)
    elif form == "unet" and not branch.is_adapter:
        load_unet(branch.folder).save_pretrained(folder, safe_serialization=True)
    else:
        if base is None:
            raise ValueError(f"{branch.folder}: its card names no base; give it with --weights")
        backbone = find_backbone(base)
        unet = load_unet(branch.folder, backbone.unet)
        if form == "unet":
            unet.save_pretrained(folder, safe_serialization=True)
        else:
            backbone.unet = unet
            write_pipeline(backbone, folder)
    write_card(folder, {**branch.facts, "title": branch.title}, form, base)


def write_lora(branch: Branch, folder: Path) -> None:
    """Write adapters as one safetensors file in diffusers' names.

    The scale alpha / rank is multiplied into the weights, since not every reader of such files knows it.
    """
    if not branch.is_adapter:
        raise ValueError(f"{branch.folder}: holds a whole U-Net, not adapters; use --form unet or pipeline")
    config = read_json_object(branch.folder / "adapter_config.json")
    if config.get("rank_pattern") or config.get("alpha_pattern") or config.get("use_dora"):
        raise ValueError(
            f"{branch.folder}: adapters of several ranks, or with DoRA, are not exported as lora"
        )
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    state: dict[str, Tensor] = {}
    for name, value in load_file(branch.folder / ADAPTER).items():
        match = re.fullmatch(r"base_model\.model\.(.+)\.lora_([AB])\.weight", name)
        if match is None:
            raise ValueError(f"{branch.folder / ADAPTER}: {name!r} is no weight of an adapter")
        direction = {"A": "down", "B": "up"}[match[2]]
        scaled = value.float() * scale if direction == "up" else value.float()
        state[f"unet.{match[1]}.lora.{direction}.weight"] = scaled.contiguous()
    save_file(state, folder / LORA_FILE, metadata={"format": "pt"})


def write_pipeline(backbone: Backbone, folder: Path) -> None:
    """Write a whole model as `StableDiffusionPipeline.from_pretrained` reads it."""
    from diffusers import AutoencoderKL, StableDiffusionPipeline

    if type(backbone.vae) is not AutoencoderKL:
        raise ValueError(
            f"the base's autoencoder is a {type(backbone.vae).__name__}, which diffusers does not know (the "
            "miniature's is keyface's own); use --form unet or lora"
        )
    pipeline = StableDiffusionPipeline(
        vae=backbone.vae,
        text_encoder=backbone.text_encoder,
        tokenizer=backbone.tokenizer,
        unet=backbone.unet,
        scheduler=backbone.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
