"""A backbone by its name on the model hub: fetched once, then read from this machine's copy."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.backbone_files import load_backbone


def test_a_backbone_comes_from_the_hub_once(
    tiny_backbone: Backbone, hub: Any, publish: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<unk>", model_max_length=8
    )
    for part in ("vae", "unet", "text_encoder", "scheduler"):
        getattr(tiny_backbone, part).save_pretrained(tmp_path / "model" / part)
    tokenizer.save_pretrained(tmp_path / "model/tokenizer")
    files = {
        str(path.relative_to(tmp_path / "model")): path.read_bytes()
        for path in sorted((tmp_path / "model").rglob("*"))
        if path.is_file()
    }
    publish(hub, {**files, "unet/diffusion_pytorch_model.bin": b"\x80\x04.", "big.safetensors": b"x"})
    found = load_backbone("owner/name")
    expected = tiny_backbone.unet.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in found.unet.state_dict().items())
    assert not any("diffusion_pytorch_model.bin" in path or "big.safetensors" in path for path in hub.asked)
    hub.files.clear()
    assert load_backbone("owner/name").unet.config.sample_size == 8, "the copy is enough"
    with pytest.raises(FileNotFoundError, match="the model hub gives no owner/name"):
        load_backbone("owner/name@other")


@pytest.fixture
def published(tiny_backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model's folder with small files alone: weights are up to the test."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    words = Tokenizer(models.WordLevel({"<unk>": 0, "a": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="<unk>", pad_token="<unk>", model_max_length=8
    ).save_pretrained(folder / "tokenizer")
    tiny_backbone.scheduler.save_pretrained(folder / "scheduler")
    return folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def weights_asked(hub: Any) -> set[str]:
    names = {path.rpartition("/resolve/")[2].partition("/")[2] for path in hub.asked if "/resolve/" in path}
    return {name for name in names if name.endswith((".safetensors", ".bin"))}


def test_a_listing_with_fp16_alone(tiny_backbone: Backbone, hub: Any, publish: Any, published: Path) -> None:
    for part in ("vae", "unet", "text_encoder"):
        copy.deepcopy(getattr(tiny_backbone, part)).half().save_pretrained(published / part, variant="fp16")
    publish(hub, {**files_of(published), "unet/diffusion_pytorch_model.fp16.bin": b"x"})
    found = load_backbone("owner/name")
    expected = tiny_backbone.unet.state_dict()["conv_in.weight"].half().float()
    assert torch.equal(found.unet.state_dict()["conv_in.weight"], expected)
    assert weights_asked(hub) == {
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16.safetensors",
    }


def test_a_listing_with_shards_and_more_than_is_read(
    tiny_backbone: Backbone, hub: Any, publish: Any, published: Path
) -> None:
    for part in ("vae", "text_encoder"):
        getattr(tiny_backbone, part).save_pretrained(published / part)
    tiny_backbone.unet.save_pretrained(published / "unet", max_shard_size="40KB")
    shards = {f"unet/{path.name}" for path in (published / "unet").glob("*-of-*.safetensors")}
    assert len(shards) > 1
    more = {
        "unet/diffusion_pytorch_model.fp16.safetensors": b"x",
        "unet/diffusion_pytorch_model.non_ema.safetensors": b"x",
        "vae/diffusion_pytorch_model.fp16.safetensors": b"x",
        "safety_checker/model.safetensors": b"x",
        "v1-5-pruned-emaonly.safetensors": b"x",
    }
    publish(hub, {**files_of(published), **more})
    found = load_backbone("owner/name")
    torch.testing.assert_close(found.unet.state_dict(), tiny_backbone.unet.state_dict(), rtol=0, atol=0)
    others = {"vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"}
    assert weights_asked(hub) == shards | others
    hub.files.clear()
    assert load_backbone("owner/name").unet.config.sample_size == 8, "the copy is enough"


def test_a_copy_that_lacks_files_is_completed(
    tiny_backbone: Backbone, hub: Any, publish: Any, published: Path
) -> None:
    from huggingface_hub import snapshot_download

    for part in ("vae", "unet", "text_encoder"):
        getattr(tiny_backbone, part).save_pretrained(published / part)
    publish(hub, files_of(published))
    snapshot_download("owner/name", allow_patterns=["tokenizer/*", "unet/*"])  # as another program did
    assert load_backbone("owner/name").unet.config.sample_size == 8


def test_a_kind_that_is_refused_is_not_downloaded(
    tiny_backbone: Backbone, hub: Any, publish: Any, published: Path
) -> None:
    for part in ("vae", "unet", "text_encoder"):
        getattr(tiny_backbone, part).save_pretrained(published / part)
    config = published / "unet/config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "in_channels": 9}))
    publish(hub, files_of(published))
    with pytest.raises(ValueError, match="an inpainting U-Net"):
        load_backbone("owner/name")
    assert weights_asked(hub) == set()
