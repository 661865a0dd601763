"""`keyface plugins`, also with packages that are broken."""

import json
import subprocess
from importlib.metadata import version
from pathlib import Path

import pytest
from forks import Fork

from keyface.cli.main import main
from keyface.commands.plugins import listing


def test_list_names_every_category_and_its_package(capsys: pytest.CaptureFixture[str]) -> None:
    listing.list_categories()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["edit", "writes", "label", "after", "needs", "brings", "from"]
    row = next(line for line in lines if line.startswith("no-glasses "))
    package = ["keyface", version("keyface")]
    assert row.split() == ["no-glasses", "without", "glasses", "Eyeglasses=no", "-", "mask", *package]


def test_show_gives_all_fields_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    listing.show("beard")
    text = capsys.readouterr().out
    assert "a photo of a person, no beard -> a photo of a person, with a full beard" in text
    for field in ("targets", "regions", "conflicts", "strength", "needs"):
        assert field in text
    with pytest.raises(ValueError, match="did you mean 'beard'"):
        listing.show("beerd")


def test_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    listing.check()
    told = ["keyface", version("keyface"), "fine", "edits:"]
    assert capsys.readouterr().out.splitlines()[1].split()[:4] == told
    path = tmp_path / "edits.yaml"
    path.write_text(
        "dimples: {targets: [dimples], source: smooth cheeks, attribute: Rosy_Cheeks, conflicts: [maekup]}"
    )
    with pytest.raises(ValueError, match="'dimples' conflicts with 'maekup', which does not exist"):
        listing.check(path)
    path.write_text("dimples: {targets: [dimples], source: smooth cheeks, attribute: Rosy_Cheeks}")
    listing.check(path)
    assert "dimples can be used" in capsys.readouterr().out
    from keyface.plugins import edits

    assert "dimples" not in edits, "checking installs nothing"


def test_the_same_categories_serve_several_edits_of_one_process(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, video = tmp_path / "edits.yaml", tmp_path / "in.mp4"
    path.write_text("dimples: {targets: [dimples], source: smooth cheeks, attribute: Rosy_Cheeks}")
    video.write_bytes(b"no video, which is found out after the categories are read")
    words = ["edit", str(video), "-o", str(tmp_path / "out.mp4"), "--edits", "dimples"]
    for _ in range(2):
        assert main([*words, "--categories", str(path)]) == 1
        assert f"keyface: error: {video}" in capsys.readouterr().err
    assert main(words) == 1
    assert "unknown edit 'dimples'" in capsys.readouterr().err, "the file's edits are not installed"


@pytest.fixture
def broken_packages(tmp_path: Path) -> Path:
    """A folder with packages: one leaves when imported, one asks for the edits, one names no edit rightly."""
    folder = tmp_path / "site"
    dimples = 'Category("dimples", ("dimples",), "smooth cheeks", "Rosy_Cheeks", conflicts=("maekup",))'
    for package, code in {
        "leaving": "print('welcome to leaving')\nimport sys\nsys.exit(0)\n",
        "asking": "from keyface.plugins import edits\nEDITS = [edits['beard']]\n",
        "misspelt": f"from keyface.plugins import Category\nEDITS = {dimples}\n",
    }.items():
        info = folder / f"{package}_pack-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / f"{package}_pack.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}-pack\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[keyface.edits]\n{package} = {package}_pack:EDITS\n")
    return folder


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run keyface in a process of its own, as the console script does, with packages of a folder."""
    return Fork(words, packages=folder).wait()


def test_a_plugin_that_leaves_ends_no_command(broken_packages: Path) -> None:
    listed = run(broken_packages, "plugins", "list")
    assert listed.returncode == 0
    assert "welcome" not in listed.stdout, "what a plugin prints is no part of the answer"
    assert {"beard", "dimples"} <= {line.split()[0] for line in listed.stdout.splitlines()}
    asking, leaving = [line for line in listed.stderr.splitlines() if "warning" in line]
    assert "pip uninstall leaving-pack" in leaving
    assert "keyface's edits are asked for before every plugin is imported" in asking
    assert "pip uninstall asking-pack" in asking


def test_asking_for_a_broken_plugin_is_an_error(broken_packages: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    video = tmp_path / "in.mp4"
    video.write_bytes(b"never opened")
    for words in (
        ["plugins", "show", "leaving"],
        ["edit", str(video), "--output", str(output), "--edits", "beard,leaving"],
    ):
        ended = run(broken_packages, *words)
        assert ended.returncode == 1
        assert ended.stdout == ""
        assert "SystemExit: 0" in ended.stderr.splitlines()[-1]
        assert "pip uninstall leaving-pack" in ended.stderr.splitlines()[-1]
    assert not output.exists()


def test_check_reports_every_fault_and_fails(broken_packages: Path) -> None:
    ended = run(broken_packages, "plugins", "check")
    assert ended.returncode == 1
    rows = [line.split(maxsplit=3) for line in ended.stdout.splitlines() if line]
    assert [tuple(row[:3]) for row in rows[1:5]] == [
        ("keyface", version("keyface"), "fine"),
        ("misspelt-pack", "1.0", "wrong"),
        ("asking-pack", "1.0", "broken"),
        ("leaving-pack", "1.0", "broken"),
    ]
    assert "'maekup', which does not exist" in ended.stdout
    assert "pip uninstall leaving-pack" in ended.stdout
    last = ended.stderr.splitlines()[-1]
    assert last.startswith("keyface: error: ")
    assert "leaving-pack" in last
    assert "misspelt-pack" in last
    assert "warning" not in ended.stderr, "the table says it already"


def test_json_says_what_the_tables_say(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["plugins", "list", "--json"]) == 0
    (beard,) = [each for each in json.loads(capsys.readouterr().out) if each["name"] == "beard"]
    assert (beard["attribute"], beard["present"], beard["from"]) == ("Beard", True, "keyface")
    assert beard["version"] == version("keyface")
    assert main(["plugins", "show", "beard", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown.pop("example")["target"] == "a photo of a person, with a full beard"
    assert shown == beard
    assert main(["plugins", "check", "--json"]) == 0
    (package,) = json.loads(capsys.readouterr().out)["packages"]
    assert (package["package"], package["state"]) == ("keyface", "fine")
    path = tmp_path / "edits.yaml"
    path.write_text("dimples: {targets: [a], source: b, attribute: Rosy_Cheeks, conflicts: [maekup]}")
    assert main(["plugins", "check", "--file", str(path), "--json"]) == 1
    checked = json.loads(capsys.readouterr().out)
    assert checked["edits"] == ["dimples"]
    assert "'maekup', which does not exist" in checked["faults"][0]


def test_json_of_a_check_that_fails(broken_packages: Path) -> None:
    ended = run(broken_packages, "plugins", "check", "--json")
    assert ended.returncode == 1
    record = json.loads(ended.stdout)
    assert [each["state"] for each in record["packages"]] == ["fine", "wrong", "broken", "broken"]
    assert any("pip uninstall leaving-pack" in fix for fix in record["fixes"])


def test_check_lists_every_fault_of_every_category(tmp_path: Path) -> None:
    """Of one package: three faults in two categories, a name that is taken, and what is no category."""
    folder = tmp_path / "site"
    info = folder / "many_pack-2.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: many-pack\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(
        "[keyface.edits]\na = many_pack:A\nb = many_pack:B\nc = many_pack:C\n"
    )
    (folder / "many_pack.py").write_text(
        "from keyface.plugins import Category\n"
        "def make(name, **values):\n"
        "    return Category(name, ('x',), 'y', **{'attribute': 'Bald', **values})\n"
        "A = [make('one', strength=3.0, regions=('ears',)), make('two', attribute='Blad'), 7]\n"
        "B = [make('beard'), make('twice'), make('twice')]\n"
        "C = [make('left', conflicts=('right', 'nothing')), make('right')]\n"
    )
    ended = run(folder, "plugins", "check", "--json")
    assert ended.returncode == 1
    rows = [each for each in json.loads(ended.stdout)["packages"] if each["package"] == "many-pack"]
    expected = {
        "edit category 'one': unknown region 'ears'": "broken",
        "edit category 'one': strength is 3.0, it must be in (0, 2]": "broken",
        "edit category 'two': unknown attribute 'Blad' (did you mean 'Bald'": "broken",
        "plugin 'a' (many_pack:A) holds a int among its categories": "broken",
        "plugin 'b' (many_pack:B) offers two edits named 'twice'": "broken",
        "plugin 'b' (many_pack:B) offers 'beard', which is the name of an edit from keyface": "broken",
        "'left' conflicts with 'right', which does not say so of 'left'": "wrong",
        "'left' conflicts with 'nothing', which does not exist": "wrong",
    }
    found = {said: each["state"] for each in rows for said in expected if said in each["what"]}
    assert found == expected
    assert len(rows) == len(expected)
    assert {each["version"] for each in rows} == {"2.5"}
    listed = run(folder, "plugins", "list")
    assert "left" in {line.split()[0] for line in listed.stdout.splitlines()}
    assert [line.split()[-2:] for line in listed.stdout.splitlines() if line.startswith("left ")] == [
        ["many-pack", "2.5"]
    ]
    (warned,) = [line for line in listed.stderr.splitlines() if "'a'" in line]
    assert "(and 3 more: `keyface plugins check`)" in warned
