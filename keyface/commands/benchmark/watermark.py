"""`keyface benchmark watermark`: whether the watermark is found again, on clips of known truth."""

from __future__ import annotations

from pathlib import Path

READING = """\
found: clips whose score is at least {threshold:g}. Scores are in standard deviations of what clips without a
mark give. PSNR of what is added, where it is added: {psnr}. Writing takes {milliseconds} ms a frame.
"""


def watermark(
    clips: int = 12,
    unmarked: int = 24,
    size: int = 512,
    seconds: float = 3.0,
    edits: str = "glasses,smile,gray-hair,beard,old,blond-hair",
    moving: bool = False,
    videos: list[str] | None = None,
    json: bool = False,
    output: Path | None = None,
) -> None:
    """Measure whether the watermark is found in what became of marked clips.

    Rendered people are edited by rendering them anew, composed and marked as `keyface edit` does, written,
    and then encoded again, halved, cropped and thinned out, each alone and all together. Clips without a mark
    tell of false alarms: half of them are such edits, half photographs (of scikit-image, where it is
    installed), patterns and noise.

    Args:
        clips: How many clips are marked.
        unmarked: How many are not.
        size: Side of the clips in pixels.
        seconds: Length of the clips.
        edits: Edit categories separated by commas, given out in turn.
        moving: Render every frame; otherwise one, before which a camera moves, in a tenth of the time.
        videos: Marked videos that `keyface edit` wrote, measured in place of rendered clips; may be repeated.
        json: Print the rows as JSON, and nothing else on stdout.
        output: Also write these rows to this file.

    Raises:
        ValueError: The request does not fit together.
    """
    import tempfile

    from keyface.benchmark.watermark import Marked, row, unmarked_scores
    from keyface.benchmark.watermark_clips import FPS, edited_faces, unmarked_pictures
    from keyface.commands.console import tell_rows
    from keyface.marks.watermark_search import THRESHOLD
    from keyface.plugins import edits as installed
    from keyface.progress import each

    if clips < 0 or unmarked < 0 or not 64 <= size <= 4096 or not 1 <= seconds <= 60:
        raise ValueError("--clips and --unmarked are from 0 on, --size is 64 to 4096, --seconds 1 to 60")
    categories = [installed[name.strip()] for name in edits.split(",")]
    for video in videos or ():
        if not Path(video).is_file():
            raise FileNotFoundError(f"--videos {video}: no such file")
    frames, marked, scores = round(seconds * FPS), Marked(), []
    with tempfile.TemporaryDirectory(prefix="keyface-benchmark-") as name:
        folder = Path(name)
        if videos:
            for number, video in enumerate(each(videos, "marked")):
                marked.attack(Path(video), number, folder)
        else:
            faces = edited_faces(categories, clips, frames, size, moving)
            for number, clip in enumerate(each(faces, "marked", total=clips)):
                marked.add(clip, number, folder)
        halves = (
            edited_faces(categories, unmarked // 2, frames, size, moving),
            unmarked_pictures(unmarked - unmarked // 2, frames, size),
        )
        for half, count in zip(halves, (unmarked // 2, unmarked - unmarked // 2), strict=True):
            scores += list(each(unmarked_scores(half, folder), "not marked", total=count))
    rows = marked.rows() + ([row("not marked", scores)] if scores else [])
    psnr = f"{min(marked.psnr):.1f} to {max(marked.psnr):.1f} dB" if marked.psnr else "not measured"
    pace = sorted(marked.milliseconds)[len(marked.milliseconds) // 2] if marked.milliseconds else None
    said = READING.format(threshold=THRESHOLD, psnr=psnr, milliseconds="-" if pace is None else f"{pace:.1f}")
    tell_rows(rows, said, output, json=json)
