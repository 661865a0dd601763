"""Folders, patterns, lists and URLs of shards: all give the same samples, or one clear line."""

import hashlib
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from jsonargparse import ArgumentParser

from keyface.cli.training.subcommands import PARSING
from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shards import ShardsDataModule

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def ready(shards, tmp_path: Path, **options) -> ShardsDataModule:
    data = ShardsDataModule(
        shards, **{"batch_size": 2, "val_fraction": 0.0, "cache": tmp_path / "cache", **options}
    )
    data.prepare_data()
    data.setup("fit")
    return data


def keys(data: ShardsDataModule) -> list[list[str]]:
    return [batch["key"] for batch in data.train_dataloader()]


def test_a_pattern_and_a_list_give_what_the_folder_gives(make_shards, tmp_path: Path) -> None:
    folder = make_shards(3, 4, 5)
    whole = keys(ready(folder, tmp_path))
    assert keys(ready(f"{folder}/shard-{{000000..000002}}.tar", tmp_path)) == whole
    listed = [f"{folder}/shard-000000.tar", f"{folder}/shard-{{000001,000002}}.tar"]
    assert keys(ready(listed, tmp_path)) == whole
    part = ready(f"{folder}/shard-000001.tar", tmp_path)
    assert sorted(key for batch in keys(part) for key in batch) == ["00003", "00004", "00005", "00006"]
    assert part.fingerprint() != ready(folder, tmp_path).fingerprint()


def test_the_index_beside_listed_shards_counts(make_shards, tmp_path: Path) -> None:
    folder = make_shards(3, 4)
    path = folder / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:4096])
    with pytest.raises(ShardError, match=r"shard-000001.tar: 4096 bytes, index.json says"):
        ready([str(folder / "shard-000000.tar"), str(path)], tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_remote_folder_gives_what_a_local_one_gives(
    make_shards, tmp_path: Path, host, workers: int
) -> None:
    folder = make_shards(3, 4, 5)
    here, there = ready(folder, tmp_path), ready(f"{host.address}/shards/", tmp_path, workers=workers)
    assert keys(there) == keys(here)
    assert there.fingerprint() == here.fingerprint()
    assert sorted(host.paths()) == [f"shard-00000{number}.tar" for number in range(3)], "each once"
    copies = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (tmp_path / "cache").glob("*.tar")]
    assert sorted(copies) == sorted(shard.sha256 for shard in here.source.index.shards)


def test_the_next_run_fetches_nothing(make_shards, tmp_path: Path, host) -> None:
    make_shards(3, 4)
    first = keys(ready(f"{host.address}/shards", tmp_path))
    host.asked.clear()
    assert keys(ready(f"{host.address}/shards", tmp_path)) == first
    assert host.paths() == []


def test_listed_urls_need_no_index(
    make_shards, tmp_path: Path, host, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_shards(3, 4)
    here = keys(ready(folder, tmp_path))
    pattern = f"{host.address}/shards/shard-{{000000..000001}}.tar"
    assert keys(ready(pattern, tmp_path)) == here
    (folder / "index.json").unlink()
    with caplog.at_level("INFO"):
        assert keys(ready(pattern, tmp_path)) == here
    assert "no index.json with the shards' SHA-256" in caplog.text
    assert (
        keys(ready([f"{host.address}/shards/shard-00000{n}.tar?signed=x" for n in (0, 1)], tmp_path)) == here
    )
    with pytest.raises(ShardError, match=r"shards/index.json: not found; name the shards, as in http"):
        ready(f"{host.address}/shards", tmp_path)


def test_processes_fetch_what_they_read(make_shards, tmp_path: Path, host) -> None:
    """Each with a cache of its own, as on machines of their own; samples are known from an earlier run."""
    make_shards(*[2] * 8)
    fetched = []
    for rank in (0, 1):
        data = ready(f"{host.address}/shards", tmp_path / str(rank), batch_size=1, image_size=16)
        for copy in (tmp_path / str(rank) / "cache").glob("*.tar"):
            copy.unlink()
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        data.setup("fit")
        host.asked.clear()
        assert len(keys(data)) == 8
        fetched.append(set(host.paths()))
    assert [len(each) for each in fetched] == [4, 4]
    assert not fetched[0] & fetched[1]


def test_shards_over_tls(make_shards, tmp_path: Path, host) -> None:
    """With a certificate that is trusted, and not without."""
    make_shards(3, 4)
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    made += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(made, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    host.server.socket = context.wrap_socket(host.server.socket, server_side=True)
    script = (
        "import sys; from keyface.datamodules.shards import ShardsDataModule as Data\n"
        "data = Data(sys.argv[1], batch_size=7, val_fraction=0.0, cache=sys.argv[2])\n"
        "data.setup('fit'); print(sorted(next(iter(data.train_dataloader()))['key']))"
    )
    url = f"{host.address.replace('http', 'https')}/shards"
    words = [sys.executable, "-P", "-c", script, url, str(tmp_path / "cache")]
    trusted = {**os.environ, "SSL_CERT_FILE": str(certificate)}
    read = subprocess.run(words, env=trusted, capture_output=True, text=True)
    assert read.stdout == f"{[f'{number:05d}' for number in range(7)]}\n", read.stderr
    refused = subprocess.run([*words[:-1], str(tmp_path / "other")], capture_output=True, text=True)
    assert "cannot be fetched, 4 tries failed (ClientConnectorCertificateError" in refused.stderr
    assert not list((tmp_path / "other").glob("*.tar"))


class Bucket(MemoryFileSystem):
    """What stands for s3: a store in memory with fsspec's interface."""

    protocol = "s3"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return super()._strip_protocol(path.removeprefix("s3:/"))


def test_a_bucket_gives_what_a_folder_gives(
    make_shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules["fsspec.registry"]._registry, "s3", Bucket)  # type: ignore[attr-defined]
    folder = make_shards(3, 4)
    fsspec.filesystem("s3").put(str(folder), "s3://bucket/faces", recursive=True)
    assert keys(ready("s3://bucket/faces", tmp_path)) == keys(ready(folder, tmp_path))


def test_what_is_missing_for_a_scheme_is_named(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"^gs://bucket/faces/index.json: .*pip install 'keyface\[gs\]'$"):
        ready("gs://bucket/faces", tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("pipe:touch {canary}", "refused; .* not by pipe"),
        (["pipe:touch {canary}; cat a.tar"], "refused; .* not by pipe"),
        ("http://example.org/a.tar", "refused; .* not by http"),
        ("ftp://example.org/a.tar", "refused; .* not by ftp"),
        ("file:///tmp/a.tar", "refused; .* not by file"),
        ("simplecache::https://example.org/a.tar", "refused; .* not by simplecache"),
        ("nothing", "nothing: no such folder"),
        ("nothing.tar", "nothing.tar: no such shard"),
        ("a-{{0..1}}.tar", "a-0.tar: no such shard"),
        ([], "the list of shards is empty"),
        (["a.tar", "a.tar"], "a.tar: is named twice"),
        (["folder"], "folder: a list or pattern names tar files"),
        (["a.tar.gz"], "a.tar.gz: a list or pattern names tar files"),
        (
            "https://user:word@127.0.0.1:1/a.tgz?signed=secret",
            "https://127.0.0.1:1/a.tgz: a URL with a query",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(given, said: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    if isinstance(given, str):
        given = given.format(canary=canary)
    else:
        given = [each.format(canary=canary) for each in given]
    with pytest.raises(ShardError, match=said) as caught:
        ready(given, tmp_path)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not canary.exists()


def test_a_hostile_index_leads_nowhere(make_shards, tmp_path: Path, host) -> None:
    folder = make_shards(2)
    index = json.loads((folder / "index.json").read_text())
    for name, value in (("name", "../a.tar"), ("sha256", "../../../canary" + "0" * 49), ("bytes", -5)):
        changed = {**index, "shards": [{**index["shards"][0], name: value}]}
        (folder / "index.json").write_text(json.dumps(changed))
        with pytest.raises(ShardError, match=r"shards/index.json: (refused shard name|shard '.*' needs)"):
            ready(f"{host.address}/shards", tmp_path)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("data/celeba-hq", "data/celeba-hq"),
        ("data/faces-{000000..000019}.tar", "data/faces-{000000..000019}.tar"),
        ("https://example.org/faces-{0..9}.tar", "https://example.org/faces-{0..9}.tar"),
        ("[data/a.tar, 's3://bucket/b-{0..9}.tar']", ["data/a.tar", "s3://bucket/b-{0..9}.tar"]),
    ],
)
def test_the_command_line_takes_each_form(word: str, value: object) -> None:
    parser = ArgumentParser(**PARSING)
    parser.add_class_arguments(ShardsDataModule)
    assert parser.parse_args([f"--shards={word}"]).shards == value
