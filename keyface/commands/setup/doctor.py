"""`keyface doctor`: what can be done on this machine, what is missing for the rest, and what brings it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keyface.commands.console import columns, print_json


def doctor(root: Path | None = None, json: bool = False, deep: bool = False) -> None:
    """Say what works on this machine and what is missing, goal by goal, with the command that brings it.

    Nothing is fetched, changed or sent. What is only missing is no error; what is broken is.

    Args:
        root: Folder of the weights; models, or what KEYFACE_WEIGHTS says, if not given.
        json: Print JSON, with all versions.
        deep: Import torch and ask it for GPUs and its operators, which takes seconds; otherwise the NVIDIA
            driver is asked and versions are compared.

    Raises:
        ValueError: Something that is installed is broken.
    """
    from keyface.commands.setup.weights import open_store
    from keyface.doctor.goals import examine

    record = examine(open_store(root), deep)
    if json:
        print_json(record)
    else:
        print(report(record))
    broken = [each for each in record["findings"] if each["level"] == "broken"]
    if broken:
        raise ValueError("; ".join(f"{each['what']}: {each['fix']}" for each in broken))


def report(record: dict[str, Any]) -> str:
    """Return an examination as text: the machine, each goal with what it has and lacks, the plugins."""
    from keyface.weights.finders import NO_FINDER

    facts, versions = record["machine"], record["packages"]
    asked = "by torch" if facts["gpu_asked"] == "torch" else "torch was not asked, --deep does"
    parts = [
        columns(
            [
                ("keyface", f"{facts['keyface']}, Python {facts['python']}, torch {versions.get('torch')}"),
                ("machine", f"{facts['cores']} cores, {facts['platform']}"),
                ("GPU", f"{facts['gpu']} ({asked})"),
                ("disk", record["disk"]["here"]),
                ("W&B", record["wandb"]["state"]),
                ("finders", ", ".join(record["finders"]) or NO_FINDER),
            ]
        )
    ]
    for name, goal in record["goals"].items():
        mine = [each for each in record["findings"] if name in each["goals"]]
        rows = [("command", goal["command"])]
        rows += [("here", ", ".join(goal["here"]))] if goal["here"] else []
        parts.append(section(f"{goal['title']}: {'works' if goal['works'] else 'not yet'}", rows, mine))
    found = record["plugins"]
    counts = [
        ("edits", f"{count} from {package} {found['versions'][package]}".strip())
        for package, count in found["edits"].items()
    ]
    mine = [each for each in record["findings"] if not each["goals"]]
    parts.append(section(f"plugins: {_counted(mine)}", counts, mine))
    return "\n\n".join(parts)


def _counted(findings: list[dict[str, Any]]) -> str:
    return "in order" if not findings else f"{len(findings)} fault{'s' if len(findings) > 1 else ''}"


def section(title: str, rows: list[tuple[str, str]], findings: list[dict[str, Any]]) -> str:
    """Return a title, what is here, what is missing, and the commands that bring first what is needed."""
    rows = [*rows, *((each["level"], f"{each['what']} (without: {each['disables']})") for each in findings)]
    needed = [each["fix"] for each in findings if each["level"] in ("broken", "missing")]
    better = [each["fix"] for each in findings if each["level"] in ("optional", "note")]
    rows += [("to do", fix) for fix in joined(needed)] + [("may help", fix) for fix in joined(better)]
    return "\n".join([title, *(f"  {line}" for line in columns(rows).splitlines())])


def joined(fixes: list[str]) -> list[str]:
    """Return each fix once, and one command for all weights that are to be fetched."""
    get = "keyface weights get "
    names = dict.fromkeys(fix.removeprefix(get) for fix in fixes if fix.startswith(get))
    others = dict.fromkeys(fix for fix in fixes if not fix.startswith(get))
    return [*([get + " ".join(names)] if names else []), *others]
