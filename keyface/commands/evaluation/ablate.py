"""`keyface ablate`: the paper's ablation on held-out miniature identities, one row a variant."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

READING = """\
r_at_1, mrr: edited clip against the originals, higher is better; cosine_distance: to the own original, lower;
edit_success: share of frames with the attribute, higher; gain: 1 - inside_error / that of the source, higher;
temporal_loss, outside_change, and inside_error, to the renderer's edit inside the regions: of intensities in
[0, 1], lower. (inversion) is no edit at all, (rendered) is the renderer's own, faultless one.
"""

COLUMNS: Mapping[str, str] = {
    "variant": "method",
    "n": "n",
    "r_at_1": "r_at_1",
    "mrr": "mrr",
    "cosine_distance": "cosine_distance",
    "edit_success": "edit_success",
    "gain": "gain",
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
    json: bool = False,
    output: Path = Path("runs/ablate"),
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Measure what each part of the method contributes, on the miniature.

    A short form of keyface evaluate --protocol miniature --variants ablation, whose report it writes too.

    Args:
        identities: Held-out people, one edited clip each.
        frames: Frames of each clip.
        distractors: Further held-out people in the gallery of originals.
        edits: Categories separated by commas, given to people in rotation; the default is those of evaluate.
        steps: Denoising steps of the whole schedule.
        guidance: Scale of classifier-free guidance; the default is that of `keyface edit`.
        strength: Fraction of the inversion that is undone; the default is that of `keyface edit`.
        json: Print the rows as JSON, a list with one object a variant, and nothing else on stdout.
        output: Folder for the rows (ablation.json), the report, the clips and the picture of the edits.
        seed: Of the clips and of the edits.
        device: Where to edit, such as cuda or cpu; on a GPU where there is one if not given.
    """
    from keyface.commands.console import print_json, table, write_json
    from keyface.editing.settings import given_settings
    from keyface.evaluation.clip_sets.protocols import MINIATURE, open_clips
    from keyface.evaluation.rows.variants import choose_ways
    from keyface.evaluation.run import run
    from keyface.evaluation.scoring.judges import choose_judges
    from keyface.files import require_folder
    from keyface.locking import alone_in
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.progress import say

    require_folder(output)
    base = given_settings(None, steps=steps, guidance=guidance, strength=strength, seed=seed)
    ways = choose_ways(False, base, "ablation")
    judges, notes = choose_judges(None, None)
    options: dict[str, Any] = {"edited": identities, "gallery": distractors, "frames": frames, "seed": seed}
    options |= {} if edits is None else {"edits": edits}
    with alone_in(output):
        clips, _ = open_clips(MINIATURE, None, None, options, output)
        pipe = FaceEditPipeline.from_pretrained(device=device)
        report = run(clips, ways, pipe, judges, output, seed=seed, notes=notes)
        rows = [as_variant(row) for row in report.rows if row["kind"] == "method"]
        written = [output / "ablation.json", *report.write(output)]
        write_json(written[0], rows)
    if json:
        print_json(rows)
    else:
        compared = [row for row in report.rows if row["kind"] == "method" or row["method"] in CONTROLS]
        print(f"\n{table([as_variant(row) for row in compared])}\n\n{READING}")
    say(f"written: {', '.join(map(str, written))}")


def as_variant(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of `keyface evaluate`'s rows with the ablation's keys; None where nothing was measured."""
    return {key: row.get(name) for key, name in COLUMNS.items()}
