"""A tiny backbone and tiny frozen networks of the right classes, and a batch for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from keyface.diffusion.backbone import Backbone
from keyface.faces.alignment import TEMPLATE, align

WORDS = [
    "<pad>",
    "<unk>",
    "a",
    "photo",
    "of",
    "man",
    "woman",
    "person",
    "wearing",
    "with",
    "eyeglasses",
    "without",
    "glasses",
    ",",
    "smiling",
]
SIZE = 32


def tiny_backbone(prediction_type: str = "v_prediction") -> Backbone:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        block_out_channels=(8, 8),
        norm_num_groups=4,
        latent_channels=4,
        sample_size=SIZE,
    )
    unet = UNet2DConditionModel(
        sample_size=SIZE // 2,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=16,
        attention_head_dim=8,
    )
    vocabulary = {word: index for index, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(WORDS),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=12,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=0,
        )
    )
    return Backbone(
        vae=vae.eval(),
        unet=unet.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", model_max_length=12
        ),
        scheduler=DDIMScheduler(
            prediction_type=prediction_type, clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
    )


class TinyRecognizer(nn.Module):
    """A random convolution on the aligned face; counts as ArcFace where only gradients matter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.convolution = nn.Conv2d(3, 8, 7, stride=4)

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        faces = images if landmarks is None else align(images, landmarks, 28)
        return F.normalize(self.convolution(faces).tanh().mean(dim=(2, 3)), dim=-1)


class TinyEncoder(nn.Module):
    """Random image features, and texts embedded by their words."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.convolution = nn.Conv2d(3, 8, 8, stride=8)
        self.words = nn.Embedding(997, 8)

    def encode_image(self, images: Tensor) -> Tensor:
        return F.normalize(self.convolution(images).tanh().mean(dim=(2, 3)), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        means = [self.words(self._numbers(t)).mean(dim=0) for t in texts]
        return F.normalize(torch.stack(means), dim=-1)

    def _numbers(self, text: str) -> Tensor:
        numbers = torch.tensor([sum(word.encode()) % 997 for word in text.split()])
        return numbers.to(self.words.weight.device, non_blocking=True)


class AlwaysGlasses(nn.Module):
    """A classifier that sees glasses on every face."""

    labels = ("Eyeglasses",)

    def predict(self, images: Tensor) -> dict[str, Tensor]:
        return {"Eyeglasses": torch.ones(len(images), dtype=torch.bool)}


@pytest.fixture
def backbone() -> Backbone:
    return tiny_backbone()


@pytest.fixture
def recognizer() -> nn.Module:
    return TinyRecognizer()


@pytest.fixture
def encoder() -> nn.Module:
    return TinyEncoder()


@pytest.fixture
def classifier() -> nn.Module:
    return AlwaysGlasses()


@pytest.fixture
def batch() -> dict[str, Any]:
    """Two bare faces without glasses."""
    images = torch.rand(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(3)) * 2 - 1
    attributes = {"Eyeglasses": False, "Sunglasses": False, "Smiling": False, "Male": True, "Young": True}
    mask = torch.ones(2, SIZE, SIZE, dtype=torch.uint8)
    mask[:, 8:16, 8:24] = 4
    return {
        "image": images,
        "caption": ["a photo of a man, without glasses", "a photo of a woman, without glasses"],
        "attributes": [dict(attributes), {**attributes, "Male": False}],
        "landmarks": (torch.tensor(TEMPLATE) * (SIZE / 112)).expand(2, 5, 2).clone(),
        "identity": torch.tensor([0, 1]),
        "key": ["0", "1"],
        "mask": mask,
    }


@pytest.fixture
def cached(batch: dict[str, Any], backbone: Backbone) -> dict[str, Any]:
    """The batch with latents and noisy latents, each image at a level of its own."""
    with torch.no_grad():
        latent = backbone.encode_images(batch["image"])
    noisy = latent + torch.randn(latent.shape, generator=torch.Generator().manual_seed(4))
    return {**batch, "latent": latent, "inverted": noisy, "timestep": torch.tensor([901, 402])}


@pytest.fixture
def place(
    tmp_path: Path, folder_backbone: Any, recognizer_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """A folder with a base; configs may name what is in `recorded_training`, here and in other processes."""
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(folder_backbone, part).save_pretrained(tmp_path / "base" / part)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    monkeypatch.setenv("KEYFACE_TRUST", "recorded_training")
    # The last bit of a sum depends on the number of threads, here as in the processes that a test starts.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield tmp_path
    torch.set_num_threads(threads)
