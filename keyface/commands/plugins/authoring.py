"""`keyface plugins new` and `keyface plugins try`: for authors of edit categories."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from keyface.commands.console import print_json

if TYPE_CHECKING:
    from torch import Tensor

    from keyface.authoring.faces import Measured
    from keyface.authoring.search import Attempt
    from keyface.models.judges import Judges
    from keyface.plugins import Category


def new(
    name: str,
    output: Path | None = None,
    targets: str = "",
    source: str = "",
    attribute: str = "",
    regions: str = "",
) -> None:
    """Write an installable package with a category of your own: pyproject, category, tests, README, CI.

    Args:
        name: Of the category: lower case, digits, -.
        output: Folder to write; keyface-NAME here if not given.
        targets: Phrases for the face after the edit, separated by commas; the name if not given.
        source: The phrase for the face before it; "no NAME" if not given.
        attribute: The label that tells them apart, such as CelebA's Rosy_Cheeks; a label of its own if not
            given.
        regions: CelebAMask-HQ classes that may change, separated by commas; the whole picture if not given.
    """
    from keyface.authoring.package import Draft, write_package

    draft = Draft(name, _items(targets), source.strip(), attribute.strip(), _items(regions))
    folder = Path(f"keyface-{name}") if output is None else output
    for path in write_package(draft, folder):
        print(path)
    # Without ./ pip would look for a package of that name in its index, which may be a stranger's.
    place = folder if folder.is_absolute() else f"./{folder}"
    print(f"\nnext: pip install {place} && keyface plugins show {name}, then pytest {folder}")


def try_category(
    name: str,
    categories: Path | None = None,
    weights: str = "miniature",
    identity: Path | None = None,
    direction: Path | None = None,
    photos: list[str] | None = None,
    source: str | None = None,
    faces: int = 4,
    frames: int = 2,
    tune: bool = False,
    steps: int | None = None,
    judges: str | None = None,
    seed: int = 0,
    output: Path | None = None,
    device: str | None = None,
    json: bool = False,
) -> None:
    """Edit a few faces with a category, and write a sheet of them before and after.

    With the miniature, faces are rendered of people who lack the edit; other weights need --photos, of which
    the middle square is edited.

    Args:
        name: The category.
        categories: YAML file with edit categories of your own, which may hold it.
        weights: A backbone, as of keyface edit.
        identity: Folder of ε1, as of keyface edit.
        direction: Folder of ε2, likewise.
        photos: Photos or videos to edit instead of rendered faces; may be given several times.
        source: What the photos show, in words; from a captioner if not given.
        faces: How many people are rendered.
        frames: Frames of each of them.
        tune: Look for strength, guidance and injection by some ten edits of each face, and print the lines to
            paste.
        steps: Denoising steps; as the weights' edit.yaml says if not given.
        judges: package.module:function that gives judges of your own, as of keyface evaluate; if not given,
            the miniature's for rendered faces, and the category's own judge.
        seed: Of the rendered clips and of the keyframes.
        output: Picture to write; try-NAME.png if not given.
        device: Where to compute, such as cuda or cpu.
        json: Print all attempts as JSON, and nothing else on stdout.

    Raises:
        ValueError: The request does not fit together, or --tune has nothing to go by.
    """
    from keyface.authoring.faces import edit_face, measure, photographed_faces, rendered_faces
    from keyface.authoring.search import attempts
    from keyface.editing.settings import given_settings
    from keyface.models.backbones import MINIATURE
    from keyface.pictures import draw_before_after, save_png
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.planning.prompts import warn_of_prompts
    from keyface.plugins import edits
    from keyface.progress import say

    path = Path(f"try-{name}.png") if output is None else output
    if path.suffix.lower() != ".png":
        raise ValueError(f"-o/--output {path}: write to a .png file")
    category = (edits if categories is None else edits.with_yaml(categories))[name]
    if photos is None and weights != MINIATURE:
        raise ValueError(
            f"--weights {weights} edits photos: give some by --photos; the miniature's are rendered"
        )
    given = given_settings({}, steps=steps, seed=seed)
    judging = _judges(judges, photos is None)
    if tune and category.judge is None and judging.classifier is None and judging.image_text is None:
        raise ValueError(f"--tune needs to know a success: give {name!r} a judge, or judges by --judges")
    pipe = FaceEditPipeline.from_pretrained(weights, identity, direction, device, say=say)
    if photos is not None:
        shown = photographed_faces(pipe, category, [Path(photo) for photo in photos], source)
    else:
        shown = rendered_faces(category, faces, frames, pipe.backbone.image_size, seed)
    for prompts in dict.fromkeys(face.prompts for face in shown):
        warn_of_prompts(prompts, pipe.backbone.tokenizer)
    edited: dict[int, list[Tensor]] = {}
    tried: list[Attempt] = []

    def worth(each: Category) -> Measured:
        settings = pipe.settings_for([each]).with_values(given)
        results = [edit_face(pipe, face, settings) for face in shown]
        edited[len(edited)] = results
        return measure(each, shown, results, judging)

    mine = category.for_family(pipe.backbone.family)
    for attempt in attempts(mine, worth):
        tried.append(attempt)
        say(_line(attempt))
        if not tune:
            break
    best = max(range(len(tried)), key=lambda index: tried[index].measured.score)
    rows = [(face.name, face.frames, result) for face, result in zip(shown, edited[best], strict=True)]
    save_png(draw_before_after(rows), path)
    if json:
        print_json([{**asdict(attempt), "best": attempt is tried[best]} for attempt in tried])
    conclude(tried[0], tried[best], pipe.backbone.family, path, tune)


def conclude(first: Attempt, best: Attempt, family: str | None, path: Path, tuned: bool) -> None:
    """Print where the sheet is and, after a search, the lines to paste."""
    from keyface.authoring.search import lines_to_paste
    from keyface.progress import say

    say(f"wrote {path}")
    if not tuned:
        say("next: the same with --tune looks for strength, guidance and injection")
        return
    if best is first:
        say("no other amounts were better than the category's own; there is nothing to paste")
        return
    python, yaml = lines_to_paste(best.amounts, family)
    say(f"a guess from a few faces; paste into the category\n    {python}\nor into YAML\n    {yaml}")


def _line(attempt: Attempt) -> str:
    amounts = ", ".join(f"{name} {value:g}" for name, value in attempt.amounts.items())
    found = attempt.measured
    said = [f"success {found.success:.2f}"] if found.success is not None else []
    said += [f"distance {found.distance:.2f}"] if found.distance is not None else []
    return f"{amounts}: {', '.join([*said, f'change {found.change:.3f}'])}"


def _judges(place: str | None, rendered: bool) -> Judges:
    from keyface.models.judges import Judges

    if place is not None:
        return Judges.load(place)
    return Judges.miniature() if rendered else Judges()


def _items(text: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in text.split(",") if item.strip())
