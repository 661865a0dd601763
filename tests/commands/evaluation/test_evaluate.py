"""`keyface evaluate` from a clip set that it renders to a report, with few and tiny clips."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from keyface.cli.main import main
from keyface.miniature import zoo
from keyface.miniature.zoo import RECOGNIZERS
from keyface.models.judges import folder_sha256
from keyface.video import VideoReader

RECIPE = """\
protocol: miniature
edits: glasses,beard
edited: 2
gallery: 1
frames: 2
gallery_frames: 1
size: 64
"""


class Run(NamedTuple):
    folder: Path
    words: list[str]

    def results(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "out" / "results.json").read_text())
        return found

    def row(self, method: str) -> dict[str, Any]:
        found: dict[str, Any] = next(row for row in self.results()["rows"] if row["method"] == method)
        return found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole way: make the clip set, put another method's outputs beside it, score them and ours."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "recipe.yaml").write_text(RECIPE)
    out = folder / "out"
    assert main(["evaluate", "--protocol", str(folder / "recipe.yaml"), "-o", str(out)]) == 0
    originals = sorted((out / "clips" / "clips").glob("glasses*.mp4"))
    (folder / "copies").mkdir()
    shutil.copy(originals[0], folder / "copies")
    words = [
        "evaluate", "--protocol", str(out / "clips" / "protocol.json"), "-o", str(out),
        "--method", f"copies={folder / 'copies'}", "--ours", "--steps", "2", "--settings.interval", "2",
        "--sweep", "{strength: [0.5]}", "--show", "1",
    ]  # fmt: skip
    assert main(words) == 0
    return Run(folder, words)


def test_one_row_a_method_and_the_controls(run: Run) -> None:
    rows = run.results()["rows"]
    assert [row["method"] for row in rows] == [
        "(source)", "(autoencoder)", "(inversion)", "(rendered)", "(lazy edit)", "(overdone edit)",
        "(flicker)", "(shift)", "(zoom)", "(colour drift)", "(another person)",
        "copies", "ours", "strength 0.5",
    ]  # fmt: skip
    assert {row["method"]: row["n"] for row in rows} == {row["method"]: 2 for row in rows} | {"copies": 1}
    for row in rows:
        assert set(row["by_recognizer"]) == set(RECOGNIZERS)
        assert set(row["by_category"]) <= {"glasses", "beard"}
        by = [each["mrr"] for each in row["by_recognizer"].values()]
        assert row["mrr"] == pytest.approx(sum(by) / len(by))


def test_controls_score_as_they_must(run: Run) -> None:
    source, another, inversion = run.row("(source)"), run.row("(another person)"), run.row("(inversion)")
    assert source["r_at_1"] == 1
    assert source["cosine_distance"] == pytest.approx(0, abs=1e-5)
    assert source["tl_id"] == source["tg_id"] == pytest.approx(1)
    assert source["direction_similarity"] == 0
    assert another["r_at_1"] == 0, "somebody else finds himself, not the person whose place he takes"
    assert another["cosine_distance"] > inversion["cosine_distance"]
    assert another["temporal_loss_masked"] > source["temporal_loss_masked"]
    assert (source["outside_l1"], source["outside_psnr"]) == (0, 100)
    assert source["background_drift"] == 0
    assert inversion["outside_l1"] > 0, "what the autoencoder loses counts"
    assert (source["gain"], run.row("(rendered)")["gain"], run.row("copies")["gain"]) == (0, 1, 0)
    assert run.row("(lazy edit)")["gain"] == pytest.approx(0.25, abs=0.03)
    assert 0.4 < run.row("(overdone edit)")["gain"] < 0.9, "half as far off; what pixels cannot show is cut"
    assert set(run.row("ours")["by_category"]["beard"]) > {"gain", "edit_success", "cosine_distance"}
    assert source["temporal_loss_frames"] == pytest.approx(source["temporal_loss"] / 2), "1 pair of 2 frames"


def test_a_copy_is_the_source_and_lacks_a_clip(run: Run) -> None:
    copies, source = run.row("copies"), run.row("(source)")
    (missing,) = copies["missing"]
    assert missing.startswith("beard")
    assert copies["by_category"]["glasses"]["r_at_1"] == 1
    same = ("cosine_distance", "temporal_loss", "edit_success", "outside_l1", "tg_id", "mrr")
    for name in same:
        assert copies[name] == pytest.approx(source["by_category"]["glasses"][name], abs=1e-6), name


def test_the_record_holds_seeds_hashes_and_every_clip(run: Run) -> None:
    results = run.results()
    about = results["about"]
    assert about["clips"]["edited"] == 2
    assert about["clips"]["gallery"] == 3
    assert re.fullmatch("[0-9a-f]{64}", about["clips"]["digest"])
    assert set(about["judges"]) == {*RECOGNIZERS, "attributes", "clip", "flow"}
    assert about["weights"] == {
        role: folder_sha256(zoo.WEIGHTS / folder)
        for role, folder in {"weights": "base", "identity": "identity", "direction": "direction"}.items()
    }
    assert len(about["sha256"]["ours"]) == 2
    assert len(results["clips"]) == 14 * 2 - 1
    assert {verdict["metric"] for verdict in results["calibration"]} >= {"r_at_1", "edit_success"}
    assert [point["method"] for point in results["frontier"]] == ["copies", "ours", "strength 0.5"]
    assert any(point["on_front"] for point in results["frontier"])
    assert [row["method"] for row in results["speed"]] == ["ours", "strength 0.5"]
    assert run.row("ours")["settings"]["steps"] == 2


class Page(HTMLParser):
    """Collects what a page would load, and its tags."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value for name, value in attrs if name in ("src", "href", "data") and value]


def test_the_page_needs_nothing_beside_it_and_plays(run: Run, tmp_path: Path) -> None:
    text = (run.folder / "out" / "report.html").read_text()
    page = Page()
    page.feed(text)
    assert "script" not in page.tags
    assert page.tags.count("svg") == 2, "intervals and frontier"
    (video,) = page.loads
    assert video.startswith("data:video/mp4;base64,")
    (tmp_path / "shown.mp4").write_bytes(base64.b64decode(video.partition(",")[2]))
    shown = VideoReader(tmp_path / "shown.mp4")
    assert (len(shown), shown.height, shown.width) == (2, 64, 4 * 64), "source, inversion, copies and ours"
    assert "copies lacks 1: beard" in text
    assert "Published figures, of other data" in text
    assert "for reference, not for comparison" in text
    assert "<td>0.221</td>" in text, "IP-FaceDiff's distance in the paper's Table 1"
    assert "a multiple of .04, which this is not" in text
    assert (run.folder / "out" / "table.tex").read_text().count(r"\\") >= 8
    assert "copies,method,glasses,recognizer_vgg,mrr" in (run.folder / "out" / "results.csv").read_text()


def test_the_same_command_again_gives_the_same_and_edits_nothing_twice(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run.folder / "out"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")}
    kept = set((out / "cache").rglob("*.*"))
    rows = run.results()["rows"]
    capsys.readouterr()
    assert main([*run.words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows == run.results()["rows"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.mp4")} == before
    assert set((out / "cache").rglob("*.*")) == kept


def test_several_outputs_share_what_was_computed(run: Run) -> None:
    kept = run.folder / "out" / "cache"
    looked_at = set(kept.rglob("*.safetensors"))
    protocol = run.folder / "out" / "clips" / "protocol.json"
    other = ["evaluate", "--protocol", str(protocol), "--ours", "-o", str(run.folder / "other")]
    assert main([*other, "--cache", str(kept), "--steps", "3"]) == 0
    assert not (run.folder / "other" / "cache").exists()
    new = set(kept.rglob("*.safetensors")) - looked_at
    assert len(new) == 2 + 2, "our edits and their inversions; the originals and the gallery are known"


def test_the_controls_alone_are_a_table_as_markdown(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    protocol = str(run.folder / "out" / "clips" / "protocol.json")
    words = ["--cache", str(run.folder / "out" / "cache"), "--steps", "2", "--reference", "none"]
    assert main(["evaluate", "--protocol", protocol, "--controls", *words, "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[0] == (
        "| Measure | source | autoencoder | inversion | lazy edit | overdone edit | flicker | shift | zoom "
        "| colour drift | another person | fit |"
    )
    cells = {line.split(" | ")[0]: line.strip("| ").split(" | ")[1:] for line in lines[2:] if line[:1] == "|"}
    assert cells["| gain"][:-1] == ["yes"] * 10
    assert cells["| cos. distance"][0] == "reversed", "no edit is nearer to the original than any edit"
    assert "n = 2 clips" in printed
    assert (tmp_path / "controls.md").read_text() == printed
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["references"] == []
    assert {each["control"] for each in results["controls"] if each["metric"] == "gain"} == {
        row["method"] for row in results["rows"]
    } - {"(rendered)"}
    assert "Published figures" not in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--controls", "--ours"], "--controls scores the calibration rows alone"),
        (["--protocol", "celeba"], "--protocol celeba"),
        (["--protocol", "missing.json"], "missing.json: no such clip set"),
        (["--method", "a=nowhere"], "nowhere: no such folder"),
        (["--method", "nowhere"], "give NAME=DIR"),
        (["--steps", "3"], "add one of them"),
        (["--ours", "--settings.strength", "2"], "fraction from 0 to 1"),
        (["--ours", "--steps", "3", "--settings.steps", "2"], "say the same"),
        (["--sweep", "strength=0.5"], "--sweep strength=0.5: name settings and their values"),
        (["--sweep", "{nonsense: [1]}"], "unknown name 'nonsense'"),
        (["--variants", "missing.yaml"], "missing.yaml"),
        (["--ours", "--videos", "."], "--videos has no meaning"),
        (["--protocol", "celebv-hq"], "needs --videos"),
        (["--protocol", "celebv-hq", "--videos", "."], "videos"),
        (["--judges", "nowhere"], "package.module:function"),
        (["--reference", "missing.json"], "missing.json: no such file"),
        (["--benchmark", "missing.json"], "missing.json: no such benchmark"),
        (["--edits", "glases", "--clips", "1"], "did you mean 'glasses'"),
        (["--limit", "0", "--clips", "1"], "--limit 0: at least one clip"),
        (["--categories", "missing.yaml"], "missing.yaml"),
        (["-o", __file__, "--clips", "1"], f"{__file__}: is a file, where a folder is needed"),
    ],
)
def test_a_wrong_request_is_one_line_before_anything_is_made(
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *words]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert said in line
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_recipe_with_a_wrong_option_says_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    for content, said in (
        ("protocol: miniature\npeople: 3", "recipe.yaml: unknown name 'people'"),
        ("protocol: miniature\nedited: many", "edited is 'many'"),
        ("edited: 3", "`protocol`"),
        ("protocol: [", "cannot be read as YAML"),
    ):
        path.write_text(content)
        assert main(["evaluate", "--protocol", str(path), "-o", str(tmp_path / "out")]) == 1
        assert said in capsys.readouterr().err


def test_the_clips_of_some_edits_are_scored(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    protocol, out = run.folder / "out" / "clips" / "protocol.json", run.folder / "beards"
    words = ["evaluate", "--protocol", str(protocol), "-o", str(out), "--ours", "--steps", "2"]
    words += ["--settings.interval", "2", "--cache", str(run.folder / "out" / "cache")]
    assert main([*words, "--edits", "smile, beard"]) == 1
    assert "--edits smile: no clip of miniature is edited so; there are glasses, beard" in (
        capsys.readouterr().err
    )
    assert main([*words, "--edits", "beard"]) == 0
    results = json.loads((out / "results.json").read_text())
    assert {row["method"]: row["n"] for row in results["rows"]}["ours"] == 1
    assert set(results["rows"][-1]["by_category"]) == {"beard"}
    assert results["about"]["clips"]["gallery"] == 3, "the others are still looked up"


OWN = """\
goggles:
  targets: [wearing {}]
  source: without glasses
  attribute: Eyeglasses
  regions: [eye_g, l_eye, r_eye]
"""


def test_categories_of_ones_own_are_rendered_edited_and_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, out = tmp_path / "own.yaml", tmp_path / "out"
    own.write_text(OWN.format("glasses"))
    make = ["evaluate", "--edits", "goggles", "--clips", "1", "--gallery", "1", "--frames", "1"]
    make += ["-o", str(out)]
    assert main(make) == 1
    assert "unknown edit 'goggles'" in capsys.readouterr().err
    make += ["--categories", str(own)]
    assert main(make) == 0
    clips = out / "clips" / "clips"
    words = ["evaluate", "--protocol", str(out / "clips" / "protocol.json"), "--method", f"copies={clips}"]
    words += ["-o", str(out)]

    def copies() -> dict[str, Any]:
        rows: list[dict[str, Any]] = json.loads((out / "results.json").read_text())["rows"]
        return next(row for row in rows if row["method"] == "copies")

    assert main(words) == 0
    assert "edit_success" not in copies(), "nobody knows what goggles are"
    assert main([*words, "--categories", str(own)]) == 0
    assert copies()["edit_success"] < 0.5, "what was scored without knowing it is scored anew"
    own.write_text(OWN.format("sunglasses"))
    assert main(make) == 1
    assert "holds clips of another protocol: categories is" in capsys.readouterr().err


def test_a_methods_damaged_output_is_named(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = next((run.folder / "copies").iterdir())
    (tmp_path / whole.name).write_bytes(whole.read_bytes()[:400])
    protocol = str(run.folder / "out" / "clips" / "protocol.json")
    words = ["evaluate", "--protocol", protocol, "-o", str(run.folder / "out"), "--limit", "1"]
    ours = [
        "--ours",
        "--steps",
        "2",
        "--settings.interval",
        "2",
    ]  # as before, so that nothing is edited again
    assert main([*words, *ours, "--method", f"damaged={tmp_path}"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert str(tmp_path / whole.name) in line


def test_a_gallery_that_lacks_a_clip_is_refused_before_anything_is_edited(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run.folder / "out" / "clips", tmp_path / "clips")
    protocol = tmp_path / "clips" / "protocol.json"
    gone = json.loads(protocol.read_text())["gallery"][0]
    (tmp_path / "clips" / gone["video"]).unlink()
    assert main(["evaluate", "--protocol", str(protocol), "-o", str(tmp_path / "out"), "--ours"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert f"the video of clip {gone['key']} is missing; name the folder" in line
    assert not list(tmp_path.glob("out/**/*.mp4"))
