"""Making a study: everything is checked first, then its folder appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from secrets import token_hex
from typing import Any

import keyface
from keyface.files import require_folder, require_space, sha256, temporary_beside, write_text
from keyface.progress import each
from keyface.study import stimuli
from keyface.study.design import booklets
from keyface.study.folder import PAGE, Study, page_text, study_digest
from keyface.study.material import Material
from keyface.study.protocol import Protocol
from keyface.study.stimuli import Seen


def make_study(protocol: Protocol, material: Sequence[Material], output: Path) -> Study:
    """Write a study's folder.

    Args:
        protocol: What is asked.
        material: The videos of its clips, in their order.
        output: The folder; it must not exist, or be empty.

    Raises:
        ValueError: It has something in it, there is no room, or a video is damaged.
    """
    _require_new(output)
    files_in = [seen.path for one in material for seen in (one.source, *one.edits.values())]
    require_space(output.parent, 2 * sum(path.stat().st_size for path in files_in), "the study")
    with _whole(output) as folder:
        media = folder / "public" / "media"
        media.mkdir(parents=True)
        trials = _write_media(protocol, material, media)
        names = list(material[0].edits)
        order = sorted(range(len(trials)), key=lambda trial: trials[trial][0]["shown"])
        place = {trial: number for number, trial in enumerate(order)}
        counted = len(material) * len(names) + 2 * protocol.design.checks
        orders = booklets(
            len(material),
            len(names),
            2 * protocol.design.checks,
            protocol.design.raters,
            protocol.design.seed,
        )
        plan: dict[str, Any] = {
            "title": protocol.design.title,
            "trials": [trials[trial][0] for trial in order],
            "practice": [place[trial] for trial in range(counted, len(trials))],
            "booklets": [[place[trial] for trial in booklet] for booklet in orders],
        }
        key = {"methods": names, "trials": [trials[trial][1] for trial in order]}
        rule = asdict(protocol.design.exclusion)
        digest = study_digest(plan, key, rule)
        about = {
            "study": digest,
            "title": protocol.design.title,
            "exclusion": rule,
            "exclusion_in_words": protocol.design.exclusion.words,
            "seed": protocol.design.seed,
            "clips": [{"id": one.clip.id, "text": one.clip.text, "encoded": one.encoded} for one in material],
            "keyface": keyface.__version__,
        }
        Study.write(folder, about, key, plan)
        for name in PAGE:
            write_text(folder / "public" / name, page_text(name))
        now = time.time()
        for path in media.iterdir():
            os.utime(
                path, (now, now)
            )  # servers tell it, and the order in which they were made is the methods'
    return Study.read(output)


def _write_media(
    protocol: Protocol, material: Sequence[Material], media: Path
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Write all videos under random names; return what the page and what the key say of each trial.

    Trials come in the order of `booklets`, and then those to practise on. Every file has a name of its own,
    also where two are the same, so that names tell nothing.
    """
    design = protocol.design
    random = Random(f"{design.seed}/made")
    made = [(kind, random.choice(material)) for kind in ("unedited", "broken") for _ in range(design.checks)]
    made += [("practice", one) for one in _some(random, material, design.practice)]
    writers = {"broken": stimuli.break_clip, "practice": stimuli.soften_clip}
    sources: dict[str, str] = {}

    def put(seen: Seen, encoded: bool, write: Callable[[Path, Path], None] | None = None) -> str:
        suffix = ".webm" if seen.path.suffix.lower() == ".webm" and not encoded and write is None else ".mp4"
        name = f"{token_hex(16)}{suffix}"
        (write or (stimuli.encode if encoded else stimuli.copy))(seen.path, media / name)
        return f"media/{name}"

    def source_of(one: Material) -> str:
        if one.clip.id not in sources:
            sources[one.clip.id] = put(one.source, one.encoded)
        return sources[one.clip.id]

    edits = [(one, name) for one in material for name in one.edits]
    trials = []
    for one, method in each(edits, "write videos"):
        shown = put(one.edits[method], one.encoded)
        public = {"source": source_of(one), "shown": shown, "prompt": one.clip.text}
        original = one.edits[method].path
        trials.append(
            (
                public,
                {"clip": one.clip.id, "method": method, "file": str(original), "sha256": sha256(original)},
            )
        )
    for kind, one in each(made, "make checks and practice"):
        shown = put(one.source, one.encoded, writers.get(kind))
        public = {"source": source_of(one), "shown": shown, "prompt": one.clip.text}
        trials.append((public, {"clip": one.clip.id, "made": kind}))
    return trials


def _some(random: Random, material: Sequence[Material], count: int) -> Iterator[Material]:
    """Yield clips at random; none comes again before all have come."""
    left: list[Material] = []
    for _ in range(count):
        left = left or random.sample(list(material), len(material))
        yield left.pop()


def _require_new(output: Path) -> None:
    require_folder(output)
    if output.exists() and any(output.iterdir()):
        raise ValueError(
            f"-o/--output {output}: has something in it; a study needs a folder of its own, so that answers "
            "to another one are never lost"
        )


@contextmanager
def _whole(output: Path) -> Iterator[Path]:
    """Give a temporary folder that takes the output's name when the block ends, and goes if it fails."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(output)
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
