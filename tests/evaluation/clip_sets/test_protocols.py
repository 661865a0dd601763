"""Clip sets for `keyface evaluate`: shipped protocols, and CelebV-HQ's from a folder of little videos."""

from pathlib import Path

import pytest
import torch

from keyface.cli.main import main
from keyface.configuration import merged
from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.protocols import next_step, open_clips, read_protocol
from keyface.evaluation.clip_sets.rendered import RenderedProtocol
from keyface.video import VideoReader, write_clip


@pytest.fixture
def celebv(tmp_path: Path) -> Path:
    """Four people's clips of .6 s, named as CelebV-HQ's, and one that is too short to be edited."""
    folder = tmp_path / "CelebV-HQ"
    folder.mkdir()
    for number, name in enumerate("abcde"):
        frames = torch.full((2 if name == "e" else 6, 3, 48, 64), -0.5 + 0.2 * number)
        write_clip(folder / f"{name * 11}_0.mp4", frames, 10)
    return folder


@pytest.mark.parametrize("name", ["multi_edit", "goals"])
def test_shipped_protocols_fit_the_miniature(name: str) -> None:
    named, options = read_protocol(name)
    assert named == "miniature"
    protocol = merged(RenderedProtocol(), options, name)
    assert protocol.edited // len(protocol.groups()) >= 25
    assert protocol.gallery >= 1000


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("protocol: miniature\nedits: glasses\nedited: 5\nframes: 2\nsize: 32\ngallery: 0\nfps: 2")
    clips, _ = open_clips(str(file), None, None, {"edits": "old", "edited": 1, "seed": 7}, tmp_path / "out")
    assert [(clip.category, clip.frames, clip.size) for clip in clips.edited] == [("old", 2, 32)]
    assert clips.seed == 7


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


def test_a_protocol_that_is_there_takes_no_options_for_making_one(tmp_path: Path) -> None:
    given = {"edits": "beard", "frames": 2, "seed": 0}
    with pytest.raises(ValueError, match="is a clip set already: leave out frames"):
        open_clips(str(tmp_path / "protocol.json"), None, None, given, tmp_path)
    with pytest.raises(FileNotFoundError, match="no such clip set"):
        open_clips(str(tmp_path / "protocol.json"), None, None, {"seed": 0}, tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"edited": True}, "--protocol miniature: edited is True; it must be a whole number"),
        ({"edited": 2.5}, "edited is 2.5"),
        ({"edits": ["beard"]}, "edits is"),
        ({"people": 3}, "unknown name 'people'"),
        ({"long_clips": True}, "unknown name 'long_clips'"),
    ],
)
def test_options_that_do_not_fit_are_named(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        open_clips("miniature", None, None, options, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_next_step_names_the_files_to_edit(tmp_path: Path, celebv: Path) -> None:
    recipe = tmp_path / "short.yaml"
    recipe.write_text("protocol: celebv-hq\nchosen: 1\nedited: 1\nseconds: 0.5\nsize: 32\nrest: false\n")
    clips, path = open_clips(str(recipe), celebv, None, {}, tmp_path)
    assert path is not None
    told = next_step(path, clips)
    assert str(path.parent / "inputs") in told
    assert f"{clips.edited[0].key}.mp4" in told
