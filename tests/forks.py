"""The `keyface` command in processes of their own, forked from one that has imported everything already.

A program that starts anew spends ten times as long on imports as a tiny training or edit takes.
"""

import faulthandler
import multiprocessing
import multiprocessing.forkserver
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "keyface.callbacks.video_edit",
        "keyface.cli.training.subcommands",
        "keyface.commands.editing.batch_run",
        "keyface.commands.editing.edit",
        "keyface.datamodules.shards",
        "keyface.lightning_modules.identity",
        "keyface.metrics.retrieval",
        "keyface.miniature.trials",
        "keyface.miniature.zoo",
        "keyface.pipeline.video",
        "torch.distributed.checkpoint.state_dict",
        "torch.distributed.fsdp",
    ]
)


class Fork:
    """A running `keyface`, in this folder and with one thread.

    Args:
        words: After `keyface`.
        environment: Variables beside those that are set here.
        packages: A folder with installed packages to be found first.
        limits: Soft limits of what it may use, by the numbers of the module `resource`.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str] | None = None,
        packages: Path | None = None,
        limits: Mapping[int, int] | None = None,
    ) -> None:
        self.words = [str(word) for word in words]
        self._said = tempfile.TemporaryDirectory()
        # What the fork server was started with is old: a test may have set more since.
        variables = {**os.environ, **(environment or {})}
        self.process = FORKS.Process(
            target=_keyface,
            args=(self.words, Path.cwd(), variables, packages, Path(self._said.name), dict(limits or {})),
        )
        # The server looks for modules in the folder it starts in first, unless it is told not to: at the top
        # of a checkout lies a folder keyface/ that is not the whole package.
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PYTHONSAFEPATH", "1")
            multiprocessing.forkserver.ensure_running()
        self.process.start()

    def poll(self) -> int | None:
        """Return the exit status, negative where a signal ended it; None while it runs."""
        return self.process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        """Signal it."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Return how it ended and what it said; kill it after so many seconds."""
        self.process.join(seconds)
        self.process.kill()
        self.process.join()
        assert self.process.exitcode is not None
        files = [Path(self._said.name, name) for name in ("out", "err")]
        # Without memory it may end before it has opened them.
        said = [file.read_text(encoding="utf-8") if file.exists() else "" for file in files]
        self._said.cleanup()
        return subprocess.CompletedProcess(self.words, self.process.exitcode, *said)


def _keyface(
    words: list[str],
    folder: Path,
    environment: dict[str, str],
    packages: Path | None,
    said: Path,
    limits: dict[int, int],
) -> None:
    """Do in a fork what the console script does."""
    import torch

    from keyface.cli.main import main

    multiprocessing.set_start_method(None, force=True)  # workers of loaders begin as in any program
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    if packages is not None:
        sys.path.insert(0, str(packages))
    for name, stream in (("out", 1), ("err", 2)):
        with (said / name).open("wb") as file:
            os.dup2(file.fileno(), stream)
    faulthandler.enable(2)  # a crash of compiled code says where it was
    for number, most in limits.items():
        resource.setrlimit(number, (most, resource.getrlimit(number)[1]))
    sys.argv[1:] = words
    sys.exit(main())
