"""Clip sets for `keyface evaluate`: shipped recipes, and CelebV-HQ's from a folder of little videos."""

from pathlib import Path

import pytest
import torch

from keyface.cli.main import main
from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.protocols import (
    Options,
    changed,
    found_config,
    next_step,
    open_clips,
    read_recipe,
)
from keyface.evaluation.clip_sets.rendered import Recipe
from keyface.video import VideoReader, write_clip

CONFIGS = Path(__file__).parents[3] / "configs" / "evaluate"
NOTHING = Options(None, None, None, None, False, 0)


@pytest.fixture
def celebv(tmp_path: Path) -> Path:
    """Four people's clips of .6 s, named as CelebV-HQ's, and one that is too short to be edited."""
    folder = tmp_path / "CelebV-HQ"
    folder.mkdir()
    for number, name in enumerate("abcde"):
        frames = torch.full((2 if name == "e" else 6, 3, 48, 64), -0.5 + 0.2 * number)
        write_clip(folder / f"{name * 11}_0.mp4", frames, 10)
    return folder


@pytest.mark.parametrize("name", ["multi_edit.yaml", "goals.yaml"])
def test_shipped_recipes_fit_the_miniature(name: str) -> None:
    protocol, wanted = read_recipe(CONFIGS / name)
    assert protocol == "miniature"
    recipe = changed(Recipe(), protocol, wanted)
    assert recipe.edited // len(recipe.groups()) >= 25
    assert recipe.gallery >= 1000


def test_shipped_files_are_found_by_name_and_ones_own_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert found_config(Path("ablation")).read_text() == (CONFIGS / "ablation.yaml").read_text()
    (tmp_path / "ablation").write_text("mine: {}")
    assert found_config(Path("ablation")) == Path("ablation")
    assert found_config(Path("elsewhere/goals")) == Path("elsewhere/goals")
    assert found_config(Path("nothing")) == Path("nothing")


def test_options_win_over_the_recipe() -> None:
    given = Options("beard", 3, None, None, False, 7).given()
    assert given == {"edits": "beard", "edited": 3, "seed": 7}
    recipe = changed(Recipe(), "miniature", {"edited": 5, "frames": 2, **given})
    assert (recipe.edits, recipe.edited, recipe.frames, recipe.seed) == ("beard", 3, 2, 7)


def test_a_clip_set_of_celebv_hq_is_made_and_read_again(
    tmp_path: Path, celebv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "short.yaml"
    recipe.write_text("protocol: celebv-hq\nchosen: 3\nedited: 2\nseconds: 0.5\nsize: 32\n")
    words = ["evaluate", "--protocol", str(recipe), "--videos", str(celebv), "-o", str(tmp_path / "out")]
    assert main([*words, "--edits", "old,glasses"]) == 0
    path = tmp_path / "out" / "clips" / "protocol.json"
    clips = ClipSet.read(path, celebv)
    assert [clip.category for clip in clips.edited] == ["old", "glasses"]
    assert (len(clips.gallery), clips.edited[0].frames) == (3, 5)
    said = capsys.readouterr().err
    assert f"keyface evaluate --protocol {path} --videos {celebv} --method NAME=DIR" in said
    inputs = sorted((path.parent / "inputs").iterdir())
    assert [file.stem for file in inputs] == sorted(clip.key for clip in clips.edited)
    shown = VideoReader(inputs[0])
    assert (len(shown), shown.height, shown.width) == (5, 32, 32)


def test_the_long_clips_of_table_3(tmp_path: Path, celebv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--protocol", "celebv-hq", "--videos", str(celebv), "--long-clips"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 1
    assert "clips" in capsys.readouterr().err, "none of them lasts ten seconds"


def test_a_protocol_that_is_there_takes_no_options_for_making_one(tmp_path: Path, celebv: Path) -> None:
    options = Options("beard", None, None, None, False, 0)
    with pytest.raises(ValueError, match="is a clip set already: leave out edits"):
        open_clips(str(tmp_path / "protocol.json"), None, None, options, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such clip set"):
        open_clips(str(tmp_path / "protocol.json"), None, None, NOTHING, tmp_path)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"edited": True}, "edited is True"),
        ({"edited": 2.5}, "edited is 2.5"),
        ({"edits": ["beard"]}, "edits is"),
        ({"people": 3}, "no option 'people'; it has edits, edited"),
    ],
)
def test_options_that_do_not_fit_are_named(wanted: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        changed(Recipe(), "miniature", wanted)


def test_the_next_step_names_the_files_to_edit(tmp_path: Path, celebv: Path) -> None:
    recipe = tmp_path / "short.yaml"
    recipe.write_text("protocol: celebv-hq\nchosen: 1\nedited: 1\nseconds: 0.5\nsize: 32\nrest: false\n")
    clips, path = open_clips(str(recipe), celebv, None, NOTHING, tmp_path)
    assert path is not None
    told = next_step(path, clips)
    assert str(path.parent / "inputs") in told
    assert f"{clips.edited[0].key}.mp4" in told
