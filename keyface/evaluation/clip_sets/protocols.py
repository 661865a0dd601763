"""Which clip set `keyface evaluate` scores: one that is there, or one that is made now by a protocol."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyface.configuration import merged
from keyface.evaluation.clip_sets.celebv import TABLE_1, TABLE_3, choose_celebv_hq
from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.rendered import RenderedProtocol, render_clip_set
from keyface.evaluation.files import find_config
from keyface.files import write_text
from keyface.progress import say
from keyface.untrusted import read_yaml

MINIATURE, CELEBV = "miniature", "celebv-hq"

FOLDER = "clips"
"""Where a clip set is made, below the output."""

INPUTS = "inputs"
"""Where the frames that are scored are written as files for other methods, below the clip set."""


def open_clips(
    protocol: str, videos: Path | None, annotations: Path | None, options: Mapping[str, Any], output: Path
) -> tuple[ClipSet, Path | None]:
    """Return the clip set, and where it was written if it was made now.

    Args:
        protocol: A protocol.json, `miniature`, `celebv-hq`, or a YAML file with the options of one.
        videos: Where the videos are.
        annotations: CelebV-HQ's, where they are at hand.
        options: Fields of the protocol for a clip set that is made; they win over the YAML file's. With
            `long_clips` CelebV-HQ's are those of the paper's Table 3. Of a protocol.json `edits` are those
            that are scored.
        output: The evaluation's folder.

    Raises:
        ValueError: The protocol is unknown, or the options do not fit it.
        FileNotFoundError: A file or the videos are missing.
    """
    if protocol.endswith(".json"):
        said = sorted(options.keys() - {"seed", "edits"})
        if said:
            raise ValueError(
                f"{protocol} is a clip set already: leave out {', '.join(said)}, which are for making one"
            )
        clips = ClipSet.read(Path(protocol), videos)
        return clips.of_edits(options["edits"]) if "edits" in options else clips, None
    name, wanted = read_protocol(protocol)
    wanted, where = {**wanted, **options}, f"--protocol {protocol}"
    folder = output / FOLDER
    if name == MINIATURE:
        if videos is not None:
            raise ValueError("--videos has no meaning with the miniature, which renders its own")
        clips = render_clip_set(folder, merged(RenderedProtocol(), wanted, where))
    elif name == CELEBV:
        if videos is None:
            raise ValueError(f"--protocol {CELEBV} needs --videos, the folder of CelebV-HQ's clips")
        table = TABLE_3 if wanted.pop("long_clips", False) else TABLE_1
        clips, left_out = choose_celebv_hq(videos, merged(table, wanted, where), annotations)
        clips.write(folder / "protocol.json")
        clips.write_originals(folder / INPUTS)
        if left_out:
            write_text(folder / "left_out.txt", "\n".join(left_out) + "\n")
            say(f"{len(left_out)} videos were left out: {folder / 'left_out.txt'} says why")
    else:
        raise ValueError(f"{where}: give the path of a protocol.json, or {MINIATURE} or {CELEBV} to make one")
    return clips, folder / "protocol.json"


def read_protocol(protocol: str) -> tuple[str, dict[str, Any]]:
    """Return a protocol's name, and its options where it is a YAML file such as configs/evaluate/goals.yaml.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no mapping, or lacks `protocol`.
    """
    file = find_config(protocol)
    if file.suffix not in (".yaml", ".yml"):
        return protocol, {}
    options = read_yaml(file)
    name = options.pop("protocol", None)
    if not isinstance(name, str):
        raise ValueError(f"{file}: a mapping with `protocol` ({MINIATURE} or {CELEBV}) is needed")
    return name, options


def is_rendered(clips: ClipSet) -> bool:
    """Tell whether the miniature knows these faces: it rendered them."""
    return (clips.folder / "truth").is_dir()


def next_step(path: Path, clips: ClipSet) -> str:
    """Say what to do with a clip set that was just made."""
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
