"""`keyface ablate`: the paper's ablation on held-out miniature identities, one row a variant."""

from collections.abc import Sequence
from pathlib import Path

CATEGORIES = ("glasses", "beard", "smile", "blond-hair", "old")
"""One identity gets one of them, in rotation; people who already look like it are passed over."""

READING = (
    "r_at_1, mrr: edited clip against the originals, higher is better; cosine_distance: to the own original, "
    "lower;\nedit_success: share of frames with the attribute, higher; temporal_loss, outside_change: in "
    "intensities of [0, 1], lower."
)


def ablate(
    identities: int = 20,
    frames: int = 16,
    distractors: int = 80,
    edits: Sequence[str] = CATEGORIES,
    steps: int = 20,
    guidance_scale: float = 7.5,
    json: Path | None = None,
    out: Path = Path("runs/ablate"),
    seed: int = 0,
) -> None:
    """Measure what each part of the method contributes, on the miniature.

    Args:
        identities: Held-out people, one edited clip each.
        frames: Frames of each clip.
        distractors: Further held-out people in the gallery of originals.
        edits: Categories, given to people in rotation.
        steps: DDIM steps.
        guidance_scale: Of the edit.
        json: File for the rows, a list with one object a variant.
        out: Folder for the picture of the edits and the figures of each clip.
        seed: Of the clips and of the edits.
    """
    from tqdm import tqdm

    from keyface.commands._ablation import Ablation, variants
    from keyface.commands._report import table, write_json
    from keyface.commands._scoring import Networks
    from keyface.miniature.trials import other_clips, trials
    from keyface.pictures import save_png
    from keyface.plugins import edits as registry

    categories = [registry[name] for name in edits]
    networks = Networks.miniature()
    size = networks.backbone.image_size
    print(f"{identities} held-out identities, {frames} frames at {size} px, {steps} steps, seed {seed}")
    ablation = Ablation(networks, variants(steps, guidance_scale, seed))
    for trial in tqdm(trials(categories, identities, frames, size, seed), total=identities, unit="identity"):
        ablation.add(trial)
    for identity, clip in other_clips(distractors, frames, size, seed):
        ablation.add_to_gallery(identity, clip)
    rows = ablation.rows()
    target = json if json is not None else out / "ablation.json"
    write_json(target, rows)
    write_json(out / "clips.json", ablation.clips)
    save_png(ablation.sheet(), out / "sheet.png")
    print(f"\n{table(rows)}\n\n{READING}\n{target}, {out / 'clips.json'}, {out / 'sheet.png'}")
