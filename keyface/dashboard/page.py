"""The dashboard as one HTML file: curves as SVG, pictures and videos as data URIs, no script, no network."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keyface
from keyface.dashboard import charts
from keyface.dashboard.charts import Chart, number
from keyface.dashboard.measures import MEASURES, sections, trade_off, value_at
from keyface.dashboard.pictures import grids
from keyface.dashboard.runs import Run
from keyface.pages import page_templates

COLOURS = 8
"""Of lines; further ones take them again."""

_LONGEST = 60
"""Characters of a config's value in the table of runs."""

_NO_DIFFERENCE = ("trainer.default_root_dir", "trainer.logger", "ckpt_path", "runs", "experiment")
"""What differs between runs and decides nothing."""


def write_page(runs: Sequence[Run], title: str, columns: int) -> str:
    """Return the page.

    Args:
        runs: From the first to the newest; at least one.
        title: What they are.
        columns: Most steps of a run that pictures are shown of.

    Raises:
        ValueError: A video of an edit is damaged.
    """
    templates = page_templates("keyface.dashboard")
    templates.filters["number"] = number
    templates.globals |= {
        "W": charts.WIDTH,
        "H": charts.HEIGHT,
        "LEFT": charts.LEFT,
        "RIGHT": charts.RIGHT,
        "TOP": charts.TOP,
        "BOTTOM": charts.BOTTOM,
    }
    return templates.get_template("page.html").render(
        title=title,
        runs=runs,
        colours=[place % COLOURS for place in range(len(runs))],
        tiles=tiles(runs[0]) if len(runs) == 1 else [],
        table=table_of_runs(runs),
        differences=differences(runs),
        trade_off=trade_off(runs),
        grids=grids(runs, columns),
        changed=changed,
        sections=sections(runs),
        examples=[(run, step, edit) for run in runs for step, edits in run.edits.items() for edit in edits],
        measures=MEASURES,
        commands=[shlex.join(run.environment.get("command", [])) for run in runs],
        facts=[facts(run) for run in runs],
        version=keyface.__version__,
    )


def tiles(run: Run) -> list[tuple[str, str, str, str]]:
    """Return the newest figures of a run: title, value, what it was at first, and `better` or `worse`."""
    shown = []
    for measure in MEASURES:
        curve = run.curves.get(measure.key)
        if not curve or measure.higher is None:
            continue
        first, last = curve[0][1], curve[-1][1]
        came = ""
        if number(first) != number(last):
            came = "better" if (last > first) == measure.higher else "worse"
        shown.append((measure.title, number(last), number(first) if len(curve) > 1 else "", came))
    return shown


def table_of_runs(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return the newest figures of all runs: title, and one text a run; what none has is left out."""
    return [
        (measure.title, texts)
        for measure in MEASURES
        if measure.higher is not None
        and any(texts := [value_at(run.curves.get(measure.key)) for run in runs])
    ]


def differences(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """Return what runs were told differently: name in the config, and one text a run."""
    names = dict.fromkeys(name for run in runs for name in run.config)
    found = []
    for name in names:
        texts = [_text(run.config.get(name)) for run in runs]
        if len(set(texts)) > 1 and not name.startswith(_NO_DIFFERENCE):
            found.append((name, texts))
    return found


def _text(value: Any) -> str:
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def changed(source: str, target: str) -> tuple[str, str]:
    """Return the parts of two prompts, between commas, that the other has not."""
    before, after = (text.split(", ") for text in (source, target))
    return (
        ", ".join(part for part in before if part not in after),
        ", ".join(part for part in after if part not in before),
    )


def facts(run: Run) -> Mapping[str, str]:
    """Return what made a run, beside its config."""
    environment = run.environment
    git, packages = environment.get("git") or {}, environment.get("packages") or {}
    commit = git.get("commit")
    said = {
        "folder": ", ".join(map(str, run.parts)),
        "started": environment.get("started"),
        "W&B": run.wandb.get("id"),
        "git": f"{commit[:12]}{' and changes' if git.get('changed') else ''}" if commit else None,
        "Python": environment.get("python"),
        **{name: packages.get(name) for name in ("keyface", "torch", "lightning", "diffusers")},
    }
    return {name: str(value) for name, value in said.items() if value}


def title_of(places: Sequence[Path], runs: Sequence[Run]) -> str:
    """Return what a dashboard is called: the run, else what the runs' folders have in common."""
    if len(runs) == 1:
        return runs[0].name
    if len(places) == 1:
        return "/".join(places[0].resolve().parts[-2:])
    return f"{len(runs)} runs"


__all__ = ["Chart", "title_of", "write_page"]
