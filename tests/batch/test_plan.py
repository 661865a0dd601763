"""Manifests: what they may say, and what is wrong with them, all at once."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from keyface.batch.manifest import read_manifest
from keyface.batch.options import checked_options, combined
from keyface.batch.plan import make_batch
from keyface.claims.batch import Batch
from keyface.claims.claim import make_once

NETWORKS = {"weights": "miniature"}


def planned(manifest: Path, folder: Path, common: dict[str, Any] | None = None, **more: Any) -> Batch:
    rows, defaults, faults = read_manifest(manifest)
    every = combined(checked_options(common or {}, "options"), checked_options(defaults, "defaults"))
    return make_batch(manifest, rows, every, folder, NETWORKS, faults=faults, **more)


def faults_of(manifest: Path, folder: Path, common: dict[str, Any] | None = None) -> list[str]:
    """Return the lines that are told, without the manifest's name."""
    told: list[str] = []
    with pytest.raises(ValueError, match="nothing was edited") as caught:
        planned(manifest, folder, common, tell=told.append)
    assert f"{len(told)} fault" in str(caught.value)
    assert not folder.exists(), "nothing is written"
    return [line.removeprefix(f"{manifest}: ") for line in told]


def test_all_faults_are_told_at_once_a_line_each(video: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        "video,output,edits,prompt,strength,colour,settings.injection.mode\n"
        "in.mp4,a.mp4,glasses,,0.5,,kv\n"
        "missing.mp4,b.mp4,glasses,,,,\n"
        "broken.mp4,c.mp4,glasses,,,,\n"
        "in.mp4,d.mp4,glases,,,,\n"
        "in.mp4,e.mp4,glasses,a man,,,\n"
        "in.mp4,f.mp4,glasses,,much,,\n"
        "in.mp4,g.mp4,glasses,,2,,\n"
        "in.mp4,h.mp4,glasses,,,red,\n"
        "in.mp4,a.mp4,beard,,,,\n"
        "in.mp4,../i.mp4,beard,,,,\n"
        "in.mp4,report.mp4,beard,,,,\n"
        ",j.mp4,beard,,,,\n"
        "in.mp4,k.txt,beard,,,,\n"
        "in.mp4,l.mp4,,,,,\n"
        "in.mp4,m.mp4,beard,a,b,c,d,e\n"
        "in.mp4,n.mp4,beard,,,,qq\n"
    )
    told = faults_of(manifest, tmp_path / "out")
    by_row = {int(line.split(":")[0].removeprefix("row ")): line for line in told}
    assert len(by_row) == len(told), "one a row"
    wanted = {
        3: "no such video file",
        4: "broken.mp4",
        5: "did you mean",
        6: "--edits NAME,... or --prompt TEXT",
        7: "strength is 'much'; it must be a number",
        8: "strength",
        9: "unknown name 'colour'",
        10: "a.mp4, and so does",
        11: "inside the folder of the outputs",
        12: "report.json, and so does the report",
        13: "names no video",
        14: "write to one of",
        15: "say what to change",
        16: "a value with a comma needs quotes",
        17: "settings.injection.mode",
    }
    assert set(by_row) == set(wanted)
    for row, part in wanted.items():
        assert part in by_row[row], by_row[row]


def test_common_options_give_way_to_a_clips_own(video: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "list.yaml"
    manifest.write_text(
        "defaults: {edits: glasses, steps: 20, crop: centre, settings: {injection: {mode: kv, until: 0.5}}}\n"
        "clips:\n"
        "- {video: in.mp4, output: a.mp4}\n"
        "- {video: in.mp4, output: b.mp4, prompt: a woman, guidance: 3, settings.injection.until: 0.7}\n"
        "- {video: in.mp4, output: c.mp4, edits: [beard, smile], settings: {steps: 9}, person: 2}\n"
    )
    with pytest.raises(ValueError, match="nothing was edited"):
        planned(manifest, tmp_path / "out")  # --crop and --person exclude each other
    manifest.write_text(manifest.read_text().replace(", person: 2", ""))
    found = {
        clip.output: clip.options for clip in planned(manifest, tmp_path / "out", {"guidance": 2.0}).clips
    }
    mode = {"mode": "kv", "until": 0.5}
    common = {"edits": "glasses", "steps": 20, "crop": "centre", "guidance": 2.0}
    assert found["a.mp4"] == {**common, "settings": {"injection": mode}}
    assert found["b.mp4"] == {
        "prompt": "a woman",
        "steps": 20,
        "crop": "centre",
        "guidance": 3.0,
        "settings": {"injection": {**mode, "until": 0.7}},
    }
    assert found["c.mp4"] == {
        "edits": ["beard", "smile"],
        "crop": "centre",
        "guidance": 2.0,
        "settings": {"injection": mode, "steps": 9},
    }


def test_a_folder_is_a_manifest_and_the_longest_clip_comes_first(video: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in ("b.mp4", "a.avi", ".hidden.mp4", "notes.txt"):
        shutil.copy(video, clips / name)
    made = planned(clips, tmp_path / "out", {"edits": "glasses", "crop": "centre"})
    assert [clip.output for clip in made.clips] == ["a.mp4", "b.mp4"], "avi is not written"
    assert {clip.work for clip in made.clips} == {7 * 44 * 60}
    manifest = tmp_path / "list.csv"
    manifest.write_text("video,output,end\nin.mp4,short.mp4,0.1\nin.mp4,long.mp4,\n")
    made = planned(manifest, tmp_path / "out", {"edits": "glasses"})
    assert [clip.output for clip in made.clips] == ["long.mp4", "short.mp4"]


def test_outputs_of_others_are_kept_and_those_of_the_batch_are_its_own(video: Path, tmp_path: Path) -> None:
    folder, manifest = tmp_path / "out", tmp_path / "list.csv"
    manifest.write_text("video,edits\nin.mp4,glasses\n")
    made = planned(manifest, folder)
    folder.mkdir()
    (folder / "in.mp4").touch()
    with pytest.raises(ValueError, match="1 fault;"):
        planned(manifest, folder)
    assert planned(manifest, folder, overwrite=True) == made
    made.claims.mkdir(parents=True)
    make_once(made.begun(made.clips[0].key))
    assert planned(manifest, folder) == made
    manifest.write_text("video,edits\nin.mp4,beard\n")
    with pytest.raises(ValueError, match="1 fault;"):
        planned(manifest, folder)


def test_a_clip_is_never_written_over_an_input(video: Path, tmp_path: Path) -> None:
    shutil.copy(video, tmp_path / "other.mp4")
    manifest = tmp_path / "list.csv"
    manifest.write_text("video,output,edits\nin.mp4,x.mp4,beard\nother.mp4,in.mp4,beard\n")
    told: list[str] = []
    with pytest.raises(ValueError, match="2 faults"):
        planned(manifest, tmp_path, tell=told.append)
    assert any("is the input of a clip" in line or "exists" in line for line in told)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "clip,edits\nx,y\n", "no column video"),
        ("a.csv", "video,edits,edits\nx,y,z\n", "names two columns"),
        ("a.csv", "video\n", "names no clip"),
        ("a.csv", 'video\n"x\n', "cannot be read as CSV"),
        ("a.yaml", "clips: 3\n", "needs a list of clips"),
        ("a.yaml", "clips: []\nclip: x\n", "'clip' is neither clips nor defaults"),
        ("a.txt", "x", "a manifest is a .csv or .yaml file"),
    ],
)
def test_what_is_no_manifest_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_manifest(tmp_path / name)


def test_a_batch_is_read_as_it_was_written(video: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "list.csv"
    manifest.write_text("video,edits\nin.mp4,glasses\n")
    made = planned(manifest, tmp_path / "out")
    made.save()
    assert Batch.load(tmp_path / "out") == made
    with pytest.raises(FileNotFoundError, match="no batch was begun"):
        Batch.load(tmp_path)
    (tmp_path / "out" / ".batch" / "batch.json").write_text('{"clips": [{}]}')
    with pytest.raises(ValueError, match="damaged"):
        Batch.load(tmp_path / "out")
