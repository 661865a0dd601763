"""`keyface demo`: everything once, on the miniature: render data, train both branches, edit a video."""

from collections.abc import Callable, Sequence
from pathlib import Path

EDITS = "glasses,beard"


def demo(
    output: Path = Path("runs/demo"),
    faces: int = 256,
    fit_steps: int = 12,
    edits: str = EDITS,
    seconds: float = 3.0,
    fps: float = 25.0,
    steps: int = 20,
    seed: int = 0,
    *,
    lightning: Callable[[Sequence[str]], int],
) -> None:
    """Train both branches briefly, and edit a clip with the branches that come with keyface.

    Leaves clip.mp4, edited.mp4, compare.mp4, sheet.png and report.json, the shards and the two training runs.
    Repeating it replaces them.

    Args:
        output: Folder for everything.
        faces: Faces to render for training.
        fit_steps: Training steps of each branch; the shipped branches were trained for longer.
        edits: Categories separated by commas, all applied at once to somebody who lacks them.
        seconds: Length of the clip.
        fps: Frames a second of the clip.
        steps: DDIM steps of the edit.
        seed: Of the data, the training and the clip.
        lightning: Runs a `lightning` command line and returns its exit status.
    """
    from keyface.commands import edit, shards
    from keyface.commands._demo import Stages, fit_words, measure, show, write_clip_of
    from keyface.commands.console import write_json
    from keyface.miniature import zoo
    from keyface.plugins import edits as registry

    stages = Stages(5)
    categories = registry.select([name.strip() for name in edits.split(",")])
    with stages("render", f"{faces} faces of the miniature into {output / 'shards'}"):
        shards.render(output / "shards", count=faces, seed=seed, samples_per_shard=max(1, faces // 4))
    for branch, symbol in (("identity", "ε1"), ("direction", "ε2")):
        with stages(f"fit {branch}", f"{symbol}, {fit_steps} steps from the base"):
            if lightning(fit_words(branch, output, fit_steps, seed)) != 0:
                raise ValueError(f"the fit of the {branch} branch failed; its message is above")
    with stages(
        "edit", f"{seconds:g} s of somebody who was never trained on, with the shipped ε1 and ε2: {edits}"
    ):
        trial = write_clip_of(
            categories, output / "clip.mp4", round(seconds * fps), zoo.backbone().image_size, seed, fps
        )
        edit.edit(
            output / "clip.mp4",
            output / "edited.mp4",
            edits=edits,
            compare=output / "compare.mp4",
            steps=steps,
            overwrite=True,
        )
    with stages("measure", "with networks that neither branch was trained against"):
        report = measure(trial, output, zoo.recognizers(), zoo.attribute_classifier())
    report |= {"seconds": sum(stages.seconds.values()), "seconds_by_stage": stages.seconds}
    write_json(output / "report.json", report)
    show(report, output)
