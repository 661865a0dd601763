"""The queue: one edit at a time, and none is lost; the networks are the miniature's."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from keyface.cli.main import main
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.studio.jobs import Job
from keyface.studio.limits import Limits
from keyface.studio.service import Studio
from keyface.studio.workspace import FullError, Workspace

LONG = {"edits": ["glasses"], "steps": 12}
SHORT = {"edits": ["glasses"], "steps": 3}
AT_WORK = ("invert", "reconstruct", "edit")

MakeStudio = Callable[..., Studio]


@pytest.fixture(scope="module")
def pipe() -> FaceEditPipeline:
    """The networks, read once."""
    return FaceEditPipeline.from_pretrained("miniature")


@pytest.fixture
def make_studio(tmp_path: Path, pipe: FaceEditPipeline) -> MakeStudio:
    """Make a studio on one workspace, as a process that begins would."""

    def make(**limits: Any) -> Studio:
        allowed = Limits(**limits)
        studio = Studio(
            Workspace(tmp_path / "work", allowed.workspace_bytes), {"weights": "miniature"}, allowed
        )
        studio.engine._pipe = pipe
        return studio

    return make


def upload(studio: Studio, clip: Path, letter: str = "a") -> Path:
    """Put a clip where Gradio puts it."""
    path = studio.workspace.folder / (letter * 64) / clip.name
    path.parent.mkdir(exist_ok=True)
    shutil.copy(clip, path)
    return path


def until(condition: Callable[[], bool], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.005)


def over(*jobs: Job) -> bool:
    return all(job.state not in ("waiting", "running") for job in jobs)


def result(studio: Studio, job: Job) -> str:
    """Return the hash of the edited video without its signature, which differs each time."""
    video, mask, record = studio.result(job.id)
    assert mask.is_file()
    said = json.loads(record.read_text())
    assert said["output"]["name"] == video.name
    return str(said["output"]["unsigned_sha256"])


def test_edits_are_made_in_order_and_as_the_command_line_makes_them(
    make_studio: MakeStudio, short_clip: Path, tmp_path: Path
) -> None:
    studio = make_studio()
    clip = upload(studio, short_clip)
    first = studio.edit(clip, **SHORT)
    second = studio.edit(clip, **(SHORT | {"edits": ["smile"], "strength": 0.5}))
    with studio.queue:
        until(lambda: over(first, second))
    assert [(job.state, job.fraction) for job in (first, second)] == [("done", 1.0)] * 2
    alone = tmp_path / "alone.mp4"
    words = ["edit", str(short_clip), "-o", str(alone), "--edits", "glasses", "--steps", "3"]
    assert main(words) == 0
    assert (
        result(studio, first)
        == json.loads(alone.with_suffix(".json").read_text())["output"]["unsigned_sha256"]
    )
    record = json.loads(studio.result(second.id)[2].read_text())
    assert record["settings"]["strength"] == 0.5
    assert record["edits"] == ["smile"]
    pair = studio.compare(first.id, 0.5)
    assert pair.seconds == pytest.approx(2 / 12)  # round(0.5 * 3) of the frames 0 to 3, at 12 a second
    assert pair.before.read_bytes() != pair.after.read_bytes()
    studio.queue.remove(first.id)
    assert not first.folder(studio.queue.edits).exists()
    with pytest.raises(ValueError, match="no such edit"):
        studio.result(first.id)


def test_what_is_stopped_on_the_page_goes_on_on_the_command_line(
    make_studio: MakeStudio, short_clip: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    studio = make_studio()
    clip = upload(studio, short_clip)
    job = studio.edit(clip, **LONG)
    with studio.queue:
        until(lambda: job.stage in AT_WORK)
        studio.queue.stop(job.id)
        until(lambda: over(job))
        assert job.state == "stopped"
        state = job.folder(studio.queue.edits) / "edited.mp4.state"
        assert (state / "clip-1" / "journal.json").exists()
        words = shlex.split(studio.command(job))
        assert main(words[1:]) == 0
        assert "going on with the edit that was stopped" in capsys.readouterr().err
        assert not state.exists()
        studio.queue.resume(job.id)  # there is nothing left to do
        until(lambda: over(job))
        assert job.state == "done"
    alone = tmp_path / "alone.mp4"
    assert main(["edit", str(short_clip), "-o", str(alone), "--edits", "glasses", "--steps", "12"]) == 0
    whole = json.loads(alone.with_suffix(".json").read_text())["output"]["unsigned_sha256"]
    assert result(studio, job) == whole


def test_what_is_stopped_on_the_command_line_goes_on_on_the_page(
    make_studio: MakeStudio, short_clip: Path
) -> None:
    studio = make_studio()
    job = studio.edit(upload(studio, short_clip), **LONG)  # it waits, since nobody works on the queue
    words = shlex.split(studio.command(job))
    process = subprocess.Popen([sys.executable, "-P", "-m", "keyface", *words[1:]], stderr=subprocess.PIPE)
    journal = job.folder(studio.queue.edits) / "edited.mp4.state" / "clip-1" / "journal.json"
    until(lambda: journal.exists() or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    process.communicate()
    assert process.returncode == 143
    before = json.loads(journal.read_text())
    with studio.queue:
        until(lambda: over(job))
    assert (job.state, before != {}) == ("done", True)
    assert result(studio, job)


def test_a_preview_goes_before_the_edit_that_runs(make_studio: MakeStudio, short_clip: Path) -> None:
    studio = make_studio()
    clip = upload(studio, short_clip)
    with studio.queue:
        job = studio.edit(clip, **LONG)
        until(lambda: job.stage in AT_WORK)
        pairs, warnings = studio.preview(clip, **SHORT)
        assert not over(job)
        assert len(pairs) == 1  # 4 frames have one keyframe
        assert warnings == []
        assert pairs[0].before.read_bytes() != pairs[0].after.read_bytes()
        until(lambda: over(job))
        again = studio.edit(clip, **LONG)
        until(lambda: over(again))
    assert result(studio, job) == result(studio, again)


def test_a_process_that_ends_loses_nothing(make_studio: MakeStudio, short_clip: Path) -> None:
    first = make_studio()
    clip = upload(first, short_clip)
    with first.queue:
        running, waiting = first.edit(clip, **LONG), first.edit(clip, **SHORT)
        until(lambda: running.stage in AT_WORK)
    assert (running.state, waiting.state) == ("waiting", "waiting")
    assert (running.folder(first.queue.edits) / "edited.mp4.state").is_dir()
    # A process that is killed leaves the word "running".
    running.state = "running"
    running.save(first.queue.edits)
    second = make_studio()
    assert [job.id for job in second.queue.jobs()] == [running.id, waiting.id]
    with second.queue:
        until(lambda: over(*second.queue.jobs()))
    assert [job.state for job in second.queue.jobs()] == ["done", "done"]


def test_what_fails_says_why_and_can_go_on(make_studio: MakeStudio, short_clip: Path) -> None:
    studio = make_studio()
    clip = upload(studio, short_clip)
    job = studio.edit(clip, **SHORT)
    clip.rename(clip.with_name("away.mp4"))
    with studio.queue:
        until(lambda: over(job))
        assert (job.state, "no such file in the workspace" in job.line) == ("failed", True)
        with pytest.raises(ValueError, match=r"this edit is failed: .*no such file"):
            studio.result(job.id)
        clip.with_name("away.mp4").rename(clip)
        studio.queue.resume(job.id)
        until(lambda: over(job))
    assert job.state == "done"
    # With three steps the reconstruction is poor, and the record's warning is shown.
    assert "the model does not know this face well" in job.line


def test_what_waits_can_be_taken_out(make_studio: MakeStudio, short_clip: Path) -> None:
    studio = make_studio(waiting=2)
    clip = upload(studio, short_clip)
    first, second = (studio.edit(clip, **SHORT) for _ in range(2))
    with pytest.raises(ValueError, match="2 edits wait already"):
        studio.edit(clip, **SHORT)
    studio.queue.stop(first.id)
    assert studio.edit(clip, **SHORT).state == "waiting"
    assert make_studio().queue.job(first.id).state == "stopped", "it is kept on the disk"
    studio.queue.remove(second.id)
    assert len(make_studio().queue.jobs()) == 2


def test_a_full_workspace_takes_no_more_edits(make_studio: MakeStudio, short_clip: Path) -> None:
    size = short_clip.stat().st_size
    studio = make_studio(workspace_gb=1.5 * size / 1e9)
    clip = upload(studio, short_clip)
    with pytest.raises(FullError, match="do not fit"):
        studio.edit(clip, **SHORT)
    assert studio.queue.jobs() == []
    assert not studio.queue.edits.exists()


def test_damaged_notes_are_told_and_left_alone(
    make_studio: MakeStudio, short_clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    studio = make_studio()
    clip = upload(studio, short_clip)
    jobs = [studio.edit(clip, **SHORT) for _ in range(3)]
    notes = [job.folder(studio.queue.edits) / "edit.json" for job in jobs]
    notes[0].write_text(notes[0].read_text()[:-20])
    content = json.loads(notes[1].read_text())
    content["options"]["compare"] = 5
    notes[1].write_text(json.dumps(content))
    (studio.queue.edits / "not-an-id").mkdir()
    left = make_studio().queue.jobs()
    assert [job.id for job in left] == [jobs[2].id]
    assert capsys.readouterr().err.count("the edit is left out") == 2


def test_people_are_found_and_chosen(make_studio: MakeStudio, two_people: Path) -> None:
    studio = make_studio()
    clip = upload(studio, two_people)
    found = studio.people(clip)
    assert [each.number for each in found] == [1, 2]
    assert all(each.picture.read_bytes()[:4] == b"\x89PNG" for each in found)
    assert len({each.picture.read_bytes() for each in found}) == 2
    job = studio.edit(clip, edits=["glasses"], person="2", steps=2)
    with studio.queue:
        until(lambda: over(job))
    record = json.loads(studio.result(job.id)[2].read_text())
    assert [each["person"] for each in record["clips"]] == [2]
    with pytest.raises(ValueError, match="give a video"):
        studio.people(found[0].picture)
    with pytest.raises(ValueError, match="there is no clip yet"):
        studio.people(None)


def test_the_built_in_clip_can_be_edited(make_studio: MakeStudio) -> None:
    studio = make_studio()
    clip = studio.built_in()
    written = clip.stat().st_mtime_ns
    assert studio.built_in() == clip
    assert clip.stat().st_mtime_ns == written, "it is rendered once"
    assert [each.number for each in studio.people(clip)] == [1]
    assert [each.name for each in clip.parent.iterdir()] == ["rendered.mp4"]
