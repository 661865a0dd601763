"""The networks of an edit with their defaults, from Python."""

import json
import os
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from keyface.diffusion.backbone import Backbone
from keyface.editing.editor import VideoEditor
from keyface.editing.settings import Composition, EditSettings, Injection, Prompts
from keyface.files import sha256
from keyface.miniature import zoo
from keyface.pipeline.defaults import defaults_of, miniature_defaults
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.plugins import edits
from keyface.untrusted import read_yaml
from keyface.video import VideoReader

FAST = {"steps": 2, "interval": 3, "guidance_scale": 2.0}


def changed(unet: UNet2DConditionModel, by: float) -> UNet2DConditionModel:
    other = UNet2DConditionModel.from_config(unet.config)
    other.load_state_dict(unet.state_dict())
    with torch.no_grad():
        other.conv_out.bias += by
    return other


def test_the_miniature_brings_its_defaults_and_all_that_belongs_to_it() -> None:
    pipe = FaceEditPipeline.from_pretrained("miniature", device="cpu")
    assert pipe.defaults == EditSettings(
        solver="dpmpp_2m",
        steps=10,
        guidance_scale=1.3,
        guidance_limit=0.2,
        strength=0.72,
        injection=Injection(until=1.0, residual_until=1.0),
        composition=Composition(low=0.12, high=0.2, blur=0.008, feather=0.006, replaced=0.3),
    )
    assert pipe.captioner is zoo.caption_clip
    assert pipe.familiarity is not None
    files = ("weights/unet/diffusion_pytorch_model", "identity/adapter_model", "direction/adapter_model")
    assert {f"{file}.safetensors" for file in files} < set(pipe.versions)
    assert pipe.versions["identity/adapter_model.safetensors"] == sha256(
        zoo.WEIGHTS / "identity" / "adapter_model.safetensors"
    )
    shipped = zoo.direction_unet(pipe.backbone.unet)
    assert pipe.direction is not None
    for name, value in pipe.direction.state_dict().items():
        assert torch.equal(value, shipped.state_dict()[name])


def test_glasses_on_the_miniature_have_amounts_of_their_own() -> None:
    """By the miniature's settings and the category's own factors, written out."""
    pipe = FaceEditPipeline(zoo.backbone())
    glasses = pipe.settings_for(edits.select(["glasses"]))
    assert glasses.strength == pytest.approx(1.12 * 0.72)
    assert glasses.guidance_scale == pytest.approx(0.92 * 3.5)
    assert glasses.injection == Injection(mode="kv", until=0.6, residual_until=1.0)
    other = pipe.defaults.for_categories(edits.select(["glasses"]), "sd2")
    assert (other.strength, other.guidance_scale) == (0.72, 3.5), "the others were chosen on the miniature"


def test_a_folder_of_ones_own_may_have_defaults(weights: Path) -> None:
    assert FaceEditPipeline.from_pretrained(weights).defaults == EditSettings()
    (weights / "edit.yaml").write_text("steps: 7\ninjection: {mode: kv}\n")
    pipe = FaceEditPipeline.from_pretrained(weights)
    assert pipe.defaults == EditSettings(steps=7, injection=Injection(mode="kv"))
    assert (pipe.captioner, pipe.familiarity, pipe.identity, pipe.direction) == (None, None, None, None)
    (weights / "edit.yaml").write_text("stepz: 7\n")
    with pytest.raises(
        ValueError, match=r"edit\.yaml: unknown name 'stepz' \(did you mean 'steps'\?\)"
    ) as caught:
        FaceEditPipeline.from_pretrained(weights)
    assert str(weights / "edit.yaml") in str(caught.value)


def test_the_editor_takes_the_tuned_branches_or_the_base(tiny_backbone: Backbone) -> None:
    identity, direction = changed(tiny_backbone.unet, 0.1), changed(tiny_backbone.unet, 0.2)
    pipe = FaceEditPipeline(tiny_backbone, identity, direction)
    tuned, base = pipe.editor(), pipe.editor(EditSettings(steps=3), identity="base", direction="base")
    assert (tuned.identity, tuned.direction) == (identity, direction)
    assert tuned.settings == pipe.defaults == EditSettings()
    assert (base.identity, base.direction) == (tiny_backbone.unet, tiny_backbone.unet)
    assert base.settings.steps == 3


def test_frames_are_edited_as_the_editor_does_with_the_same_settings(tiny_backbone: Backbone) -> None:
    frames = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    prompts = Prompts("a man", "a man with glasses")
    pipe = FaceEditPipeline(
        tiny_backbone, None, changed(tiny_backbone.unet, 0.2), defaults=EditSettings(seed=3)
    )
    whole = EditSettings(seed=3, steps=2, interval=3, guidance_scale=2.0)
    wanted, _ = VideoEditor(tiny_backbone, None, pipe.direction, whole).edit_frames(frames, prompts)
    for settings in (FAST, whole):
        found, report = pipe.edit_frames(frames, prompts, settings)
        assert torch.equal(found, wanted)
        assert report.frames == 5


def test_a_video_from_python(weights: Path, video: Path, tmp_path: Path) -> None:
    run = tmp_path / "runs" / "direction" / "20260101-abc"
    unet = FaceEditPipeline.from_pretrained(weights).backbone.unet
    changed(unet, 0.2).save_pretrained(run / "export")
    told: list[str] = []
    pipe = FaceEditPipeline.from_pretrained(weights, direction=run.parent, say=told.append)
    assert told == [
        "no --identity given: using the backbone's untuned U-Net in its place",
        f"--direction: taken from {run / 'export'}",
    ]
    record = pipe.edit(
        video, tmp_path / "out.mp4", edits="glasses", source="a photo of a man", settings=FAST, crop="centre"
    )
    assert record.sidecar == json.loads((tmp_path / "out.json").read_text())
    assert record.path == tmp_path / "out.json"
    assert len(VideoReader(record.output)) == 7
    assert record.sidecar["settings"]["injection"]["mode"] == "kv", "as glasses ask for"
    assert record.sidecar["settings"]["guidance_scale"] == 2.0, "as it is given, whatever glasses ask for"
    assert set(pipe.versions) == {
        "weights/text_encoder/model.safetensors",
        "weights/unet/diffusion_pytorch_model.safetensors",
        "weights/vae/diffusion_pytorch_model.safetensors",
        "direction/diffusion_pytorch_model.safetensors",
    }
    assert record.sidecar["weights"] == pipe.versions


def test_the_record_names_no_folder_of_this_machine(weights: Path, video: Path, tmp_path: Path) -> None:
    pipe = FaceEditPipeline.from_pretrained(weights)
    both = tmp_path / "both.mp4"
    record = pipe.edit(
        video,
        tmp_path / "out.mp4",
        prompt="a woman",
        source="a man",
        settings=FAST,
        crop="centre",
        compare=both,
    )
    assert record.compare == both
    assert str(tmp_path) not in record.path.read_text()
    assert record.sidecar["model"] == weights.name


def test_defaults_beside_eps2_come_before_the_backbones(tmp_path: Path) -> None:
    base, direction = tmp_path / "base", tmp_path / "direction"
    for folder, said in (
        (base, "steps: 7\nguidance_scale: 4\n"),
        (direction, "guidance_scale: 1.5\n"),
    ):
        folder.mkdir()
        (folder / "edit.yaml").write_text(said)
    assert defaults_of(base, direction) == EditSettings(steps=7, guidance_scale=1.5)
    assert defaults_of(base) == EditSettings(steps=7, guidance_scale=4)
    assert defaults_of(None, direction) == EditSettings(guidance_scale=1.5)


def test_the_shipped_defaults_are_values_of_settings() -> None:
    base, direction = (read_yaml(zoo.WEIGHTS / name / "edit.yaml") for name in ("base", "direction"))
    assert EditSettings().with_values(base) == defaults_of(zoo.WEIGHTS / "base")
    assert EditSettings().with_values(base).with_values(direction) == miniature_defaults()


def test_the_untuned_network_edits_as_the_backbone_says() -> None:
    """How much guidance suits ε2 says nothing of the U-Net that stands in for it."""
    pipe = FaceEditPipeline.from_pretrained("miniature")
    assert pipe.settings_for(()) == pipe.defaults == miniature_defaults()
    assert pipe.settings_for((), "base") == defaults_of(zoo.WEIGHTS / "base")
    assert pipe.defaults.guidance_scale < pipe.defaults_with("base").guidance_scale


def bytes_read() -> int:
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["rchar"])


@pytest.mark.skipif(not Path("/proc/self/io").is_file(), reason="bytes read are counted by Linux")
def test_only_files_in_use_are_hashed_and_once(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    used = sorted(weights.rglob("*.safetensors"))
    for unused in (
        "safety_checker/model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "v1-5-pruned-emaonly.safetensors",
    ):
        (weights / unused).parent.mkdir(exist_ok=True)
        (weights / unused).write_bytes(bytes(2**22))
    for path in weights.rglob("*"):
        os.utime(path, (10**9, 10**9))
    size = sum(path.stat().st_size for path in used)
    before = bytes_read()
    versions = FaceEditPipeline.from_pretrained(weights, device="cpu").versions
    pipe = FaceEditPipeline.from_pretrained(weights, device="cpu")
    assert versions == {f"weights/{path.relative_to(weights)}": sha256(path) for path in used}
    before = bytes_read()
    assert pipe.versions == versions
    assert bytes_read() - before < 20_000, "an earlier run has read them"
    (tmp_path / "cache/keyface/hashes.json").unlink()
    pipe = FaceEditPipeline.from_pretrained(weights, device="cpu")
    before = bytes_read()
    assert pipe.versions == versions
    assert size <= bytes_read() - before < size + 20_000, "and nothing beside them"
