"""Which clip set `keyface evaluate` scores: one that is there, or one that is made now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from keyface.evaluation.files import read_yaml
from keyface.pipeline.record import say

if TYPE_CHECKING:
    from keyface.evaluation.clip_sets.clip_set import ClipSet

MINIATURE, CELEBV = "miniature", "celebv-hq"
Recipe = TypeVar("Recipe")

FOLDER = "clips"
"""Where a clip set is made, below the output."""

INPUTS = "inputs"
"""Where the frames that are scored are written as files for other methods, below the clip set."""


@dataclass(frozen=True)
class Options:
    """How to make a clip set; None is as the protocol says.

    Attributes:
        edits: Categories separated by commas.
        edited: How many clips are edited.
        gallery: How many further originals there are.
        frames: Frames a clip.
        long_clips: The paper's Table 3 instead of Table 1.
        seed: Of the choice.
    """

    edits: str | None
    edited: int | None
    gallery: int | None
    frames: int | None
    long_clips: bool
    seed: int

    def given(self) -> dict[str, Any]:
        """What was said, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None and value is not False}


def open_clips(
    protocol: str, videos: Path | None, annotations: Path | None, options: Options, output: Path
) -> tuple[ClipSet, Path | None]:
    """The clip set, and where it was written if it was made now.

    Args:
        protocol: A protocol.json, `miniature`, `celebv-hq`, or a YAML file with the options of one.
        videos: Where the videos are.
        annotations: CelebV-HQ's, where they are at hand.
        options: For a clip set that is made; they win over the YAML file's.
        output: The evaluation's folder.

    Raises:
        ValueError: The protocol is unknown, or the options do not fit it.
        FileNotFoundError: A file or the videos are missing.
    """
    from keyface.evaluation.clip_sets.clip_set import ClipSet

    if protocol.endswith(".json"):
        said = sorted(set(options.given()) - {"seed"})
        if said:
            raise ValueError(
                f"{protocol} is a clip set already: leave out {', '.join(said)}, which are for making one"
            )
        return ClipSet.read(Path(protocol), videos), None
    name = protocol
    wanted: Mapping[str, Any] = {}
    recipe = found_config(Path(protocol))
    if recipe.suffix in (".yaml", ".yml"):
        name, wanted = read_recipe(recipe)
    wanted = {**wanted, **options.given()}
    if name == MINIATURE:
        return make_miniature(wanted, videos, output / FOLDER)
    if name == CELEBV:
        return make_celebv(wanted, videos, annotations, output / FOLDER)
    raise ValueError(
        f"--protocol {name}: give the path of a protocol.json, or {MINIATURE} or {CELEBV} to make one"
    )


def found_config(path: Path) -> Path:
    """A file, or the one of that name that ships with keyface, as "ablation" in configs/evaluate."""
    shipped = Path(str(files("keyface.configs.evaluate"))) / f"{path.name}.yaml"
    return shipped if len(path.parts) == 1 and not path.exists() and shipped.is_file() else path


def read_recipe(path: Path) -> tuple[str, Mapping[str, Any]]:
    """Read a YAML file with `protocol` and its options, such as configs/evaluate/multi_edit.yaml.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no mapping, or lacks `protocol`.
    """
    content = read_yaml(path)
    if not isinstance(content, dict) or not isinstance(content.get("protocol"), str):
        raise ValueError(f"{path}: a mapping with `protocol` ({MINIATURE} or {CELEBV}) is needed")
    wanted = {str(name): value for name, value in content.items() if name != "protocol"}
    return content["protocol"], wanted


def make_miniature(wanted: Mapping[str, Any], videos: Path | None, folder: Path) -> tuple[ClipSet, Path]:
    """Render the miniature's clip set, or go on with it."""
    from keyface.evaluation.clip_sets.rendered import Recipe, rendered

    if videos is not None:
        raise ValueError("--videos has no meaning with the miniature, which renders its own")
    clips = rendered(folder, changed(Recipe(), MINIATURE, wanted))
    return clips, folder / "protocol.json"


def make_celebv(
    wanted: Mapping[str, Any], videos: Path | None, annotations: Path | None, folder: Path
) -> tuple[ClipSet, Path]:
    """Choose CelebV-HQ's clips and write the choice down; `long_clips` means the paper's Table 3."""
    from keyface.evaluation.clip_sets.celebv import TABLE_1, TABLE_3, celebv_hq
    from keyface.evaluation.clip_sets.inputs import write_inputs
    from keyface.files import write_text

    if videos is None:
        raise ValueError(f"--protocol {CELEBV} needs --videos, the folder of CelebV-HQ's clips")
    options = dict(wanted)
    recipe = TABLE_3 if options.pop("long_clips", False) else TABLE_1
    clips, left_out = celebv_hq(videos, changed(recipe, CELEBV, options), annotations)
    path = folder / "protocol.json"
    clips.write(path)
    write_inputs(clips, folder / INPUTS)
    if left_out:
        write_text(folder / "left_out.txt", "\n".join(left_out) + "\n")
        say(f"{len(left_out)} videos were left out: {folder / 'left_out.txt'} says why")
    return clips, path


def changed(recipe: Recipe, protocol: str, wanted: Mapping[str, Any]) -> Recipe:
    """A protocol's options with what was asked for in place; a clear word about what does not fit."""
    assert is_dataclass(recipe)
    assert not isinstance(recipe, type)
    known = {field.name: getattr(recipe, field.name) for field in fields(recipe)}
    for name, value in wanted.items():
        if name not in known:
            raise ValueError(f"{protocol} has no option {name!r}; it has {', '.join(known)}")
        if not _fits(value, known[name]):
            raise ValueError(
                f"{protocol}: {name} is {value!r}, which does not fit; its default is {known[name]!r}"
            )
    found: Recipe = replace(recipe, **wanted)
    return found


def _fits(value: object, default: object) -> bool:
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, float):
        return isinstance(value, int | float)
    return isinstance(value, str if isinstance(default, str) else int)


def is_rendered(clips: ClipSet) -> bool:
    """Whether the miniature knows these faces: it rendered them."""
    return (clips.folder / "truth").is_dir()


def next_step(path: Path, clips: ClipSet) -> str:
    """What to do with a clip set that was just made."""
    first = clips.edited[0]
    inputs = path.parent / INPUTS
    if not inputs.is_dir():
        inputs = clips.video_of(first).parent  # rendered clips are whole videos as they are
    where = "" if clips.folder.resolve() == path.parent.resolve() else f" --videos {clips.folder}"
    return (
        f"{path}: {len(clips.edited)} clips to edit, {len(clips.clips)} in the gallery. Next: edit each of "
        f"{inputs} that it lists under `edited`, such as {first.key}.mp4, to a file of the same name in a "
        f"folder DIR, all {first.frames} frames at {first.size}x{first.size}. Then: "
        f"keyface evaluate --protocol {path}{where} --method NAME=DIR. Or let keyface edit: --ours."
    )
