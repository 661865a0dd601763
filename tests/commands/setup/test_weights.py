"""`keyface weights` by its command line; what it fetches is under test in tests/weights."""

import json
from pathlib import Path

import pytest

from keyface.cli.main import main
from keyface.weights import catalogue


def test_list_names_every_entry_and_its_state(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", "--root", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(catalogue())
    assert all(line.split()[1] == "no" for line in lines[1:-1])
    (tmp_path / "arcface").mkdir()
    (tmp_path / "arcface/w600k_r50.onnx").write_bytes(b"x" * 10)
    assert main(["weights", "list", "--root", str(tmp_path), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    (arcface,) = [each for each in record["weights"] if each["name"] == "arcface"]
    assert (arcface["state"], arcface["bytes"], arcface["missing"]) == ("yes", 10, [])
    assert arcface["sha256"]["w600k_r50.onnx"].startswith("4c06341c")


def test_licences_say_what_may_be_sold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "licences"]) == 0
    lines = capsys.readouterr().out.splitlines()
    terms = {line.split()[0]: line.split()[1] for line in lines[1:-1]}
    assert terms["arcface"] == "no"
    assert terms["stable-diffusion-2-1-base"] == "restricted"
    assert terms["face-api"] == "yes"
    assert "no legal advice" in lines[-1]


def test_verify_finds_a_changed_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "verify", "--root", str(tmp_path)]) == 0
    assert "no weights are here" in capsys.readouterr().out
    (tmp_path / "vggface").mkdir()
    weights = tmp_path / "vggface/vgg_face_weights.h5"
    weights.write_bytes(b"first copy")
    assert main(["weights", "verify", "--root", str(tmp_path)]) == 0
    assert "pinned now" in capsys.readouterr().out
    weights.write_bytes(b"changed")
    assert main(["weights", "verify", "--root", str(tmp_path), "--name", "vggface"]) == 1
    output = capsys.readouterr()
    assert "differs" in output.out
    assert "1 of 1 files are not what they should be" in output.err
    assert main(["weights", "verify", "--root", str(tmp_path), "--name", "arcface"]) == 1
    assert "w600k_r50.onnx (missing)" in capsys.readouterr().err


def test_get_what_is_not_in_the_list_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "get", "arcfase", "--root", str(tmp_path)]) == 1
    assert "did you mean 'arcface'" in capsys.readouterr().err


def test_get_keeps_what_is_there_and_refuses_a_wrong_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "arcface").mkdir()
    (tmp_path / "arcface/w600k_r50.onnx").write_bytes(b"another network")
    assert main(["weights", "get", "arcface", "--root", str(tmp_path)]) == 1
    assert "expected 4c06341c" in capsys.readouterr().err
    assert (tmp_path / "arcface/w600k_r50.onnx").read_bytes() == b"another network"


def test_face_api_comes_through_the_npm_client(
    face_api_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["weights", "verify", "--root", str(face_api_folder.parent), "--name", "face-api"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("face-api")]
    assert len(lines) == 13
    assert all("as published" in line for line in lines)


def test_json_is_all_that_stdout_gets(face_api_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = ["--root", str(face_api_folder.parent), "--json"]
    assert main(["weights", "get", "face-api", *root]) == 0
    printed = capsys.readouterr()
    (fetched,) = json.loads(printed.out)["weights"]
    assert (fetched["name"], fetched["state"]) == ("face-api", "yes")
    assert "face-api" in printed.err, "what happens is told beside it"
    assert main(["weights", "verify", "--name", "face-api", *root]) == 0
    files = json.loads(capsys.readouterr().out)
    assert len(files) == 13
    assert {each["verdict"] for each in files} == {"as published"}
    assert all(Path(each["file"]).is_file() and len(each["sha256"]) == 64 for each in files)
    assert main(["weights", "licences", "--json"]) == 0
    terms = {each["weights"]: each for each in json.loads(capsys.readouterr().out)}
    assert list(terms) == list(catalogue())
    assert terms["arcface"]["commercial"] == "no"
    assert terms["arcface"]["url"].startswith("https://")


def test_json_of_nothing_is_an_empty_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "verify", "--root", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
