"""Licences and known vulnerabilities of what keyface is installed with."""

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def script(name: str) -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "scripts" / name))


def component(name: str, *said: str) -> dict[str, Any]:
    return {"name": name, "licenses": [{"license": {"name": each}} for each in said]}


@pytest.mark.parametrize(
    ("said", "binds"),
    [
        (["MIT"], False),
        (
            [
                "License :: OSI Approved :: BSD License",
                "License :: OSI Approved :: GNU General Public License (GPL)",
            ],
            False,
        ),
        (["GPL-3.0-or-later"], True),
        (["MIT OR GPL-2.0-only"], False),
        (["AGPL-3.0"], True),
        (["LGPL-2.1-or-later"], False),
        (["License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)"], False),
        (["CC-BY-NC-4.0 Non-Commercial"], True),
    ],
)
def test_licences_that_bind_are_refused(
    said: list[str], binds: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bill = tmp_path / "sbom.json"
    bill.write_text(json.dumps({"components": [component("good", "MIT"), component("asked", *said)]}))
    assert script("licences.py")["main"](bill) == int(binds)
    printed = capsys.readouterr()
    assert ("asked" in printed.err) == binds
    assert "asked" in printed.out


def test_licences_are_known_by_metadata_or_by_hand() -> None:
    found = script("licences.py")["licences"]
    assert found({"name": "a", "licenses": [{"expression": "MIT OR Apache-2.0"}]}) == ["MIT OR Apache-2.0"]
    assert found({"name": "a", "licenses": [{"license": {"id": "ISC"}}]}) == ["ISC"]
    assert found(component("a", "License :: OSI Approved :: BSD License")) == ["BSD License"]
    assert found(component("insightface")) == ["MIT"]
    assert found(component("nvidia-nvjitlink-cu13")) == ["LicenseRef-NVIDIA-Proprietary"]
    assert found(component("nobody-knows")) == ["unknown"]


ANSWER = {
    "dependencies": [
        {"name": "a", "version": "1", "vulns": []},
        {
            "name": "b",
            "version": "2",
            "vulns": [{"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3"]}],
        },
        {"name": "c", "skip_reason": "not found"},
    ]
}


def test_vulnerabilities_are_told_unless_they_are_accepted() -> None:
    audit = script("audit.py")
    assert audit["report"](ANSWER) == (["b 2: PYSEC-1; fixed in 3"], 2, 3)
    audit["report"].__globals__["ACCEPTED"] = {"CVE-1": "a test"}
    assert audit["report"](ANSWER) == ([], 2, 3)


def test_an_audit_that_cannot_ask_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """pip-audit itself, with a proxy that is not there in place of a network."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pins.txt").write_text("numpy==2.4.0\n")
    monkeypatch.setattr(sys, "argv", ["audit.py", str(tmp_path / "pins.txt")])
    assert script("audit.py")["main"](tmp_path / "pins.txt") == 0
    assert "audit: " in capsys.readouterr().out
