"""A backbone by its name on the model hub: fetched once, then read from this machine's copy."""

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
