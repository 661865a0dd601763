"""Networks that describe pictures: BLIP-2, or the miniature's own."""

from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from keyface.models.backbones import MINIATURE
from keyface.models.protocols import Captioner
from keyface.pictures import to_image
from keyface.weights import Store

BLIP2 = "blip2"

Precision = Literal["float32", "bfloat16", "float16"]


class Blip2Captioner(nn.Module):
    """BLIP-2 as transformers has it; frozen, without sampling.

    Args:
        processor: `Blip2Processor`.
        network: `Blip2ForConditionalGeneration`.
        prompt: How descriptions begin; empty leaves that to the network.
        max_new_tokens: Greatest length of what follows the prompt.
        beams: Width of the beam search.
    """

    def __init__(
        self,
        processor: Any,
        network: Any,
        prompt: str = "a photo of",
        max_new_tokens: int = 40,
        beams: int = 5,
    ) -> None:
        super().__init__()
        if max_new_tokens < 1 or beams < 1:
            raise ValueError(f"max_new_tokens and beams must be at least 1, not {max_new_tokens}, {beams}")
        self.processor = processor
        self.network = network.eval().requires_grad_(False)
        self.prompt = prompt
        self.max_new_tokens = max_new_tokens
        self.beams = beams
        # Older copies of the processor do not say how many tokens stand for a picture.
        self.processor.num_query_tokens = network.config.num_query_tokens

    @classmethod
    def load(cls, folder: Path | str, precision: Precision = "float32", **settings: Any) -> Self:
        """Read the folder that `keyface weights get blip2` made; weights are safetensors only.

        Args:
            folder: In transformers' layout.
            precision: Of the weights.
            settings: As in the class.

        Raises:
            FileNotFoundError: A file is missing.
            ValueError: It is another network.
        """
        from transformers import Blip2Config, Blip2ForConditionalGeneration, Blip2Processor  # slow to import

        folder = Path(folder)
        weights = ("model.safetensors", "model.safetensors.index.json")
        missing = [
            name for name in ("config.json", "preprocessor_config.json") if not (folder / name).is_file()
        ]
        missing += [] if any((folder / name).is_file() for name in weights) else [weights[0]]
        if missing:
            raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}; run `keyface weights get {BLIP2}`")
        kind = Blip2Config.get_config_dict(folder)[0].get("model_type")
        if kind != Blip2Config.model_type:
            raise ValueError(f"{folder}: holds a {kind}, {Blip2Config.model_type} is needed")
        processor = Blip2Processor.from_pretrained(folder, local_files_only=True)
        network = Blip2ForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True, local_files_only=True, dtype=getattr(torch, precision)
        )
        return cls(processor, network, **settings)

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[str]:
        """Describe images (B, 3, H, W) in [-1, 1]."""
        pictures = [to_image(image) for image in images]
        inputs = self.processor(images=pictures, text=[self.prompt] * len(pictures), return_tensors="pt").to(
            self.network.device, self.network.dtype
        )
        tokens = self.network.generate(
            **inputs, max_new_tokens=self.max_new_tokens, num_beams=self.beams, do_sample=False
        )
        texts = self.processor.batch_decode(tokens, skip_special_tokens=True)
        return [" ".join(text.split()).rstrip(" .") for text in texts]


def find_captioner(name: str, precision: Precision = "float32", **settings: Any) -> Captioner:
    """Read a captioner by name.

    Args:
        name: `blip2`, from the folder of weights; `blip2:FOLDER`; or `miniature`, which knows rendered
            faces only and takes no settings.
        precision: Of BLIP-2's weights.
        settings: Of `Blip2Captioner`.

    Raises:
        LookupError: There is no captioner of that name.
        FileNotFoundError: Its files are not here; the message says how to get them.
        ValueError: They are of another network.
    """
    kind, _, folder = name.partition(":")
    if kind == BLIP2:
        return Blip2Captioner.load(folder or Store().require([BLIP2])[BLIP2], precision, **settings)
    if name == MINIATURE:
        from keyface.miniature import zoo

        return lambda images: zoo.caption_images(images.cpu())
    raise LookupError(f"captioner {name!r} is unknown; there are {BLIP2}, {BLIP2}:FOLDER and {MINIATURE}")
