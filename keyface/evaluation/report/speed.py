"""How long editing took (the paper's Table 2): as written beside keyface's edits, and from a benchmark."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.untrusted import UntrustedError, is_finite_number, read_json, read_json_object

_MAX_BYTES = 2**22


def measured_speed(rows: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return the seconds of every row whose outputs say them, as those of `--ours` do.

    Args:
        rows: All rows.

    Returns:
        `method`, `n` clips, `frames` of them together, `seconds_per_frame`, `frames_per_second`. The times
        are the editing machine's, with whatever else it was doing: a benchmark measures properly.
    """
    found = []
    for row in rows:
        times = [(seconds, clip.frames) for clip in row.clips.edited if (seconds := _seconds(row, clip))]
        if times:
            total, frames = sum(seconds for seconds, _ in times), sum(count for _, count in times)
            found.append(
                {
                    "method": row.name,
                    "n": len(times),
                    "frames": frames,
                    "seconds_per_frame": total / frames,
                    "frames_per_second": frames / total,
                }
            )
    return found


def read_benchmark(path: Path) -> list[dict[str, Any]]:
    """Read a benchmark's table: a JSON list of flat objects, shown as it is.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another form.
    """
    content = read_json(path, missing="no such benchmark", limit=_MAX_BYTES)
    if not isinstance(content, list) or not all(isinstance(row, dict) and row for row in content):
        raise ValueError(f"{path}: a list of objects, one a row, is needed")
    for row in content:
        if not all(isinstance(value, str | int | float | None) for value in row.values()):
            raise ValueError(f"{path}: the values of a row must be text or numbers")
    return content


def _seconds(row: Candidate, clip: ClipSpec) -> float:
    """Return what editing the clip took, without encoding the mp4; 0 where nobody wrote it down."""
    video = row.video_of(clip) if row.method is not None else None
    sidecar = video.with_suffix(".json") if video is not None else None
    if sidecar is None or not sidecar.is_file():
        return 0.0
    try:
        seconds = read_json_object(sidecar, allow_nan=True).get("seconds")
    except UntrustedError:
        return 0.0
    parts = seconds.values() if isinstance(seconds, dict) else ()
    return float(sum(part for part in parts if is_finite_number(part)))
