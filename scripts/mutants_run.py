"""Run tests against a changed module, in a fork that imports it, and the whole package, anew.

The first process imports what others made (torch, diffusers, pytest and so on) and nothing of keyface. A fork
without a fault tells how long each test takes and which of the module's lines it runs; it must pass. Then
each fault gets a fork, which runs the tests of its lines until one fails, the quickest and best first.
"""

import contextlib
import gc
import importlib
import importlib.machinery
import importlib.util
import inspect
import json
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest

MAPPED = ("lightning_modules", "datamodules", "callbacks", "plugins", "configs")
"""Folders that setup.cfg maps into the package."""

SECONDS = float(os.environ.get("SECONDS") or 8)
"""Tests of a fault: the quickest that fit into this time together, and at least one."""

OPTIONS = ["-x", "-q", "--no-header", "-p", "no:cacheprovider", "-p", "no:xdist"]
OPTIONS += ["-W", "ignore:Module already imported:pytest.PytestAssertRewriteWarning"]  # pytest's plugins
PASSED, LATE, BROKEN = 0, 200, 201
ENDS = {0: "unnoticed", 1: "noticed", 2: "noticed at import", 4: "noticed at import", LATE: "too late"}


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads one module from another text than its file's."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self.text, self.path, "exec", dont_inherit=True)
        return code


class _Finder:
    def __init__(self, name: str, path: Path, text: str) -> None:
        self.name, self.path, self.text = name, str(path), text

    def find_spec(self, name: str, *_: Any) -> importlib.machinery.ModuleSpec | None:
        if name != self.name:
            return None
        return importlib.util.spec_from_file_location(
            name, self.path, loader=_Changed(name, self.path, self.text)
        )


class _Chosen:
    """Runs the chosen tests in their order."""

    def __init__(self, names: Sequence[str]) -> None:
        self.order = {name: i for i, name in enumerate(names)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if item.nodeid in self.order), key=lambda item: self.order[item.nodeid]
        )


class _Noting:
    """Writes down which test failed."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.file.write_text(report.nodeid)


class _Recorder:
    """Notes each test's seconds, and the lines of one file that it runs."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.seconds: dict[str, float] = {}
        self.lines: dict[str, list[int]] = {}
        self._now: set[int] = set()

    def _trace(self, frame: Any, event: str, _: Any) -> Any:
        if frame.f_code.co_filename != self.path:
            return None
        self._now.add(frame.f_lineno)
        return self._trace

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._now, began = set(), time.monotonic()
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
            self.seconds[item.nodeid] = time.monotonic() - began
            self.lines[item.nodeid] = sorted(self._now)


def module_name(file: Path) -> str:
    """Return the name by which keyface imports a file."""
    parts = ["keyface", *file.parts] if file.parts[0] in MAPPED else list(file.parts)
    return ".".join(parts).removesuffix(".py").removesuffix(".__init__")


class Harness:
    """Tries changed modules with some tests.

    Args:
        root: Folder of the project, where the tests run.
        place: Folder for logs and temporary files.
        tests: Files or folders.
        jobs: Forks at a time.
    """

    def __init__(self, root: Path, place: Path, tests: list[str], jobs: int = 1) -> None:
        self.root, self.place, self.tests, self.jobs = root, place, tests, jobs
        os.chdir(root)
        os.environ.update(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")
        sys.dont_write_bytecode = False
        sys.path[:] = [entry for entry in sys.path if entry and Path(entry) != root / "scripts"]
        self._import_others()

    def _import_others(self) -> None:
        """Import what a test session imports of other people's, without starting a thread."""
        names = self.place / "modules.json"

        def collect() -> int:
            code = pytest.main([*OPTIONS, "--collect-only", "-qq", *self.tests])
            names.write_text(json.dumps([name for name, module in sys.modules.items() if _others(module)]))
            return int(code)

        if self._ends([(collect, 600)]) != [PASSED]:
            sys.exit(f"the tests cannot be collected: {self._log(0)}")
        import torch

        torch.set_num_threads(1)
        for name in json.loads(names.read_text()):
            try:
                importlib.import_module(name)
            except Exception:
                continue
        gc.collect()
        gc.freeze()  # pytest collects garbage at its end, which takes a second with all that was imported
        assert not any(name.split(".")[0] in ("keyface", "tests") for name in sys.modules)
        assert threading.active_count() == 1, threading.enumerate()

    def run(self, file: Path, changed: list[tuple[str, tuple[int, int]]]) -> list[str]:
        """Return how each changed text of `file` ended; with it come the first and last changed line."""
        path, name = self.root / file, module_name(file)
        seconds, lines = self._undisturbed(path, name)
        at_import = _lines_at_import(path)
        chosen = []
        for _, (first, last) in changed:
            here = set(range(first, last + 1))
            reach = [test for test in seconds if here & at_import or here & lines[test]]
            chosen.append(_quickest(reach, seconds))
        kills: Counter[str] = Counter()
        note = self.place / "failed.txt"

        def job(text: str, names: list[str]) -> tuple[Callable[[], int], float]:
            if note.exists():
                kills[note.read_text()] += 1
                note.unlink()
            best = sorted(names, key=lambda test: seconds[test] / (0.5 + kills[test]))
            limit = 20 + 5 * sum(seconds[test] for test in names)
            return self._test(path, name, text, best, _Noting(note)), limit

        jobs = (job(text, names) for (text, _), names in zip(changed, chosen, strict=True) if names)
        ends = iter(self._ends(jobs, sum(map(bool, chosen))))
        return [_said(next(ends)) if names else "no tests" for names in chosen]

    def _undisturbed(self, path: Path, name: str) -> tuple[dict[str, float], dict[str, set[int]]]:
        """Return seconds and lines of each test, which must pass with the text as it is."""
        notes = self.place / "undisturbed.json"

        def record() -> int:
            recorder = _Recorder(path)
            code = self._test(path, name, path.read_text(), None, recorder)()
            notes.write_text(json.dumps([recorder.seconds, recorder.lines]))
            return code

        if self._ends([(record, 3600.0)]) != [PASSED]:
            sys.exit(f"the tests do not pass without a fault: {self._log(0)}")
        seconds, lines = json.loads(notes.read_text())
        return seconds, {test: set(each) for test, each in lines.items()}

    def _test(
        self, path: Path, name: str, text: str, chosen: list[str] | None, *plugins: Any
    ) -> Callable[[], int]:
        def test() -> int:
            sys.meta_path.insert(0, _Finder(name, path, text))  # type: ignore[arg-type]
            files = self.tests if chosen is None else sorted({each.split("::")[0] for each in chosen})
            order = [] if chosen is None else [_Chosen(chosen)]
            temporary = f"--basetemp={self.place}/tmp-{os.getpid()}"
            return int(pytest.main([*OPTIONS, temporary, *files], [*plugins, *order]))

        return test

    def _log(self, job: int) -> Path:
        return self.place / f"job-{job}.log"

    def _ends(self, jobs: Iterable[tuple[Callable[[], int], float]], number: int = 1) -> list[int]:
        """Run each job in its own fork, with a limit in seconds; return exit codes, below 0 for signals."""
        ends: dict[int, int] = {}
        running: dict[int, tuple[int, float]] = {}
        waiting = enumerate(jobs)
        while len(ends) < number:
            while len(ends) + len(running) < number and len(running) < self.jobs:
                job, (call, limit) = next(waiting)
                running[self._fork(call, self._log(job))] = (job, time.monotonic() + limit)
            for pid, (job, until) in list(running.items()):
                ended, status = os.waitpid(pid, os.WNOHANG)
                late = not ended and time.monotonic() > until
                if not ended and not late:
                    continue
                _end_group(pid)
                if late:
                    os.waitpid(pid, 0)
                del running[pid]
                ends[job] = LATE if late else os.waitstatus_to_exitcode(status)
                shutil.rmtree(self.place / f"tmp-{pid}", ignore_errors=True)
                if number > 1:
                    print(f"{len(ends)}/{number} {_said(ends[job])}", file=sys.stderr, flush=True)
            time.sleep(0.01)
        return [ends[job] for job in range(number)]

    @staticmethod
    def _fork(call: Callable[[], int], log: Path) -> int:
        sys.stdout.flush()
        sys.stderr.flush()
        if pid := os.fork():
            return pid
        code = BROKEN
        try:
            os.setsid()
            sys.modules["__main__"] = ModuleType("__main__")  # which processes that tests start import anew
            out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            code = call()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _end_group(pid: int) -> None:
    """End a fork, and what it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def _said(end: int) -> str:
    return ENDS.get(end, f"signal {-end}" if end < 0 else f"broken, {end}")


def _quickest(tests: Sequence[str], seconds: dict[str, float]) -> list[str]:
    """Return the quickest tests that fit into SECONDS, and at least one."""
    found: list[str] = []
    left = SECONDS
    for test in sorted(tests, key=seconds.__getitem__):
        left -= seconds[test]
        if found and left < 0:
            break
        found.append(test)
    return found


def _lines_at_import(path: Path) -> set[int]:
    """Return the lines that run when a module is imported: of defaults, constants and classes."""
    codes, found = [compile(path.read_text(), str(path), "exec")], set()
    while codes:
        code = codes.pop()
        codes += [each for each in code.co_consts if isinstance(each, CodeType)]
        if not code.co_flags & inspect.CO_OPTIMIZED:
            found |= {line for _, _, line in code.co_lines() if line}
    return found


def _others(module: ModuleType) -> bool:
    """Return whether a module is neither keyface's nor a test's nor a plugin of pytest."""
    name, file = module.__name__, getattr(module, "__file__", None) or ""
    own = name.split(".")[0] in ("keyface", "tests", "conftest", "__main__", "mutants", "mutants_run")
    return not own and ("site-packages" in file or file.startswith(sys.base_prefix))
