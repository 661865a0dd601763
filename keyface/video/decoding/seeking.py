"""Beginning to decode before a time, not at the beginning of the file."""

from pathlib import Path

from keyface.video.container import decode, open_container, video_stream


def leads_before(path: Path, target: int) -> bool:
    """Return whether a seek leads to a frame from which on all those after a time can be decoded.

    Indices may be wrong, so the first frame that decodes there is looked at.

    Args:
        path: The file.
        target: The time, in units of its stream's time base.
    """
    with open_container(path) as container:
        stream = video_stream(container, path)
        container.seek(target, stream=stream, backward=True)
        first = next((stamp for stamp, frame in decode(container, stream, path) if frame is not None), None)
    return first is not None and first <= target
