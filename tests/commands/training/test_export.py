"""Fine-tuned branches written for diffusers, and loaded by diffusers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig, get_peft_model
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from keyface.cli.main import main
from keyface.diffusion.backbone import Backbone, load_unet

FACTS: dict[str, Any] = {
    "title": "Identity branch (ε1)",
    "configuration": {"identity_network": "arcface", "unroll_steps": 1},
    "data": {"shards": "data/celeba-hq"},
    "steps": 30000,
    "samples_seen": 480000,
    "trained_parameters": 12,
    "metrics": {"val/loss": 0.12345},
}


@pytest.fixture
def base(tiny_backbone: Backbone, tmp_path: Path) -> Path:
    """A backbone's folder of the real classes."""
    words = Tokenizer(models.WordLevel({"<pad>": 0, "<unk>": 1, "a": 2, "man": 3}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", unk_token="<unk>", model_max_length=8
    )
    for part in ("vae", "unet", "text_encoder", "scheduler"):
        getattr(tiny_backbone, part).save_pretrained(tmp_path / "base" / part)
    tokenizer.save_pretrained(tmp_path / "base/tokenizer")
    return tmp_path / "base"


def describe(folder: Path, base: Path) -> None:
    facts = {**FACTS, "configuration": {**FACTS["configuration"], "backbone": str(base)}}
    (folder / "card.json").write_text(json.dumps(facts))


@pytest.fixture
def adapters(tiny_backbone: Backbone, base: Path, tmp_path: Path) -> Path:
    """A run whose export holds adapters of rank 2 with a scale of 3, far from zero."""
    torch.manual_seed(3)
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    adapted = get_peft_model(
        unet, LoraConfig(r=2, lora_alpha=6, target_modules=r".*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)")
    )
    for name, parameter in adapted.named_parameters():
        if "lora_" in name:
            parameter.data.normal_(std=0.2)
    folder = tmp_path / "run/export"
    adapted.save_pretrained(folder, save_embedding_layers=False)
    describe(folder, base)
    return tmp_path / "run"


@pytest.fixture
def whole(base: Path, tmp_path: Path) -> Path:
    """A folder with a whole tuned U-Net."""
    unet = UNet2DConditionModel.from_pretrained(base / "unet")
    torch.manual_seed(4)
    for parameter in unet.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    unet.save_pretrained(tmp_path / "whole")
    describe(tmp_path / "whole", base)
    return tmp_path / "whole"


def predict(unet: UNet2DConditionModel) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    latents, text = torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 8, 16, generator=generator)
    with torch.no_grad():
        sample: Tensor = unet.eval()(latents, 9, encoder_hidden_states=text).sample
    return sample


def pipeline_of(folder: Path) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def test_a_whole_model_is_loaded_and_run_by_diffusers(adapters: Path, base: Path, tmp_path: Path) -> None:
    expected = predict(load_unet(adapters / "export", UNet2DConditionModel.from_pretrained(base / "unet")))
    assert main(["export", str(adapters), "-o", str(tmp_path / "out")]) == 0
    pipeline = pipeline_of(tmp_path / "out")
    torch.testing.assert_close(predict(pipeline.unet), expected)
    assert not torch.allclose(
        predict(UNet2DConditionModel.from_pretrained(base / "unet")), expected, atol=1e-3
    )
    images = pipeline("a man", num_inference_steps=2, output_type="np", height=32, width=32).images
    assert images.shape == (1, 32, 32, 3)
    assert not list(tmp_path.glob(".out*")), "nothing half-written stays"


def test_adapters_are_loaded_by_diffusers_with_their_scale(
    adapters: Path, base: Path, tmp_path: Path
) -> None:
    expected = predict(load_unet(adapters / "export", UNet2DConditionModel.from_pretrained(base / "unet")))
    assert main(["export", str(adapters), "-o", str(tmp_path / "lora"), "--form", "lora"]) == 0
    assert (tmp_path / "lora/pytorch_lora_weights.safetensors").is_file()
    assert main(["export", str(adapters), "-o", str(tmp_path / "unet"), "--form", "unet"]) == 0
    torch.testing.assert_close(predict(UNet2DConditionModel.from_pretrained(tmp_path / "unet")), expected)
    tuned = UNet2DConditionModel.from_pretrained(base / "unet")
    untuned = predict(tuned)
    (tmp_path / "plain").mkdir()
    write_plain_model(base, tmp_path / "plain")
    pipeline = pipeline_of(tmp_path / "plain")
    torch.testing.assert_close(predict(pipeline.unet), untuned)
    pipeline.load_lora_weights(tmp_path / "lora")
    torch.testing.assert_close(predict(pipeline.unet), expected, atol=1e-5, rtol=1e-4)


def write_plain_model(base: Path, folder: Path) -> None:
    """The base as diffusers' pipelines keep it."""
    from keyface.export.branch import write_pipeline

    write_pipeline(Backbone.from_folder(base), folder)


def test_a_whole_u_net_needs_no_base_but_for_a_pipeline(whole: Path, tmp_path: Path) -> None:
    expected = predict(UNet2DConditionModel.from_pretrained(whole))
    for form in ("unet", "pipeline"):
        assert main(["export", str(whole), "-o", str(tmp_path / form), "--form", form]) == 0
    torch.testing.assert_close(predict(UNet2DConditionModel.from_pretrained(tmp_path / "unet")), expected)
    torch.testing.assert_close(predict(pipeline_of(tmp_path / "pipeline").unet), expected)


def test_the_card_tells_data_steps_metrics_and_licences(adapters: Path, tmp_path: Path) -> None:
    assert main(["export", str(adapters), "-o", str(tmp_path / "out"), "--form", "lora"]) == 0
    text = (tmp_path / "out/README.md").read_text()
    for told in (
        "# Identity branch (ε1)",
        "480000 samples seen in 30000 steps",
        "| val/loss | 0.1235 |",
        "shards: data/celeba-hq",
        "non-commercial research only",
        "Commercial use, by keyface's reading: no.",
        "load_lora_weights",
        "synthetic",
    ):
        assert told in text
    card = json.loads((tmp_path / "out/card.json").read_text())
    assert [each["name"] for each in card["licences"]] == ["arcface"]
    assert card["metrics"] == {"val/loss": 0.12345}


def test_of_an_experiment_the_newest_run_with_an_export_is_taken(adapters: Path, tmp_path: Path) -> None:
    experiment = tmp_path / "runs/identity"
    shutil.copytree(adapters, experiment / "20260102-000000-aa")
    (experiment / "20260103-000000-bb/checkpoints").mkdir(parents=True)
    assert main(["export", str(experiment), "-o", str(tmp_path / "out"), "--form", "lora"]) == 0
    written, own = tmp_path / "out/pytorch_lora_weights.safetensors", tmp_path / "own"
    assert main(["export", str(adapters), "-o", str(own), "--form", "lora"]) == 0
    assert written.read_bytes() == (own / written.name).read_bytes()


def test_what_does_not_fit_is_one_line_and_leaves_nothing(
    whole: Path, adapters: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(words: list[str]) -> str:
        assert main(["export", *words]) == 1
        (line,) = [
            each for each in capsys.readouterr().err.splitlines() if each.startswith("keyface: error:")
        ]
        return line

    out = str(tmp_path / "out")
    assert "not adapters" in refused([str(whole), "-o", out, "--form", "lora"])
    assert "no such folder" in refused([str(tmp_path / "nothing"), "-o", out])
    (tmp_path / "runs/unfinished").mkdir(parents=True)
    assert "no fine-tuned branch" in refused([str(tmp_path / "runs"), "-o", out])
    assert "neither a folder" in refused([str(adapters), "-o", out, "--weights", "nonsense"])
    assert "PatchAutoencoder" in refused([str(shipped_branch()), "-o", out])
    assert not (tmp_path / "out").exists()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").touch()
    assert "exists" in refused([str(whole), "-o", out, "--form", "unet"])
    assert "holds the branch itself" in refused([str(whole), "-o", str(tmp_path), "--overwrite"])
    (whole / "card.json").write_text("[")
    assert "cannot be read as JSON" in refused([str(whole), "-o", out, "--form", "unet", "--overwrite"])
    assert (tmp_path / "out/mine").exists()
    (whole / "card.json").unlink()
    assert main(["export", str(whole), "-o", out, "--form", "unet", "--overwrite"]) == 0
    assert not (tmp_path / "out/mine").exists()


def shipped_branch() -> Path:
    from keyface.miniature.zoo import WEIGHTS

    return WEIGHTS / "identity"


def test_the_shipped_branch_is_exported_for_diffusers(tmp_path: Path) -> None:
    assert main(["export", str(shipped_branch()), "-o", str(tmp_path / "out"), "--form", "unet"]) == 0
    unet = UNet2DConditionModel.from_pretrained(tmp_path / "out")
    from keyface.miniature import zoo

    expected = zoo.identity_unet().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in unet.state_dict().items())
