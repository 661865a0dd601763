"""What a validation edited and what was measured on it, beside the videos, for whoever reads a run later."""

from collections.abc import Sequence
from pathlib import Path

from keyface.callbacks.edit_measures import Result
from keyface.files import json_text, write_text

FOLDER = "edits"
"""In a run's folder; holds `step-<steps taken>` of each validation."""

RECORD = "edits.json"
"""In the folder of a step."""


def step_folder(run: Path, step: int) -> Path:
    """Return where the edits after so many steps lie."""
    return run / FOLDER / f"step-{step:06d}"


def write_record(folder: Path, results: Sequence[Result]) -> None:
    """Write edits.json: a list with one object an edit.

    Each has `name`, that of its video; `categories`; `source` and `target`, the prompts; `frames` and `fps`
    of the video; and `measures` by name.

    Args:
        folder: Of the step.
        results: In the order of the sheet.
    """
    content = [
        {
            "name": result.example.name,
            "categories": [category.name for category in result.example.categories],
            "source": result.example.prompts.source,
            "target": result.example.prompts.target,
            "frames": len(result.edited),
            "fps": float(result.example.fps),
            "measures": dict(result.measures),
        }
        for result in results
    ]
    write_text(folder / RECORD, json_text(content))
