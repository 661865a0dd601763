"""`keyface edit` from file to file, with a tiny backbone in diffusers' layout."""

import json
import os
import shutil
from pathlib import Path
from typing import cast

import av
import pytest
import torch
from safetensors.torch import load_file, save_file

from keyface.cli.main import main
from keyface.pipeline.planning.space import check_space
from keyface.pipeline.request.request import VideoRequest
from keyface.plugins import edits
from keyface.video import VideoReader

FAST = ["--steps", "2", "--settings.interval", "3", "--guidance", "2"]


def run(video: Path, output: Path, weights: Path, *more: str) -> int:
    words = ["edit", str(video), "-o", str(output), "--weights", str(weights), *FAST, *more]
    for option, value in (("--source", "a photo of a man"), ("--crop", "centre")):
        words += [option, value] if option not in more else []
    return main(words)


def test_an_edit_keeps_frames_stamps_and_sound(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, compare = tmp_path / "out.mp4", tmp_path / "compare.mp4"
    assert run(video, output, weights, "--edits", "glasses", "--compare", str(compare)) == 0
    source, edited, both = VideoReader(video), VideoReader(output), VideoReader(compare)
    assert edited.timings == source.timings
    assert (edited.height, edited.width) == (44, 60)
    assert (both.height, both.width, len(both)) == (44, 120, 7)
    assert edited.has_audio
    before, after = next(source.chunks(7)), next(edited.chunks(7))
    outside = (before - after)[..., :6].abs().mean()
    inside = (before - after)[..., 20:40].abs().mean()
    assert outside < 0.03 < inside, "only the square in the middle may change"

    record = json.loads((tmp_path / "out.json").read_text())
    assert record["edits"] == ["glasses"]
    assert record["prompts"]["source"] == "a photo of a man"
    assert "glasses" in record["prompts"]["target"]
    assert record["input"]["frames"] == 7
    assert record["input"]["fps"] == "30000/1001"
    assert record["crop"] == {"x": 8, "y": 0, "size": 44}
    assert record["settings"]["steps"] == 2
    assert "synthetic" in record["statement"]
    assert len(record["weights"]) == 3
    assert record["warnings"], "random networks do not know any face"
    with av.open(str(output)) as container:
        assert "synthetic" in container.metadata["comment"]
    said = capsys.readouterr().err
    assert "the model does not know this face" in said
    assert "untuned" in said
    assert "\ndecode: 7, " in said, "a line a stage, where no terminal shows a bar"


def test_a_prompt_a_crop_and_the_first_frames(video: Path, weights: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mkv"
    more = [
        "--prompt",
        "a woman",
        "--crop",
        "4,6,32",
        "--max-seconds",
        "0.05",
        "--settings.propagation.mode",
        "latent",
    ]
    assert run(video, output, weights, *more) == 0
    assert len(VideoReader(output)) == 2
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["prompts"] == {"source": "a photo of a man", "target": "a woman", "negative": None}
    assert record["crop"] == {"x": 4, "y": 6, "size": 32}


def test_the_same_seed_gives_the_same_video(video: Path, weights: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        assert run(video, tmp_path / name, weights, "--edits", "glasses") == 0
    first, second = (next(VideoReader(tmp_path / name).chunks(7)) for name in ("a.mp4", "b.mp4"))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "either --edits"),
        (["--edits", "glasses", "--prompt", "a man"], "one of the two"),
        (["--prompt", "  "], "empty"),
        (["--edits", "glases"], "did you mean 'glasses'"),
        (["--prompt", "a photo of a man"], "nothing to change"),
        (["--edits", "glasses", "--crop", "30,0,44"], "60x44"),
        (["--edits", "glasses", "--crop", "big"], "x,y,size"),
        (["--edits", "glasses", "--identity", "nowhere"], "nowhere"),
        (["--edits", "glasses", "--strength", "1.5"], "strength is 1.5; it is a fraction from 0 to 1"),
        (["--edits", "glasses", "--settings.interval", "0"], "at least 1"),
        (["--edits", "glasses", "--settings.steps", "9"], "--steps and --settings.steps say the same"),
        (["--edits", "glasses", "--max-seconds", "0"], "--max-seconds is 0"),
        (["--edits", "glasses", "--max-seconds=-1"], "--max-seconds is -1"),
    ],
)
def test_wrong_requests_are_one_line_and_write_nothing(
    video: Path,
    weights: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    message: str,
) -> None:
    before = sorted(os.listdir(tmp_path))
    assert run(video, tmp_path / "out.mp4", weights, *more) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("keyface: error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert sorted(os.listdir(tmp_path)) == before


def test_inputs_and_existing_files_are_never_overwritten(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    original = video.read_bytes()
    link, existing = tmp_path / "link.mp4", tmp_path / "out.mp4"
    link.symlink_to(video)
    existing.write_bytes(b"previous")
    for target in (video, link):
        assert run(video, target, weights, "--edits", "glasses", "--overwrite") == 1
        assert "is the input" in capsys.readouterr().err
    assert run(video, existing, weights, "--edits", "glasses") == 1
    assert "--overwrite" in capsys.readouterr().err
    assert (video.read_bytes(), existing.read_bytes()) == (original, b"previous")
    assert run(video, existing, weights, "--edits", "glasses", "--overwrite") == 0
    assert len(VideoReader(existing)) == 7
    assert run(video, existing, weights, "--edits", "glasses", "--compare", str(existing)) == 1


def test_what_needs_no_weights_is_refused_before_any_is_read(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(os.listdir(tmp_path))
    for more, message in (
        (["--settings.strength", "2"], "strength is 2.0; it is a fraction from 0 to 1"),
        (["--strength", "2"], "strength is 2.0; it is a fraction from 0 to 1"),
        (["--guidance", ".nan"], "guidance_scale is nan"),
        (["--max-seconds", "0"], "--max-seconds is 0"),
        (["--crop", "0,0,900"], "60x44"),
        (["--compare", str(tmp_path / "c.gif")], "--compare"),
        (["-o", str(tmp_path / "x.gif")], "-o/--output"),
        (["-o", ""], "-o/--output .: write to one of .mp4"),
        (["-o", str(video / "folder" / "x.mp4")], f"{video}: is a file, where a folder is needed"),
        (["--compare", str(video / "x.mp4")], f"{video}: is a file, where a folder is needed"),
        (["--source", " "], "--source is empty"),
        (["--seed", str(2**64)], "seed is 18446744073709551616; it must fit into 64 bits"),
    ):
        words = [
            "edit",
            str(video),
            "-o",
            str(tmp_path / "o.mp4"),
            "--weights",
            "nothing",
            "--edits",
            "glasses",
        ]
        assert main([*words, *more]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
        assert "nothing" not in line
    assert sorted(os.listdir(tmp_path)) == before


class EndlessVideo:
    """Stands for a reader of a video that no disk can hold."""

    height = width = 10**6

    def __len__(self) -> int:
        return 10**9


def test_a_full_disk_is_noticed_before_starting(video: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"this edit may take up to [\d,]+ MB, [\d,]+ MB are free"):
        check_space(
            VideoRequest(video, tmp_path / "out.mp4", prompt="a man"), cast(VideoReader, EndlessVideo())
        )


def test_missing_and_damaged_weights(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(video, tmp_path / "out.mp4", tmp_path / "nothing", "--edits", "glasses") == 1
    assert "nothing" in capsys.readouterr().err
    file = next((weights / "unet").glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:1000])
    assert run(video, tmp_path / "out.mp4", weights, "--edits", "glasses") == 1
    assert str(weights) in capsys.readouterr().err
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize("scale", ["1e38", "-3", ".nan", ".inf"])
def test_absurd_guidance_is_refused_before_weights_are_read(
    scale: str, video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mp4"
    words = [
        "edit",
        str(video),
        "-o",
        str(output),
        "--weights",
        str(tmp_path / "nothing"),
        "--source",
        "a man",
    ]
    assert main([*words, "--edits", "glasses", f"--guidance={scale}"]) != 0
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "guidance" in said[0]
    assert not list(tmp_path.glob("out*"))


def test_a_branch_that_is_not_finite_writes_nothing(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    branch = tmp_path / "branch"
    shutil.copytree(weights / "unet", branch)
    file = branch / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    state["conv_out.bias"][0] = float("nan")
    save_file(state, file, {"format": "pt"})
    for name in ("--identity", "--direction"):
        assert run(video, tmp_path / "out.mp4", weights, "--edits", "glasses", name, str(branch)) == 1
        assert f"{file}: 1 of " in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.glob("out*"))


def test_a_source_caption_is_needed_with_own_weights(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", str(video), "-o", str(tmp_path / "o.mp4"), "--weights", str(weights)]
    assert main([*words, "--edits", "beard", "--crop", "centre"]) == 1
    assert "--source" in capsys.readouterr().err


def test_prompts_that_the_encoder_cannot_take_in_are_said(video: Path, weights: Path, tmp_path: Path) -> None:
    long = "a photo of a man " + "with glasses " * 9
    with pytest.warns(UserWarning, match="too long.*: 'a photo of a man with glasses with'"):
        run(video, tmp_path / "o.mp4", weights, "--prompt", long)
    with pytest.warns(UserWarning, match="does not know ein, mann"):
        run(video, tmp_path / "p.mp4", weights, "--prompt", "ein Mann")


def test_json_is_all_that_stdout_gets(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(video, tmp_path / "out.mp4", weights, "--edits", "glasses", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads((tmp_path / "out.json").read_text())
    assert f"wrote {tmp_path / 'out.mp4'}, {tmp_path / 'out.json'}" in printed.err
    assert "--compare" in printed.err.splitlines()[-1]


def test_categories_of_ones_own_are_for_one_edit(video: Path, weights: Path, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("pale-one: {targets: [glasses], source: a man, attribute: Pale_Skin, strength: 0.5}\n")
    for name in ("a.mp4", "b.mp4"):
        assert run(video, tmp_path / name, weights, "--edits", "pale-one", "--categories", str(file)) == 0
    assert "pale-one" not in edits
    assert json.loads((tmp_path / "a.json").read_text())["settings"]["strength"] == 0.5


def test_names_that_are_not_utf8_and_names_with_a_colon(
    video: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    source, output, both = (os.fsdecode(name) for name in (b"in\xff.mp4", b"out\xfe.mp4", b"tcp:x\xfd.mp4"))
    video.rename(source)
    assert run(Path(source), Path(output), weights, "--edits", "glasses", "--compare", both, "--json") == 0
    assert sorted(map(os.fsencode, os.listdir())) == sorted(
        [b"in\xff.mp4", b"out\xfe.mp4", b"out\xfe.json", b"tcp:x\xfd.mp4", b"weights"]
    )
    assert json.loads(capsys.readouterr().out)["edits"] == ["glasses"]
    assert len(VideoReader(output)) == len(VideoReader(both)) == 7
    assert run(Path(os.fsdecode(b"no\xff.mp4")), Path("o.mp4"), weights, "--edits", "glasses") == 1
    assert r"no\udcff.mp4: no such video" in capsys.readouterr().err
