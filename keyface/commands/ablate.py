"""`keyface ablate`: the paper's ablation on held-out miniature identities, one row a variant."""

from pathlib import Path

CATEGORIES = "glasses,beard,smile,blond-hair,old"
"""One identity gets one of them, in rotation; people who already look like it are passed over."""

READING = """\
r_at_1, mrr: edited clip against the originals, higher is better; cosine_distance: to the own original, lower;
edit_success: share of frames with the attribute, higher; temporal_loss, outside_change: of intensities in
[0, 1], lower. (reconstruction) is no edit at all, (rendered) is the renderer's own, faultless one.
"""


def ablate(
    identities: int = 20,
    frames: int = 16,
    distractors: int = 80,
    edits: str = CATEGORIES,
    steps: int = 20,
    guidance: float = 4.0,
    strength: float = 0.75,
    json: Path | None = None,
    out: Path = Path("runs/ablate"),
    seed: int = 0,
    device: str | None = None,
) -> None:
    """Measure what each part of the method contributes, on the miniature.

    Args:
        identities: Held-out people, one edited clip each.
        frames: Frames of each clip.
        distractors: Further held-out people in the gallery of originals.
        edits: Categories separated by commas, given to people in rotation.
        steps: DDIM steps.
        guidance: Classifier-free guidance scale.
        strength: Fraction of the inversion that is undone; the default is that of `keyface edit`.
        json: File for the rows, a list with one object a variant.
        out: Folder for the picture of the edits and the figures of each clip.
        seed: Of the clips and of the edits.
        device: Where to edit, such as cuda or cpu.
    """
    import torch
    from tqdm import tqdm

    from keyface.commands._ablation import Ablation, variants
    from keyface.commands._report import table, write_json
    from keyface.commands._scoring import Networks
    from keyface.miniature.trials import other_clips, trials
    from keyface.pictures import save_png
    from keyface.plugins import edits as registry

    categories = [registry[name.strip()] for name in edits.split(",")]
    networks = Networks.miniature(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    size = networks.backbone.image_size
    print(f"{identities} held-out identities, {frames} frames at {size} px, {steps} steps, seed {seed}")
    ablation = Ablation(networks, variants(steps, guidance, seed, strength))
    for trial in tqdm(trials(categories, identities, frames, size, seed), total=identities, unit="identity"):
        ablation.add(trial)
    for identity, clip in other_clips(distractors, frames, size, seed):
        ablation.add_to_gallery(identity, clip)
    target = json if json is not None else out / "ablation.json"
    write_json(target, ablation.rows())
    write_json(out / "clips.json", ablation.clips)
    save_png(ablation.sheet(), out / "sheet.png")
    print(f"\n{table(ablation.rows(controls=True))}\n\n{READING}")
    print(f"written: {target}, {out / 'clips.json'}, {out / 'sheet.png'}")
