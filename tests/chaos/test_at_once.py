"""Several processes with one output, one cache, one folder of shards, one folder of runs.

Two and four by default; `make chaos` adds eight: `KEYFACE_CHAOS_PROCESSES=2,4,8 pytest tests/chaos`.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from chaos.jobs import JOBS, content_digest, digest, edit_words, fit_words, lay, render_words
from forks import Fork

PROCESSES = [int(number) for number in os.environ.get("KEYFACE_CHAOS_PROCESSES", "2,4").split(",")]
TOLD = ("another process", "exists")
"""What one of these says whose work another one does, or has done."""


def errors(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("keyface: error:")]


def all_at_once(words: list[str], processes: int, *, repeatable: bool) -> None:
    """Run a command several times at once; one must succeed, and the others say in one line why not.

    Args:
        words: The command.
        processes: How many.
        repeatable: Whether it succeeds as well where it finds everything done.
    """
    ended = [each.wait(300) for each in [Fork(words) for _ in range(processes)]]
    failed = [each for each in ended if each.returncode]
    succeeded = len(ended) - len(failed)
    assert succeeded >= 1 if repeatable else succeeded == 1, [each.stderr[-600:] for each in ended]
    for each in failed:
        assert each.returncode == 1, each.stderr[-2000:]
        (told,) = errors(each.stderr)
        assert any(word in told for word in TOLD), told


@pytest.mark.parametrize("processes", PROCESSES)
def test_one_output(
    processes: int, needs: Callable[[str], Path], inside: Callable[[Path], None], tmp_path: Path
) -> None:
    source, job = needs("edit"), JOBS["edit"]
    alone = lay(source, tmp_path / "alone")
    inside(alone)
    assert Fork(job.words()).wait(300).returncode == 0
    together = lay(source, tmp_path / "together")
    inside(together)
    all_at_once(job.words(), processes, repeatable=False)
    assert job.results(together) == job.results(alone)
    assert job.files(together) == job.files(alone)


@pytest.mark.parametrize("processes", PROCESSES)
def test_one_cache(
    processes: int, needs: Callable[[str], Path], inside: Callable[[Path], None], tmp_path: Path
) -> None:
    """Outputs differ, so all succeed, and with equal frames; the cache has each piece of work once."""
    folder = needs("edit")
    inside(folder)

    def words(number: int, cache: str) -> list[str]:
        return [word.replace("out.mp4", f"{number}.mp4") for word in edit_words()] + ["--cache", cache]

    assert Fork(words(99, "alone")).wait(300).returncode == 0
    ended = [each.wait(300) for each in [Fork(words(number, "cache")) for number in range(processes)]]
    assert [each.returncode for each in ended] == [0] * processes, [each.stderr[-600:] for each in ended]
    assert {content_digest(folder / f"{number}.mp4") for number in [99, *range(processes)]} == {
        content_digest(folder / "99.mp4")
    }
    entries = {name: sorted(path.name for path in Path(name).rglob("*")) for name in ("alone", "cache")}
    assert entries["cache"] == entries["alone"]


@pytest.mark.parametrize("processes", PROCESSES)
def test_one_folder_of_shards(processes: int, inside: Callable[[Path], None], tmp_path: Path) -> None:
    inside(tmp_path)
    assert Fork(render_words()).wait(300).returncode == 0
    shutil.move("rendered", "alone")
    all_at_once(render_words(), processes, repeatable=True)
    names = sorted(path.name for path in Path("alone").iterdir())
    assert sorted(path.name for path in Path("rendered").iterdir()) == names
    assert all(digest(Path("rendered", name)) == digest(Path("alone", name)) for name in names)


@pytest.mark.parametrize("processes", PROCESSES)
def test_one_folder_of_captions(
    processes: int, needs: Callable[[str], Path], inside: Callable[[Path], None], tmp_path: Path
) -> None:
    source, job = needs("caption"), JOBS["caption"]
    alone = lay(source, tmp_path / "alone")
    inside(alone)
    assert Fork(job.words()).wait(300).returncode == 0
    together = lay(source, tmp_path / "together")
    inside(together)
    all_at_once(job.words(), processes, repeatable=True)
    assert job.results(together) == job.results(alone)


@pytest.mark.parametrize("processes", PROCESSES)
def test_one_folder_of_runs_and_of_wandb(
    processes: int,
    needs: Callable[[str], Path],
    inside: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each training has a run of its own, there and in W&B's folder, with the same numbers."""
    folder = needs("fit")
    inside(folder)
    monkeypatch.setenv("WANDB_MODE", "offline")
    init = "init_args: {project: chaos, offline: true}"
    logger = f"--trainer.logger={{class_path: lightning.pytorch.loggers.WandbLogger, {init}}}"
    lines = [
        [word.replace("{folder: notes", f"{{folder: notes-{number}") for word in [*fit_words(), logger]]
        for number in range(processes)
    ]
    ended = [each.wait(300) for each in [Fork(words) for words in lines]]
    assert [each.returncode for each in ended] == [0] * processes, [each.stderr[-600:] for each in ended]
    runs = [path for path in Path("runs/chaos").iterdir() if not path.is_symlink()]
    assert len(runs) == processes
    assert Path("runs/chaos/latest").resolve() in {path.resolve() for path in runs}
    noted = [Path(f"notes-{number}/0.jsonl").read_text() for number in range(processes)]
    assert len(set(noted)) == 1
    assert len(noted[0].splitlines()) == 12
    assert all(json.loads(line)["keys"] for line in noted[0].splitlines())
