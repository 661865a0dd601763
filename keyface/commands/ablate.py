"""`keyface ablate`: the paper's ablation on held-out miniature identities, one row a variant."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

READING = """\
r_at_1, mrr: edited clip against the originals, higher is better; cosine_distance: to the own original, lower;
edit_success: share of frames with the attribute, higher; temporal_loss, outside_change, and inside_error, to
the renderer's edit inside the regions: of intensities in [0, 1], lower. (inversion) is no edit at all,
(rendered) is the renderer's own, faultless one.
"""

COLUMNS: Mapping[str, str] = {
    "variant": "method",
    "n": "n",
    "r_at_1": "r_at_1",
    "mrr": "mrr",
    "cosine_distance": "cosine_distance",
    "edit_success": "edit_success",
    "temporal_loss": "temporal_loss_masked",
    "outside_change": "outside_l1",
    "inside_error": "inside_l1",
}
"""Keys of a row and what `keyface evaluate` calls them."""

CONTROLS = ("(inversion)", "(rendered)")
"""Rows beside the variants that tell how to read theirs."""


def ablate(
    identities: int = 20,
    frames: int = 16,
    distractors: int = 80,
    edits: str | None = None,
    steps: int = 20,
    guidance: float | None = None,
    strength: float | None = None,
    json: Path | None = None,
    out: Path = Path("runs/ablate"),
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Measure what each part of the method contributes, on the miniature.

    A short form of keyface evaluate --protocol miniature --variants ablation, whose report it leaves too.

    Args:
        identities: Held-out people, one edited clip each.
        frames: Frames of each clip.
        distractors: Further held-out people in the gallery of originals.
        edits: Categories separated by commas, given to people in rotation; the default is those of evaluate.
        steps: DDIM steps.
        guidance: Classifier-free guidance scale; the default is that of `keyface edit`.
        strength: Fraction of the inversion that is undone; the default is that of `keyface edit`.
        json: File for the rows, a list with one object a variant.
        out: Folder for the report, the clips and the picture of the edits.
        seed: Of the clips and of the edits.
        device: Where to edit, such as cuda or cpu.
    """
    from keyface.commands.console import table, write_json
    from keyface.evaluation.clip_sets.protocols import Options, open_clips
    from keyface.evaluation.setup import (
        choose_judges,
        chosen_variants,
        gather_rows,
        judge_rows,
        load_model,
        write_up,
    )

    given = {"steps": steps, "guidance": guidance, "strength": strength}
    settings = ",".join(f"{name}={value}" for name, value in given.items() if value is not None)
    control, ways, _ = chosen_variants(False, settings, Path("ablation"), None)
    judges, notes = choose_judges(None, None)
    clips, _ = open_clips(
        "miniature", None, None, Options(edits, identities, distractors, frames, False, seed), out
    )
    model = load_model(None, None, None, device, seed)
    scored, scorer = judge_rows(
        clips, gather_rows(clips, [], control, ways, [], model, out), judges, out / "cache"
    )
    report = write_up(scored, scorer, model, notes, [], [], seed, show=5)
    files = report.write(out)
    target = json if json is not None else out / "ablation.json"
    write_json(target, [as_variant(row) for row in report.rows if row["kind"] == "method"])
    compared = [row for row in report.rows if row["kind"] == "method" or row["method"] in CONTROLS]
    print(f"\n{table([as_variant(row) for row in compared])}\n\n{READING}")
    print(f"written: {', '.join(map(str, [target, *files]))}")


def as_variant(row: Mapping[str, Any]) -> dict[str, Any]:
    """One of `keyface evaluate`'s rows with the ablation's keys."""
    return {key: row[name] for key, name in COLUMNS.items()}
