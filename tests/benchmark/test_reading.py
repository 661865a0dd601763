"""`keyface benchmark data`: both readers read the same, and the table says how fast."""

import json
from pathlib import Path

import pytest

from keyface.benchmark.reading import ReadingRequest, _batches, has_latents, write_full_size
from keyface.cli.main import main
from keyface.datamodules.shard_files.index import ShardIndex

pytestmark = pytest.mark.filterwarnings(
    "ignore:This DataLoader will create",
    # webdataset's.
    "ignore:unclosed file:ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def test_both_readers_read_the_same_samples(tmp_path: Path) -> None:
    write_full_size(tmp_path, 40, 32)
    assert ShardIndex.read(tmp_path).samples == 40
    assert has_latents(tmp_path)
    read = {}
    for reader in ("keyface", "webdataset"):
        batches = list(_batches(ReadingRequest(reader, tmp_path, 8, 0, True), 0))
        read[reader] = {
            key: (batch["image"][row].sum().item(), batch["inverted"][row].sum().item())
            for batch in batches
            for row, key in enumerate(batch["key"])
        }
        assert len(read[reader]) == 40
    assert read["keyface"] == read["webdataset"]
    rest = list(_batches(ReadingRequest("keyface", tmp_path, 8, 0, True), 16))
    assert sum(len(batch["key"]) for batch in rest) == 24


def test_a_row_for_each_reader(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "data.json"
    words = ["--samples", "40", "--size", "32", "--workers", "0,1", "--repeats", "1", "--consumes", "2"]
    assert main(["benchmark", "data", *words, "-o", str(table)]) == 0
    rows = json.loads(table.read_text())
    assert [(row["reader"], row["workers"]) for row in rows] == [
        (reader, workers) for workers in (0, 1) for reader in ("keyface", "webdataset")
    ]
    for row in rows:
        assert row["samples"] == 40
        assert row["times_training"] == pytest.approx(row["samples_a_second"] / 2)
        assert 0 < row["cpu_ms"] < 1000
        assert min(row["first_seconds"], row["resume_seconds"]) > 0
    assert "samples_a_second" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--workers", "two"], "--workers two: whole numbers"),
        (["--readers", "litdata"], "--readers litdata: choose from keyface, webdataset"),
        (["--samples", "3"], "--samples 3: at least 32"),
        (["--size", "20"], "--size 20: at least 16 and a multiple of 8"),
        (["--consumes", "0"], "--consumes 0.0: above 0"),
        (["--shards", "nowhere"], "nowhere: no such folder"),
    ],
)
def test_requests_of_no_use_are_refused(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["benchmark", "data", *words]) == 1
    assert told in capsys.readouterr().err
