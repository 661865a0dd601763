"""`keyface batch`: many clips by processes that come, go and are killed."""

import csv
import json
import os
import random
import signal
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from forks import Fork
from wandb_file import offline_runs

from keyface.claims.batch import Batch
from keyface.cli.main import main

FAST = [
    "--crop",
    "centre",
    "--source",
    "a man",
    "--steps",
    "4",
    "--guidance",
    "2",
    "--settings.interval",
    "3",
]
PATIENCE_SECONDS = 600.0


def write_video(path: Path, frames: int, shade: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = 48, 40, "yuv420p"
        rows, columns = np.mgrid[0:40, 0:48]
        for index in range(frames):
            image = np.stack([columns * 5, rows * 6, np.full_like(rows, 9 * index + shade)], axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """A manifest of six clips of 4 to 9 frames."""
    (tmp_path / "clips").mkdir()
    for number in range(6):
        write_video(tmp_path / "clips" / f"{number}.mp4", 4 + number, 20 * number)
    rows = [
        ["video", "edits", "prompt", "strength", "settings.seed"],
        ["0.mp4", "glasses", "", "", ""],
        ["1.mp4", "", "a woman", "0.8", ""],
        ["2.mp4", "", "", "", "3"],
        ["3.mp4", "glasses", "", "0.5", ""],
        ["4.mp4", "", "a man with beard", "", ""],
        ["5.mp4", "", "", "", ""],
    ]
    with (tmp_path / "clips" / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return tmp_path / "clips" / "list.csv"


def words(manifest: Path, outputs: Path, weights: Path, *more: str) -> list[str]:
    place = ["--accelerator", "cpu", "--devices", "1", "--weights", str(weights)]
    return ["batch", str(manifest), "-o", str(outputs), *place, *FAST, "--edits", "glasses", *more]


def digests(outputs: Path) -> dict[str, str]:
    """The outputs' hashes before they were signed: signatures have salts."""
    records = {path.name: json.loads(path.with_suffix(".json").read_text()) for path in outputs.glob("*.mp4")}
    return {name: record["output"]["unsigned_sha256"] for name, record in records.items()}


def report(outputs: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((outputs / "report.json").read_text())
    return content


def require_whole(outputs: Path) -> None:
    """Each clip is done once, with its record, and nothing is left over."""
    batch = Batch.load(outputs)
    assert set(batch.ledger().states().values()) == {"done"}
    names = {path.name for path in outputs.iterdir()}
    wanted = {name for clip in batch.clips for name in (clip.output, f"{Path(clip.output).stem}.json")}
    assert names == wanted | {"report.json", ".batch"}


def test_two_processes_and_killed_ones_make_the_same_as_one(
    clips: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, killed = tmp_path / "one", tmp_path / "two", tmp_path / "killed"
    assert main(words(clips, one, weights)) == 0
    said = capsys.readouterr()
    assert "6 clips: 6 done; 39 frames" in said.out
    order = [line.split()[0] for line in said.err.splitlines() if ": done, " in line]
    assert order == ["5.mp4", "4.mp4", "3.mp4", "2.mp4", "1.mp4", "0.mp4"], "the longest first"
    assert said.err.count("check the clips") == 1
    alone = digests(one)
    assert len(set(alone.values())) == 6
    require_whole(one)
    plain = [
        "edit",
        str(clips.parent / "3.mp4"),
        "-o",
        str(tmp_path / "plain.mp4"),
        "--weights",
        str(weights),
    ]
    assert main([*plain, *FAST, "--edits", "glasses", "--strength", "0.5", "--device", "cpu"]) == 0
    assert digests(tmp_path)["plain.mp4"] == alone["3.mp4"], "as `keyface edit` makes it"

    both = [Fork(words(clips, two, weights)) for _ in range(2)]
    for process in both:
        ended = process.wait(PATIENCE_SECONDS)
        assert ended.returncode == 0, ended.stderr
    assert digests(two) == alone
    require_whole(two)

    kills = kill_at_random(words(clips, killed, weights), killed)
    assert main(words(clips, killed, weights)) == 0
    assert digests(killed) == alone
    require_whole(killed)
    tries = sum(clip["tries"] for clip in report(killed)["results"])
    assert 6 < tries <= 6 + kills

    before = {path: path.stat().st_mtime_ns for path in one.glob("*.mp4")}
    assert main(words(clips, one, weights)) == 0, "nothing is left to do"
    assert {path: path.stat().st_mtime_ns for path in one.glob("*.mp4")} == before


def kill_at_random(command: list[str], outputs: Path) -> int:
    """Kill the command at random moments at which it holds a clip; `KEYFACE_BATCH_KILLS` times."""
    draw, kills = random.Random(0), int(os.environ.get("KEYFACE_BATCH_KILLS", "3"))
    for done in range(kills):
        process = Fork(command)
        deadline = time.monotonic() + PATIENCE_SECONDS
        claims = set((outputs / ".batch" / "clips").glob("*.claim"))
        while process.poll() is None and set((outputs / ".batch" / "clips").glob("*.claim")) == claims:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        moment = time.monotonic() + draw.uniform(0, 0.5)
        while process.poll() is None and time.monotonic() < moment:
            time.sleep(0.002)
        if process.poll() is not None:  # all clips are done
            assert process.wait().returncode == 0
            return done
        process.send_signal(signal.SIGKILL)
        assert process.wait().returncode == -signal.SIGKILL
    return kills


def test_a_poisoned_clip_is_tried_twice_and_set_aside(
    clips: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is damaged after the clips were checked."""
    poisoned, outputs = clips.parent / "4.mp4", tmp_path / "out"
    whole = poisoned.read_bytes()
    rows = clips.read_text().splitlines()
    clips.write_text("\n".join([rows[0], rows[5], rows[1]]) + "\n")
    assert main([*words(clips, outputs, weights), "--sbatch"]) == 0, "checks the clips and edits none"
    assert "--array=0-0" in capsys.readouterr().out
    poisoned.write_bytes(b"no video")
    assert main(words(clips, outputs, weights)) == 1
    said = capsys.readouterr()
    assert "2 clips: 1 done, 1 set aside" in said.out
    [bad] = [clip for clip in report(outputs)["results"] if clip["state"] == "aside"]
    assert (bad["output"], bad["tries"], bad["failures"]) == ("4.mp4", 2, 2)
    assert "4.mp4" in bad["line"]
    assert "\n" not in bad["line"]
    assert said.err.count("4.mp4 (") == 2
    assert not (outputs / "4.mp4").exists()

    poisoned.write_bytes(whole)
    assert main(["batch", "retry", str(outputs), "--clip", "5.mp4"]) == 1
    assert "no such clip" in capsys.readouterr().err
    assert main(["batch", "retry", str(outputs)]) == 0
    assert capsys.readouterr().out == "waiting again: 4.mp4\n"
    assert main(words(clips, outputs, weights)) == 0
    require_whole(outputs)


def test_lightning_predict_works_on_a_batch_with_its_own_flags(
    clips: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "out"
    clips.write_text("\n".join(clips.read_text().splitlines()[:3]) + "\n")
    assert main([*words(clips, outputs, weights), "--sbatch"]) == 0
    flags = ["--trainer.accelerator=cpu", "--trainer.devices=1", f"--model.init_args.outputs={outputs}"]
    assert main(["predict", "-c", "batch.yaml", f"--runs={tmp_path / 'runs'}", *flags]) == 0
    assert set(digests(outputs)) == {"0.mp4", "1.mp4"}
    [metrics] = (tmp_path / "runs").glob("batch/*/metrics.csv")
    with metrics.open() as rows:
        assert float(list(csv.DictReader(rows))[-1]["batch/done"]) == 2.0


def test_wandb_is_told_the_counts_and_the_table(
    clips: Path,
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    outputs = tmp_path / "out"
    clips.write_text("\n".join(clips.read_text().splitlines()[:2]) + "\n")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert main([*words(clips, outputs, weights), "--wandb", "batches"]) == 1
    assert "nobody is logged in" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert main([*words(clips, outputs, weights), "--wandb", "batches"]) == 0
    [told] = offline_runs(outputs / ".batch")
    assert told.values("batch/done") == {0: 1.0}
    [table] = (outputs / ".batch" / "wandb").glob("offline-run-*/files/media/table/batch/*.json")
    assert json.loads(table.read_text())["data"][0][:2] == ["0.mp4", "done"]


def test_clips_are_cancelled_and_wait_again(
    clips: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outputs = tmp_path / "out"
    assert main([*words(clips, outputs, weights), "--sbatch"]) == 0
    capsys.readouterr()
    names = ["--clip", "5.mp4", "--clip", "3.mp4", "--clip", "2.mp4", "--clip", "1.mp4"]
    assert main(["batch", "cancel", str(outputs), *names]) == 0
    assert capsys.readouterr().out == "cancelled: 5.mp4, 3.mp4, 2.mp4, 1.mp4\n"
    assert main(words(clips, outputs, weights)) == 0
    assert set(digests(outputs)) == {"0.mp4", "4.mp4"}
    assert main(["batch", "retry", str(outputs), "--clip", "1.mp4"]) == 0
    capsys.readouterr()
    assert main(["batch", "status", str(outputs)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[-1].startswith("6 clips: 2 done, 1 waiting, 3 cancelled; 12 frames")
    assert main(["batch", "status", str(outputs), "--json"]) == 0
    states = {clip["output"]: clip["state"] for clip in json.loads(capsys.readouterr().out)["results"]}
    assert states == {
        "0.mp4": "done", "1.mp4": "waiting", "2.mp4": "cancelled",
        "3.mp4": "cancelled", "4.mp4": "done", "5.mp4": "cancelled",
    }  # fmt: skip


def test_a_running_clip_is_cancelled_and_its_process_goes_on_with_the_next(
    clips: Path, weights: Path, tmp_path: Path
) -> None:
    outputs = tmp_path / "out"
    rows = clips.read_text().splitlines()
    clips.write_text("\n".join([f"{rows[0]},steps", f"{rows[6]},300", f"{rows[1]},2"]) + "\n")
    process = Fork(words(clips, outputs, weights))
    key = wait_for_step(process, outputs, "5.mp4")
    assert main(["batch", "cancel", str(outputs), "--clip", "5.mp4"]) == 0
    ended = process.wait(PATIENCE_SECONDS)
    assert ended.returncode == 0, ended.stderr
    assert "5.mp4 (" in ended.stderr
    assert Batch.load(outputs).ledger().states()[key] == "cancelled"
    assert set(digests(outputs)) == {"0.mp4"}


def test_a_stopped_process_gives_its_clip_back(clips: Path, weights: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "out"
    rows = clips.read_text().splitlines()
    clips.write_text("\n".join([f"{rows[0]},steps", f"{rows[6]},300"]) + "\n")
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        process = Fork(words(clips, outputs, weights))
        key = wait_for_step(process, outputs, "5.mp4")
        process.send_signal(number)
        ended = process.wait(PATIENCE_SECONDS)
        assert ended.returncode == status, ended.stderr
        assert "stopped; the same command goes on" in ended.stderr
        history = Batch.load(outputs).ledger().histories()[key]
        assert (history.state, history.failures, history.deaths) == ("waiting", 0, 0)
    assert main(words(clips, outputs, weights)) == 0
    require_whole(outputs)


def wait_for_step(process: Fork, outputs: Path, name: str) -> str:
    """Wait until a clip is being denoised; return its key."""
    journal = outputs / f"{name}.state" / "clip-1" / "journal.json"
    deadline = time.monotonic() + PATIENCE_SECONDS
    before = journal.read_text() if journal.is_file() else ""
    while process.poll() is None and time.monotonic() < deadline:
        if journal.is_file() and '"steps"' in (text := journal.read_text()) and text != before:
            return next(clip.key for clip in Batch.load(outputs).clips if clip.output == name)
        time.sleep(0.002)
    pytest.fail(f"it ended before: {process.wait(0).stderr}")
