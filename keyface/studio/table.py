"""The table of edits on the page, as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from keyface.studio.jobs import Job

_WORDS = {"stopped": "stopped, can go on"}
_SHOWN = 30


def table_of(jobs: Sequence[Job]) -> str:
    """Return the edits, newest first, with how far each is; texts of users are escaped."""
    if not jobs:
        return '<div class="edits"><p>No edits yet. Choose what to change, then “Start the edit”.</p></div>'
    rows = Markup("").join(
        _row(number, job) for number, job in reversed(list(enumerate(jobs, start=1))[-_SHOWN:])
    )
    hidden = f"; the newest {_SHOWN} are shown" if len(jobs) > _SHOWN else ""
    caption = f"{len(jobs)} edit{'s' if len(jobs) > 1 else ''}, made one at a time{hidden}"
    return Markup(
        '<div class="edits"><table><caption>{}</caption><thead><tr><th scope="col">Edit</th>'
        '<th scope="col" class="wide">Clip</th><th scope="col">Change</th><th scope="col">State</th>'
        '<th scope="col">Done</th></tr></thead><tbody>{}</tbody></table></div>'
    ).format(caption, rows)


def label_of(number: int, job: Job) -> str:
    """Return what an edit is called in a list."""
    return f"{number}: {change_of(job)} in {Path(job.clip).name}, {job.state}"


def change_of(job: Job) -> str:
    """Return in a few words what an edit changes."""
    edits = job.options.get("edits")
    words = ", ".join(edits) if isinstance(edits, list) else str(edits or job.options.get("prompt", ""))
    return words if len(words) <= 60 else f"{words[:59]}…"


def state_of(job: Job) -> str:
    """Return the state of an edit in words."""
    if job.state == "running" and job.stage:
        return f"running: {job.stage}"
    return _WORDS.get(job.state, job.state)


def _row(number: int, job: Job) -> Markup:
    percent = round(100 * job.fraction) if job.state != "done" else 100
    line = Markup('<span class="line">{}</span>').format(job.line) if job.line else ""
    return Markup(
        '<tr><th scope="row">{}</th><td class="wide">{}</td><td>{}</td><td class="state {}">{}{}</td>'
        '<td>{} %<div class="bar" role="progressbar" aria-label="Edit {}" aria-valuemin="0" '
        'aria-valuemax="100" aria-valuenow="{}"><div style="width:{}%"></div></div></td></tr>'
    ).format(
        number,
        Path(job.clip).name,
        change_of(job),
        job.state,
        state_of(job),
        line,
        percent,
        number,
        percent,
        percent,
    )
