"""A text-to-image model of the real classes with random weights, small enough for every test."""

import fcntl
import hashlib
import json
import logging
import os
import warnings
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from keyface.diffusion.backbone import Backbone
from keyface.weights import MissingWeightsError, Store, catalogue
from keyface.weights.fetch import Fetcher

pytest.register_assert_rewrite("training_runs")  # before whoever imports it first

WORDS = ["a", "photo", "of", "man", "woman", ",", "with", "without", "wearing", "glasses", "beard"]
pytest_plugins = ["tiny_diffusion"]

WORKER_BYTES = 2 * 2**30
"""Memory for one of several test processes, which take about 1.5 GB each."""

MOST_WORKERS = 8
"""More processes gain little: each makes the session's fixtures anew, and the longest test sets the end."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return the number of processes of ``--numprocesses auto``: what the cores and the memory allow."""
    allowed = getattr(os, "sched_getaffinity", None)  # macOS has no such call
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(cores, memory // WORKER_BYTES, MOST_WORKERS))


@pytest.fixture(scope="session", autouse=True)
def _own_data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the key that signs outputs out of the tester's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


def _levels() -> dict[str, int]:
    found = logging.root.manager.loggerDict
    ours = [name for name in found if name.split(".")[0] in ("keyface", "lightning")]
    return {name: logging.getLogger(name).level for name in ours}


@pytest.fixture(autouse=True)
def _loggers_as_before() -> Iterator[None]:
    """A logger that a test leaves silent is silent in the tests that follow it."""
    before = _levels()
    yield
    after = _levels()
    assert {name: after[name] for name in before if after[name] != before[name]} == {}


class WordTokenizer:
    """Gives every word the number of its hash."""

    model_max_length = 8
    unk_token_id = eos_token_id = 1

    def __call__(self, texts: list[str], **_: Any) -> SimpleNamespace:
        rows = []
        for text in texts:
            words = [2 + int(hashlib.sha256(word.encode()).hexdigest(), 16) % 96 for word in text.split()]
            rows.append([0, *words[: self.model_max_length - 2]] + [1] * (self.model_max_length - 1))
        rows = [row[: self.model_max_length] for row in rows]
        return SimpleNamespace(input_ids=torch.tensor(rows))


@pytest.fixture
def tiny_backbone() -> Backbone:
    """Images of 32 pixels, latents (4, 8, 8), two resolutions with self-attention."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(
            block_out_channels=(8, 8, 8),
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            norm_num_groups=4,
            sample_size=32,
        )
        unet = UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 16),
            down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
            layers_per_block=1,
            cross_attention_dim=16,
            attention_head_dim=8,
            norm_num_groups=4,
        )
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=100,
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=8,
            )
        )
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )
    for module in (vae, unet, text_encoder):
        module.eval().requires_grad_(False)
    return Backbone(vae, unet, text_encoder, WordTokenizer(), scheduler)


@pytest.fixture
def weights(tiny_backbone: Backbone, tmp_path: Path) -> Path:
    """The tiny model as a folder in diffusers' layout, with a tokenizer that knows `WORDS`."""
    folder = tmp_path / "weights"
    for name in ("vae", "unet", "text_encoder", "scheduler"):
        getattr(tiny_backbone, name).save_pretrained(folder / name)
    tokens = Tokenizer(
        models.WordLevel(
            {word: index for index, word in enumerate(["<pad>", "<unk>", *WORDS])}, unk_token="<unk>"
        )
    )
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, pad_token="<pad>", unk_token="<unk>", model_max_length=8
    ).save_pretrained(folder / "tokenizer")
    return folder


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """Seven frames of 60 x 44 at 29.97 fps with sound."""
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30000, 1001))
        stream.width, stream.height, stream.pix_fmt = 60, 44, "yuv420p"
        sound = container.add_stream("aac", rate=48000)
        rows, columns = np.mgrid[0:44, 0:60]
        for index in range(7):
            image = np.stack([columns * 4, rows * 5, np.full_like(rows, 30 * index)], axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 22000), np.int16), "s16", "stereo")
        silence.sample_rate = 48000
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
    return path


@pytest.fixture(scope="session")
def face_api_folder() -> Path:
    """The small face networks, fetched once with the npm client and kept between runs."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    store, entry = Store(cache / "keyface-tests"), catalogue()["face-api"]
    store.root.mkdir(parents=True, exist_ok=True)
    with (store.root / ".fetching").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several test processes one fetches, the others wait
        try:
            Fetcher(store).get([entry])
        except MissingWeightsError as error:
            pytest.skip(str(error))
    return store.folder(entry)


@pytest.fixture(scope="session")
def human_folder() -> Path:
    """The face networks of human, where they are; their package is too large to be fetched for tests."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    entry = catalogue()["human"]
    for store in (Store(cache / "keyface-tests"), Store()):
        if not store.missing(entry):
            return store.folder(entry)
    pytest.skip(f"bring them with `keyface weights get human --root {cache / 'keyface-tests'}`")


@pytest.fixture(scope="session")
def blip2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random BLIP-2 in the files that the hub has of the real one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        BlipImageProcessor,
        OPTConfig,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("blip2")
    words = [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "a",
        "photo",
        "of",
        "man",
        "woman",
        "with",
        "glasses",
        "hair",
        "smiling",
        "young",
        "old",
        "the",
        "and",
    ]
    vocabulary = {word: index for index, word in enumerate([*words, "<image>"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="</s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Blip2Config(
        vision_config={**sizes, "image_size": 16, "patch_size": 8},
        qformer_config={**sizes, "encoder_hidden_size": 16, "vocab_size": 20},
        text_config=OPTConfig(
            vocab_size=len(vocabulary),
            hidden_size=16,
            word_embed_proj_dim=16,
            ffn_dim=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=64,
            pad_token_id=1,
            bos_token_id=2,
            eos_token_id=2,
            init_std=0.5,
        ).to_dict(),
        num_query_tokens=4,
        image_token_index=vocabulary["<image>"],
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Blip2ForConditionalGeneration(config)
        for name, parameter in network.named_parameters():
            if "norm" not in name:  # large weights: what the picture shows must change the words
                parameter.data.normal_(0.0, 0.25)
    network.save_pretrained(folder, max_shard_size="20KB")
    BlipImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    fast.save_pretrained(folder)
    (folder / "processor_config.json").write_text(
        '{"num_query_tokens": 4, "processor_class": "Blip2Processor"}'
    )
    return folder


@pytest.fixture
def folder_backbone(tiny_backbone: Backbone) -> Backbone:
    """The tiny model with a tokenizer that can be saved, so that a folder can be made of it."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<unk>", "a", "an", "photo", "of", "young", "old", "man", "woman", "glasses", "hair"]
    tokenizer = Tokenizer(models.WordLevel({w: n for n, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    # As with CLIP's, whose pieces of words leave none unknown, the end stands for the unknown.
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="<unk>",
        model_max_length=8,
    )
    tiny_backbone.text_encoder.config.eos_token_id = tiny_backbone.text_encoder.config.bos_token_id = 0
    return Backbone(
        tiny_backbone.vae, tiny_backbone.unet, tiny_backbone.text_encoder, fast, tiny_backbone.scheduler
    )


@pytest.fixture(scope="session")
def recognizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny recognition network in insightface's format."""
    path: Path = tmp_path_factory.mktemp("recognizer") / "net.onnx"
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 7, 8), nn.PReLU(4), nn.Flatten(), nn.Linear(4 * 14 * 14, 8))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that insightface used is called legacy today
        torch.onnx.export(
            network.eval(),
            (torch.zeros(1, 3, 112, 112),),
            str(path),
            input_names=["data"],
            dynamic_axes={"data": {0: "batch"}},
            opset_version=11,
            dynamo=False,
        )
    return path


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny OpenCLIP model's name and a file with random weights: "name:path"."""
    import open_clip
    from safetensors.torch import save_file

    folder: Path = tmp_path_factory.mktemp("clip")
    architecture = {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
    }
    (folder / "keyface-tiny.json").write_text(json.dumps(architecture))
    open_clip.add_model_config(folder)
    torch.manual_seed(0)
    weights = open_clip.create_model("keyface-tiny", load_weights=False).state_dict()
    save_file(weights, folder / "weights.safetensors")
    return f"keyface-tiny:{folder / 'weights.safetensors'}"
