"""A study's folder: blinded, whole or not at all, and everything checked before."""

import json
import re
from pathlib import Path

import pytest
import torch
from studies import CLIPS, METHODS, moving, words_of

from keyface.cli.main import main
from keyface.files import sha256
from keyface.study.folder import Study
from keyface.study.stimuli import broken, look_at, softened
from keyface.video import Encoding, VideoReader, write_clip
from keyface.video.lossless import write_lossless


def test_every_edit_is_there_once_under_a_name_that_tells_nothing(study: Study, material: Path) -> None:
    plan = json.loads((study.folder / "public" / "plan.json").read_text())
    media = study.folder / "public" / "media"
    shown = [trial["shown"] for trial in plan["trials"]]
    assert len(set(shown)) == len(shown) == 2 * 3 + 2 + 1, "edits, two checks, one to practise"
    assert {f"media/{path.name}" for path in media.iterdir()} == set(shown) | {
        trial["source"] for trial in plan["trials"]
    }
    for trial, asked in zip(study.trials, plan["trials"], strict=True):
        file = study.folder / "public" / asked["shown"]
        if trial.method:
            assert sha256(file) == sha256(material / trial.method / f"{trial.clip}.mp4"), "copied as it is"
        source = sha256(material / "sources" / f"{trial.clip}.mp4")
        assert sha256(study.folder / "public" / asked["source"]) == source
        assert (sha256(file) == source) == (trial.made == "unedited")
    public = "".join(
        path.read_text()
        for path in (study.folder / "public").iterdir()
        if path.suffix != "" and path.is_file()
    )
    assert not re.search(rf"\b({'|'.join((*METHODS, *CLIPS))})\b", public)
    for word in ("unedited", "broken", "checks"):
        assert word not in public, f"{word!r} would tell raters what is tested"
    assert len({path.stat().st_mtime for path in media.iterdir()}) == 1


def test_trials_stand_in_the_order_of_random_names(study: Study) -> None:
    plan = json.loads((study.folder / "public" / "plan.json").read_text())
    shown = [trial["shown"] for trial in plan["trials"]]
    assert shown == sorted(shown)
    practice = {number for number, trial in enumerate(study.trials) if trial.made == "practice"}
    assert set(plan["practice"]) == practice
    for order in study.booklets:
        assert set(order) == set(range(len(study.trials))) - practice


def test_two_studies_of_the_same_protocol_have_the_same_orders_and_other_names(
    study: Study, material: Path, tmp_path: Path
) -> None:
    assert main(words_of(material, tmp_path / "again")) == 0
    again = Study.read(tmp_path / "again")

    def orders(made: Study) -> list[list[tuple[str, str, str]]]:
        return [
            [(each.clip, each.method, each.made) for each in (made.trials[number] for number in order)]
            for order in made.booklets
        ]

    assert orders(again) == orders(study)
    assert not (again.public & study.public) - {"index.html", "study.css", "study.js", "plan.json"}
    assert again.digest != study.digest


def test_missing_videos_are_named_in_one_line(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (material / "stit" / "ben.mp4").unlink()
    (material / "stit" / "cleo.mp4").unlink()
    (material / "sources" / "anna.mp4").unlink()
    assert main(words_of(material, tmp_path / "study")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"stit ({material / 'stit'}) lacks ben, cleo" in line
    assert "the source of anna" in line
    assert not (tmp_path / "study").exists()


def test_an_edit_of_another_length_or_shape_is_refused(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for frames, said in (
        (moving(0, 0.5, frames=30), "lasts 1.20 s, and its source"),
        (moving(0, 0.5)[..., :32], "is 0.50 times as wide as high"),
    ):
        write_clip(material / "dva" / "anna.mp4", frames, 25)
        assert main(words_of(material, tmp_path / "study")) == 1
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert said in line
        assert str(material / "dva" / "anna.mp4") in line
        assert not (tmp_path / "study").exists()


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        (["ours"], "give NAME=FOLDER"),
        (["ours=none"], "there is no folder none"),
        (["ours=.", "ours=."], "ours is given twice"),
        (["<b>=."], "method name '<b>'"),
    ],
)
def test_methods_that_are_none(
    methods: list[str], said: str, material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["study", "new", str(material / "protocol.json"), "--methods", *methods]
    assert main([*words, "-o", str(tmp_path / "study")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


def test_a_folder_with_something_in_it_stays(
    study: Study, material: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (study.folder / "key.json").read_bytes()
    assert main(words_of(material, study.folder)) == 1
    assert "has something in it" in capsys.readouterr().err
    assert (study.folder / "key.json").read_bytes() == before


def test_a_damaged_video_leaves_nothing_behind(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = material / "sources" / "cleo.mp4"
    path.write_bytes(path.read_bytes()[:200])
    assert main(words_of(material, tmp_path / "out" / "study")) == 1
    assert str(path) in capsys.readouterr().err
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


def test_what_browsers_do_not_play_is_encoded_and_all_of_that_clip_with_it(
    material: Path, tmp_path: Path
) -> None:
    """Lossless RGB, as `keyface evaluate` writes its edits, and Matroska."""
    (material / "stit" / "anna.mp4").unlink()
    write_lossless(material / "stit" / "anna.mp4", moving(0, 0.6), 25)
    (material / "dva" / "ben.mp4").unlink()
    write_clip(material / "dva" / "ben.mkv", moving(1, 0.2), 25, encoding=Encoding(codec="h265"))
    assert main(words_of(material, tmp_path / "study")) == 0
    made = Study.read(tmp_path / "study")
    plan = json.loads((made.folder / "public" / "plan.json").read_text())
    about = json.loads((made.folder / "study.json").read_text())
    assert {each["id"]: each["encoded"] for each in about["clips"]} == {
        "anna": True, "ben": True, "cleo": False,
    }  # fmt: skip
    for trial, asked in zip(made.trials, plan["trials"], strict=True):
        file = made.folder / "public" / asked["shown"]
        assert look_at(file).plays
        if trial.method:
            suffix = ".mkv" if (trial.clip, trial.method) == ("ben", "dva") else ".mp4"
            original = material / trial.method / f"{trial.clip}{suffix}"
            assert (sha256(file) == sha256(original)) == (trial.clip == "cleo")
            frames, wanted = (torch.cat(list(VideoReader(each).chunks(16))) for each in (file, original))
            assert (frames - wanted).abs().mean() < 0.01


def test_a_broken_clip_is_the_source_in_shuffled_tiles_of_inverted_colours(study: Study) -> None:
    frames = moving(0, 1.0, frames=13, size=52)
    made = broken(frames)
    # 52 pixels are five tiles of ten and two pixels beside; each tile is a tile of the inverted frame
    tiles = (-frames)[:, :, :50, :50].unfold(2, 10, 10).unfold(3, 10, 10)
    shuffled = made[:, :, :50, :50].unfold(2, 10, 10).unfold(3, 10, 10)
    for index in range(13):
        was, now = (
            sorted(each[index, :, row, column].flatten().tolist() for row in range(5) for column in range(5))
            for each in (tiles, shuffled)
        )
        assert was == now
    assert (made[:, :, 50:] == -frames[:, :, 50:]).all()
    assert not (shuffled == tiles).all()
    assert torch.equal(broken(frames[6:], first=6), made[6:]), "chunks make no difference"
    plan = json.loads((study.folder / "public" / "plan.json").read_text())
    (number,) = (number for number, trial in enumerate(study.trials) if trial.made == "broken")
    written, source = (
        torch.cat(list(VideoReader(study.folder / "public" / plan["trials"][number][name]).chunks(16)))
        for name in ("shown", "source")
    )
    assert (written - broken(source)).abs().mean() < 0.05


def test_a_softened_clip_has_less_detail_and_is_warmer() -> None:
    frames = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) - 0.5
    made = softened(frames)
    assert made.shape == frames.shape
    assert made.std() < 0.5 * frames.std()
    change = (made - frames).mean(dim=(0, 2, 3))
    assert change[0] > 0.1
    assert change[2] < -0.1


def test_a_study_that_was_changed_is_refused(study: Study) -> None:
    for name, before, after in (
        ("study.json", '"failed_checks": 1', '"failed_checks": 2'),
        ("key.json", '"method": "dva"', '"method": "stit"'),
        ("public/plan.json", '"booklets":[[', '"booklets":[[0,'),
    ):
        path = study.folder / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after))
        with pytest.raises(ValueError, match="were changed since the study was made"):
            Study.read(study.folder)
        path.write_text(text)
    assert Study.read(study.folder) == study
    with pytest.raises(FileNotFoundError, match="keyface study new"):
        Study.read(study.folder / "public")
