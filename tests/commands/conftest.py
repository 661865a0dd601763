"""A video with sound, and a tiny backbone in diffusers' layout that edits it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from keyface.diffusion.backbone import Backbone

WORDS = ["a", "photo", "of", "man", "woman", ",", "with", "without", "wearing", "glasses", "beard"]


@pytest.fixture
def weights(tiny_backbone: Backbone, tmp_path: Path) -> Path:
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
