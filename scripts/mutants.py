"""Put small faults into a module and say which of them its tests do not notice.

    python scripts/mutants.py keyface/losses.py [TESTS ...]
    python scripts/mutants.py keyface/metrics tests/metrics

A fault is a changed operator, constant, argument or condition. mutmut makes them in build/mutants, with the
package as `make tree` built it. JOBS is the number of processes. Without TESTS those of the module's name are
taken: for keyface/metrics/flow.py tests/metrics/test_flow*.py, where there are none
tests/**/test_flow*.py; for a folder the folder below tests/.
"""

import configparser
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "mutants"
MAPPED = ("lightning_modules", "datamodules", "callbacks", "plugins", "configs")
"""Folders that setup.cfg maps into the package."""

UNNOTICED = ("survived", "no tests", "suspicious")


def tests_of(module: Path) -> list[str]:
    """Return the tests of a module or folder, by its name."""
    inside = module.relative_to("keyface") if module.parts[0] == "keyface" else module
    mirror = Path("tests") / inside
    if not module.suffix:
        return [str(mirror)]
    for place in (f"{mirror.parent}/", "tests/**/"):
        if found := sorted(ROOT.glob(f"{place}test_{module.stem}*.py")):
            return [str(path.relative_to(ROOT)) for path in found]
    return [str(next(folder for folder in mirror.parents if (ROOT / folder).is_dir()))]


def prepare(module: Path, tests: list[str]) -> None:
    """Lay package and tests side by side, with mutmut's settings."""
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    shutil.copytree(ROOT / "build" / "tree" / "keyface", PLACE / "keyface")
    unwanted = shutil.ignore_patterns("__pycache__")
    for folder in ("tests", "configs", "docs", *MAPPED[:-1]):
        shutil.copytree(ROOT / folder, PLACE / folder, ignore=unwanted, dirs_exist_ok=True)
    for file in ("pyproject.toml", "constraints.txt", "README.md", "Makefile"):
        shutil.copy(ROOT / file, PLACE)
    inside = Path("keyface") / module if module.parts[0] in MAPPED else module
    ours, settings = configparser.ConfigParser(), configparser.ConfigParser()
    ours.read(ROOT / "setup.cfg")
    settings["tool:pytest"] = dict(ours["tool:pytest"])
    settings["mutmut"] = {
        "source_paths": "keyface",
        "only_mutate": str(inside) if inside.suffix else f"{inside}/*",
        "also_copy": "\n".join(
            ["", "configs", "docs", *MAPPED[:-1], "constraints.txt", "README.md", "Makefile"]
        ),
        "pytest_add_cli_args_test_selection": "\n".join(["", *tests]),
        "pytest_add_cli_args": "\n".join(["", "-p", "no:cacheprovider", "-p", "no:xdist"]),
        "timeout_constant": "60",  # seconds; other work on the machine must not count as a noticed fault
        "process_isolation": "forkserver",  # torch's threads do not outlive a fork
        "mutate_only_covered_lines": "true",
        "use_git_change_detection": "false",
        "track_dependencies": "false",
    }
    with (PLACE / "setup.cfg").open("w") as file:
        settings.write(file)


def mutmut(*words: str, quiet: bool = False) -> str:
    """Run mutmut there, and return what it says."""
    variables = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    command = [sys.executable, "-m", "mutmut", *words]
    ended = subprocess.run(
        command, cwd=PLACE, env=variables, text=True, stdout=subprocess.PIPE if quiet else None, check=True
    )
    return ended.stdout or ""


def main(module: Path, tests: list[str]) -> int:
    """Run mutmut, and print what the tests did not notice."""
    prepare(module, tests or tests_of(module))
    mutmut("run", "--max-children", os.environ.get("JOBS", "1"))
    listed = [
        line.split(": ")
        for line in mutmut("results", "--all", "true", quiet=True).splitlines()
        if ": " in line
    ]
    ends = Counter(end.strip() for _, end in listed)
    for name, end in listed:
        if end.strip() in UNNOTICED:
            print(f"\n{end.strip()}: {mutmut('show', name.strip(), quiet=True)}")
    noticed = sum(ends.values()) - sum(ends[each] for each in UNNOTICED)
    print(f"{module}: {noticed} of {sum(ends.values())} faults noticed; {dict(ends)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
