"""The doctor finds what is there and what is not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from keyface.cli import main
from keyface.commands import _doctor
from keyface.weights import catalogue


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights, no W&B login."""
    for name in ("KEYFACE_WEIGHTS", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examined(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["doctor", "--json", *words]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def about(record: dict[str, Any], what: str) -> dict[str, str]:
    (found,) = [each for each in record["findings"] if each["what"].partition(" (")[0] == what]
    return found  # type: ignore[no-any-return]


def test_every_missing_weight_says_what_it_disables_and_how_to_get_it(
    alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = examined(capsys)
    for entry in catalogue().values():
        found = about(record, entry.name)
        assert found["disables"] == entry.without
        assert found["fix"].startswith("keyface weights get ")
    (alone / "models/arcface").mkdir(parents=True)
    (alone / "models/arcface/w600k_r50.onnx").write_bytes(b"weights")
    record = examined(capsys)
    assert "arcface" not in [each["what"] for each in record["findings"]]
    (arcface,) = [each for each in record["weights"] if each["name"] == "arcface"]
    assert (arcface["state"], arcface["commercial"]) == ("yes", "no")
    (alone / "elsewhere/blip2").mkdir(parents=True)
    (alone / "elsewhere/blip2/config.json").write_text("{}")
    record = examined(capsys, "--root", "elsewhere")
    assert about(record, "blip2")["what"] == "blip2 (partly)"
    assert about(record, "arcface")["level"] == "missing"


def test_this_machine_can_edit(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = examined(capsys)
    assert record["packages"]["torch"] == torch.__version__.split("+")[0] or record["packages"]["torch"]
    assert record["video"]["libx264"] == "yes"
    assert record["wandb"] == {"state": "no login"}
    assert about(record, "no W&B login")["level"] == "note"
    assert not [each for each in record["findings"] if each["level"] == "broken"]
    assert set(record["disk"]) == {"here", "temporary", "weights"}


def test_the_text_names_everything(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    for part in ("machine", "packages", "video", "disk", "weights", "missing", "to mend"):
        assert f"{part}\n  " in text
    assert "disables: f_arc of Eq. 5 on real faces" in text
    assert "keyface weights get arcface" in text


def test_w_and_b_s_state(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings: list[dict[str, str]] = []
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert _doctor.wandb(findings) == {"state": "offline"}
    monkeypatch.delenv("WANDB_MODE")
    (alone / ".netrc").write_text("machine api.wandb.ai login user password none\n")
    (alone / ".netrc").chmod(0o600)
    assert _doctor.wandb(findings) == {"state": "logged in"}
    assert findings == []


def test_what_is_broken_is_an_error(
    alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_doctor, "PACKAGES", (*_doctor.PACKAGES, "no-such-package-of-keyface"))
    monkeypatch.setattr(_doctor, "_LEAST_FREE", 2**62)
    monkeypatch.setattr(_doctor, "CODECS", {"no_such_codec": ("r", "reading nothing")})
    assert main(["doctor", "--json"]) == 1
    output = capsys.readouterr()
    record = json.loads(output.out)
    assert about(record, "codec no_such_codec")["disables"] == "reading nothing"
    assert [each["level"] for each in record["findings"] if "GiB free in" in each["what"]] == ["note"] * 3
    assert "keyface: error: no-such-package-of-keyface: pip install" in output.err
