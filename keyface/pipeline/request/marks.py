"""What a request says of the marks of its output: the visible sign, the watermark, the signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from keyface.pipeline.request.request import VideoRequest

_MOST_LETTERS = 200


def require_marks(request: VideoRequest) -> None:
    """Refuse marks that cannot be made, and marks of a preview, which is no edit.

    Raises:
        ValueError: Such marks are asked for, or the watermark is switched off without a reason.
        FileNotFoundError: There is no such key.
    """
    if request.preview is None:
        _ = request.identity, request.visible_label
        if request.no_watermark is not None:
            _require_reason(request.no_watermark)
        return
    options = {
        "--label": request.label,
        "--no-watermark": request.no_watermark,
        "--sign": request.sign,
    }
    for option, given in options.items():
        if given is not None:
            raise ValueError(f"--preview writes no edit, so {option} has no say; leave it out")


def _require_reason(reason: str) -> None:
    text = reason.strip()
    if not (text.isprintable() and 0 < len(text) <= _MOST_LETTERS):
        raise ValueError(
            f"--no-watermark {reason!r}: takes the reason, which goes into the record, in one line of 1 to "
            f'{_MOST_LETTERS} letters, such as "for measuring flicker"'
        )
