"""Edits that are stopped anywhere and go on; the process that is really killed is in tests/commands."""

import contextlib
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from keyface.editing.editor import EditSettings, Injection, Prompts, Propagation, TensorFrames, VideoEditor
from keyface.resume.journal import Journal
from keyface.resume.session import Session, require_free, take_from_others

PROMPTS = Prompts("a face", "a face with glasses")
SMALL = EditSettings(steps=4, interval=2, window=1, anchors=1, chunk_size=3, guidance_scale=3.0)
VARIANTS = {
    "tokens": SMALL,
    "every frame at every step": dataclasses.replace(SMALL, propagation=Propagation(keyframes_first=0.0)),
    "latent": dataclasses.replace(SMALL, propagation=Propagation(mode="latent")),
    "second order": dataclasses.replace(SMALL, solver="dpmpp_2m"),
    "second order, every frame at every step": dataclasses.replace(
        SMALL, solver="dpmpp_2m", propagation=Propagation(keyframes_first=0.0)
    ),
    "tokenflow": dataclasses.replace(
        SMALL, propagation=Propagation.tokenflow(), injection=Injection.tokenflow()
    ),
}


class StoppedError(Exception):
    """Stands for the end of the process."""


class Fuse:
    """Ends an edit when something was written into its journal for the n-th time."""

    def __init__(self, journal, writes):
        self.journal, self.left, self.write = journal, writes, journal.write
        journal.write = self

    def __call__(self, **entries):
        self.write(**entries)
        self.left -= 1
        if self.left == 0:
            raise StoppedError


def edit(editor, frames, folder, stop_after=None):
    """Edit, from where the folder's edit was stopped; what was done counts as progress, and no more."""
    edited, seen = [], {}

    def progress(stage, done, total):
        assert done <= total
        seen[stage] = done == total

    with Session.open(folder, {"frames": len(frames)}) as session:
        if stop_after is not None:
            Fuse(session.journal, stop_after)
        editor.edit(TensorFrames(frames), PROMPTS, edited.append, session=session, progress=progress)
    assert all(seen.values())
    return torch.cat(edited)


def stop_early(folder, request):
    with contextlib.suppress(StoppedError), Session.open(folder, request) as session:
        session.journal.write(encode=3)
        raise StoppedError


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_a_stopped_edit_goes_on_and_gives_the_same_frames(backbone, make_unet, frames, tmp_path, settings):
    direction, frames = make_unet(1), frames[:7]
    editor = VideoEditor(backbone, None, direction, settings)
    whole, _ = editor.edit_frames(frames, PROMPTS)
    folder, stops = tmp_path / "state", 0
    for writes in (2, 4, 3, 4, 2, 5):
        try:
            found = edit(editor, frames, folder, stop_after=writes)
            break
        except StoppedError:
            stops += 1
            assert folder.is_dir()
    else:
        found = edit(editor, frames, folder)
    assert stops >= 4
    assert torch.equal(found, whole)
    assert not folder.exists()


def test_only_the_window_that_was_cut_short_is_done_again(backbone, make_unet, frames, tmp_path):
    """Windows that are done run again only where they are remembered: the first, for its anchors."""
    direction = make_unet(1)
    editor = VideoEditor(
        backbone, None, direction, dataclasses.replace(SMALL, propagation=Propagation(mode="latent"))
    )
    seen = []
    with Session.open(tmp_path / "state", {}) as session:
        write = session.journal.write

        def stop(**entries):
            write(**entries)
            if entries.get("groups") == 3:
                raise StoppedError

        session.journal.write = stop
        with pytest.raises(StoppedError):
            editor.edit(TensorFrames(frames), PROMPTS, seen.append, session=session)
        # five keyframes, one of them an anchor: windows of 2, 1, 1 and 1
        batches = []
        session.journal.write = write
        handle = direction.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
        editor.edit(TensorFrames(frames), PROMPTS, seen.append, session=session)
        handle.remove()
    branches, steps_left = 2, SMALL.steps - 1
    assert batches[:2] == [2 * branches, branches], "the anchors' window, then the fourth"
    assert len(batches) == 2 + 4 * steps_left


@pytest.mark.parametrize("damage", ["missing", "short"])
def test_a_stopped_edit_without_its_files_is_refused(backbone, frames, tmp_path, damage):
    """As another version of keyface leaves it, whose files have other names."""
    editor, folder = VideoEditor(backbone, settings=SMALL), tmp_path / "session"
    with pytest.raises(StoppedError):
        edit(editor, frames, folder, stop_after=3)
    if damage == "missing":
        (folder / "clean").unlink()
    else:
        (folder / "clean").write_bytes(b"short")
    told = r"session: the stopped edit cannot go on, its file clean is missing or damaged, .* --restart"
    with pytest.raises(ValueError, match=told):
        edit(editor, frames, folder)
    assert (folder / "journal.json").is_file()


def test_another_request_is_refused_with_the_difference(tmp_path):
    folder = tmp_path / "state"
    stop_early(folder, {"prompts": {"target": "a"}, "seed": 0})
    told = "prompts.target was 'a' and is now 'b'; repeat the command"
    with pytest.raises(ValueError, match=told), Session.open(folder, {"prompts": {"target": "b"}, "seed": 0}):
        pytest.fail("opened")
    with Session.open(folder, {"prompts": {"target": "a"}, "seed": 0}) as session:
        assert session.resumed
        assert session.journal.count("encode") == 3


def test_one_process_at_a_time(tmp_path):
    with (
        Session.open(tmp_path / "state", {}),
        pytest.raises(ValueError, match="another process"),
        Session.open(tmp_path / "state", {}),
    ):
        pytest.fail("opened")


def test_nothing_is_left_of_an_edit_that_did_not_begin(tmp_path):
    with pytest.raises(StoppedError), Session.open(tmp_path / "state", {}):
        raise StoppedError
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_taken_since_another_process_may_have_just_made_it(tmp_path):
    (tmp_path / "state").mkdir()
    require_free(tmp_path / "state")
    with Session.open(tmp_path / "state", {}) as session:
        session.journal.write(steps=1)
    assert not (tmp_path / "state").exists()


def test_a_folder_that_another_process_takes_while_it_is_removed_is_left_to_it(tmp_path, monkeypatch):
    folder = tmp_path / "state"
    remove = Path.rmdir

    def late(path):
        (path / "lock").touch()  # another process is quicker
        remove(path)

    with Session.open(folder, {}):
        monkeypatch.setattr(Path, "rmdir", late)
    assert [each.name for each in folder.iterdir()] == ["lock"]


def test_a_folder_that_vanishes_before_it_is_locked_is_said_to_be_another_process_work(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "touch", lambda path: None)
    with (
        pytest.raises(ValueError, match="another process has just removed it"),
        Session.open(tmp_path / "state", {}),
    ):
        pytest.fail("opened")


def test_only_the_folder_of_a_stopped_edit_is_taken(tmp_path):
    require_free(tmp_path / "nothing")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("mine", "file"):
        with pytest.raises(ValueError, match="not the folder of a stopped edit"):
            require_free(tmp_path / name)
        for restart in (False, True):
            with (
                pytest.raises(ValueError, match="not the folder of a stopped edit"),
                Session.open(tmp_path / name, {}, restart=restart),
            ):
                pytest.fail("opened")
    assert (tmp_path / "mine" / "file").read_text() == (tmp_path / "file").read_text() == "mine"
    stop_early(tmp_path / "state", {})
    require_free(tmp_path / "state")


def test_beginning_anew_forgets_what_was_stopped(tmp_path):
    folder = tmp_path / "state"
    stop_early(folder, {"seed": 0})
    (folder / "clean").write_bytes(b"latents")
    with Session.open(folder, {"seed": 1}, restart=True) as session:
        assert not session.resumed
        assert not session.journal.begun
        assert sorted(path.name for path in folder.iterdir()) == ["lock", "request.json"]
        assert json.loads((folder / "request.json").read_text()) == {"seed": 1}
    assert not folder.exists()


def test_a_journal_without_its_request_is_not_gone_on_with(tmp_path):
    """As a process leaves it that is killed while it removes the folder."""
    folder = tmp_path / "state"
    stop_early(folder, {})
    (folder / "request.json").unlink()
    with Session.open(folder, {}) as session:
        assert not session.resumed
        assert session.journal.count("encode") == 0


def test_beginning_anew_beside_a_running_edit_is_refused(tmp_path):
    folder = tmp_path / "state"
    with Session.open(folder, {"seed": 0}) as session:
        session.journal.write(encode=3)
        with pytest.raises(ValueError, match="another process is at work"):
            require_free(folder)
        with (
            pytest.raises(ValueError, match="another process is at work"),
            Session.open(folder, {"seed": 1}, restart=True),
        ):
            pytest.fail("opened")
        session.journal.write(encode=4)
        assert json.loads((folder / "journal.json").read_text()) == {"encode": 4}
    assert not folder.exists()


@pytest.mark.parametrize("replaced", [False, True])
def test_an_edit_stops_when_its_folder_is_no_longer_its_own(tmp_path, replaced):
    folder = tmp_path / "state"

    def work():
        with Session.open(folder, {}) as session:
            session.journal.write(encode=3)
            shutil.rmtree(folder)
            if replaced:
                stop_early(folder, {"seed": 1})
            session.journal.write(encode=4)

    with pytest.raises(ValueError, match="was removed or replaced"):
        work()
    assert folder.exists() == replaced
    if replaced:
        assert json.loads((folder / "journal.json").read_text()) == {"encode": 3}


@pytest.mark.parametrize("fails", [False, True])
def test_the_folder_of_another_process_stays_at_the_end(tmp_path, fails):
    folder = tmp_path / "state"
    with contextlib.suppress(StoppedError), Session.open(folder, {}):
        shutil.rmtree(folder)
        stop_early(folder, {"seed": 1})
        if fails:
            raise StoppedError
    with Session.open(folder, {"seed": 1}) as session:
        assert session.resumed


def test_a_journal_is_whole_and_comes_after_what_it_speaks_of(tmp_path):
    order = []
    journal = Journal(
        tmp_path / "journal.json", before=lambda: order.append((tmp_path / "journal.json").exists())
    )
    journal.write(encode=2, errors=[0.5, 0.25])
    assert order == [False]
    assert json.loads((tmp_path / "journal.json").read_text()) == {"encode": 2, "errors": [0.5, 0.25]}
    again = Journal(tmp_path / "journal.json")
    assert (again.count("encode"), again.numbers("errors"), again.count("new")) == (2, [0.5, 0.25], 0)


@pytest.mark.parametrize("name", ["request.json", "journal.json"])
@pytest.mark.parametrize("content", ["{broken", "[]", ""])
def test_damaged_notes_are_named_and_can_be_begun_anew(tmp_path, name, content):
    folder = tmp_path / "x.state"
    stop_early(folder, {"steps": 1})
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name}: damaged.*--restart"), Session.open(folder, {"steps": 1}):
        pass
    assert (folder / name).read_text() == content
    with Session.open(folder, {"steps": 1}, restart=True) as session:
        assert not session.resumed


def leave(folder, request, part=None, **entries) -> None:
    """Leaves what a process leaves that was killed after these entries."""
    kept = folder.with_name("kept")
    with Session.open(folder, request) as session:
        (session if part is None else session.part(part)).journal.write(**entries)
        shutil.copytree(folder, kept)
    kept.rename(folder)


def test_a_start_that_was_killed_before_it_began_holds_nobody_up(tmp_path) -> None:
    folder = tmp_path / "x.state"
    leave(folder, {"steps": 1}, prepared=1)
    (folder / "crops-1").write_text("large")
    with Session.open(folder, {"steps": 2}) as session:
        assert (session.resumed, session.found, session.begun) == (False, True, False)
        assert not (folder / "crops-1").exists()
    leave(folder, {"steps": 1}, prepared=1)
    with Session.open(folder, {"steps": 1}) as session:
        assert session.resumed, "the same command goes on"
        assert session.journal.count("prepared") == 1
    leave(folder, {"steps": 1}, part="clip-1", encode=1)
    told = "holds a stopped edit of something else: steps was 1 and is now 2"
    with pytest.raises(ValueError, match=told), Session.open(folder, {"steps": 2}):
        pass


def fail_after(folder, **entries) -> None:
    with Session.open(folder, {"steps": 1}) as session:
        session.journal.write(**entries)
        raise ZeroDivisionError


def test_a_failed_start_leaves_no_folder(tmp_path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_after(tmp_path / "x.state", prepared=1)
    assert not (tmp_path / "x.state").exists()
    with pytest.raises(ZeroDivisionError):
        fail_after(tmp_path / "x.state", encode=1)
    assert (tmp_path / "x.state").exists()


def test_a_stopped_edit_is_taken_from_whoever_still_works_in_it(tmp_path):
    folder = tmp_path / "out.mp4.state"
    take_from_others(folder)
    assert not folder.exists(), "there is nothing to take"

    def work():
        with Session.open(folder, {"seed": 1}) as slow:
            slow.journal.write(encode=1)
            take_from_others(folder)
            require_free(folder)
            with contextlib.suppress(KeyboardInterrupt), Session.open(folder, {"seed": 1}) as other:
                assert other.resumed
                other.journal.write(encode=other.journal.count("encode") + 1)
                raise KeyboardInterrupt
            slow.journal.write(encode=9)

    with pytest.raises(ValueError, match="was removed or replaced"):
        work()
    assert json.loads((folder / "journal.json").read_text()) == {"encode": 2}
