"""The paper's clips from a CelebV-HQ folder: which are edited, which fill the gallery, all decided by a seed.

CelebV-HQ does not say who is in a clip. A clip's identity is therefore its own, so that a query must find its
own original; clips of the YouTube videos that chosen clips come from are left out, since nobody knows whether
finding one of them would be right or wrong.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

from keyface.evaluation.clip_sets.celebv_choice import Choice
from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.files import sha256

NAME = "celebv-hq"
"""The protocol's name."""


@dataclass(frozen=True)
class CelebvProtocol:
    """What decides a set of CelebV-HQ clips; the defaults are those of the paper's Table 1.

    Attributes:
        edits: Categories separated by commas, given to clips in rotation, several for one clip joined by "+";
            the paper does not list its own.
        chosen: Clips of full length, all from different YouTube videos.
        edited: How many of them are edited, the same ones by every method.
        seconds: Length of a clip; clips of the rest that are shorter are taken whole.
        fps: Frames a second.
        size: Rows and columns.
        rest: The rest of the folder joins the gallery.
        seed: Decides the choice, which does not depend on the order of files.
    """

    edits: str = "beard,glasses,old,smile,blond-hair"
    chosen: int = 50
    edited: int = 25
    seconds: float = 4.0
    fps: float = 10.0
    size: int = 512
    rest: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.edited <= self.chosen:
            raise ValueError(
                f"{self.edited} edited clips of {self.chosen} chosen ones: at least 1 and at most all, please"
            )


TABLE_1 = CelebvProtocol()
"""50 clips of 4 s at 10 fps and 512², 25 of them edited, the rest of the folder as the gallery."""

TABLE_3 = CelebvProtocol(chosen=20, edited=20, seconds=10.0, rest=False)
"""Temporal consistency: 20 clips of ten seconds."""


def choose_celebv_hq(
    videos: Path, protocol: CelebvProtocol = TABLE_1, info: Path | None = None
) -> tuple[ClipSet, tuple[str, ...]]:
    """Choose clips from a folder; write the set wherever it suits, its videos stay where they are.

    Args:
        videos: CelebV-HQ's clips, as its tools cut them; sub-folders are searched too.
        protocol: What to choose.
        info: `celebvhq_info.json`; with it captions say more, and nobody is to get what he already has.

    Returns:
        The set, and a line for each video that was left out, with the reason.

    Raises:
        FileNotFoundError: The folder has no videos, or there are no such annotations.
        LookupError: A category is unknown, or too few clips are long enough and lack what is asked for.
        ValueError: A number is out of range, or the annotations are not CelebV-HQ's.
    """
    frames = round(protocol.seconds * protocol.fps)
    choice = Choice(videos, info, protocol.seed, frames, protocol.fps, protocol.size)
    queries = choice.queries(protocol.edits, protocol.edited)
    gallery = choice.take(protocol.chosen - protocol.edited)
    if protocol.rest:
        gallery = (*gallery, *choice.rest())
    annotations = "none" if info is None else f"sha256:{sha256(info)[:16]}"
    options = " ".join(f"{name}={value}" for name, value in asdict(protocol).items())
    made_by = (
        f"keyface.evaluation.celebv {options} videos={choice.found} left_out={len(choice.notes)} "
        f"annotations={annotations}"
    )
    return ClipSet(NAME, protocol.seed, made_by, queries, gallery, videos), tuple(choice.notes)
