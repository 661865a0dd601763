"""What came of a batch: a table for people, JSON for programs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from keyface.claims.batch import REPORT, Batch
from keyface.claims.ledger import Ledger
from keyface.claims.state import MOST_DEATHS, History, State
from keyface.files import json_text, write_text

STATES: tuple[State, ...] = ("done", "running", "waiting", "aside", "cancelled")

WORDS: Mapping[State, str] = {
    "done": "done",
    "running": "running",
    "waiting": "waiting",
    "aside": "set aside",
    "cancelled": "cancelled",
}


def report_of(batch: Batch) -> dict[str, Any]:
    """Return what is known of a batch: its counts, and each clip in the order of the work."""
    ledger = batch.ledger()
    found = ledger.histories()
    clips = [_of_clip(batch, ledger, clip.key, found[clip.key]) for clip in batch.clips]
    counts = Counter(clip["state"] for clip in clips)
    return {
        "manifest": batch.manifest,
        "networks": dict(batch.networks),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "clips": len(clips),
        "counts": {state: counts[state] for state in STATES},
        "seconds": sum(clip["seconds"] or 0.0 for clip in clips),
        "frames": sum(clip["frames"] or 0 for clip in clips),
        "results": clips,
    }


def write_report(batch: Batch) -> dict[str, Any]:
    """Write report.json into the folder of the outputs, whole or not at all, and return what it says."""
    content = report_of(batch)
    write_text(batch.folder / REPORT, json_text(content))
    return content


def summary(report: Mapping[str, Any]) -> str:
    """Return a batch's counts in one line."""
    counts = [f"{report['counts'][state]} {WORDS[state]}" for state in STATES if report["counts"][state]]
    clips = f"{report['clips']} clip{'s' if report['clips'] > 1 else ''}"
    return f"{clips}: {', '.join(counts)}; {report['frames']} frames in {report['seconds']:.1f} s of work"


def rows_of(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the table of a batch's clips, with a row of headings."""
    return [("clip", "state", "tries", "frames", "seconds", "what"), *map(_row, report["results"])]


def unfinished(report: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the clips that were set aside."""
    return [clip for clip in report["results"] if clip["state"] == "aside"]


def _row(clip: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = "-" if clip["seconds"] is None else f"{clip['seconds']:.1f}"
    frames = "-" if clip["frames"] is None else str(clip["frames"])
    return clip["output"], WORDS[clip["state"]], str(clip["tries"]), frames, seconds, clip["line"] or ""


def _of_clip(batch: Batch, ledger: Ledger, key: str, history: History) -> dict[str, Any]:
    clip, state, top = batch.by_key[key], history.state, history.top
    result = ledger.result(key) if state == "done" else {}
    holder = ledger.content(key, top, "claim") if state == "running" else result
    process = f"{holder.get('host', '?')} {holder.get('pid', '?')}" if holder else None
    line = None
    if state == "running":
        line = f"{process}, last sign {ledger.silence(key, top):.0f} s ago"
    elif state in ("aside", "waiting") and history.numbers.get("failed"):
        line = str(ledger.content(key, max(history.numbers["failed"]), "failed").get("line", ""))
    if state == "aside" and history.deaths >= MOST_DEATHS:
        line = f"its process ended without a word {history.deaths} times at the same place"
    return {
        "output": clip.output,
        "video": clip.video,
        "where": clip.where,
        "state": state,
        "tries": top,
        "failures": history.failures,
        "frames": result.get("frames"),
        "seconds": result.get("seconds"),
        "process": process,
        "line": line,
    }
