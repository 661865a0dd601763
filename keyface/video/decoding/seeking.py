"""Beginning to decode before a time, not at the beginning of the file."""

from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from keyface.video.container import decode


def seek_before(container: InputContainer, stream: VideoStream, path: Path, target: int) -> bool:
    """Go to a frame from which on all later ones can be decoded.

    Indices may be wrong, so the first frame that decodes there is looked at. If it comes too late, decoding
    begins at the beginning.

    Args:
        container: The opened file.
        stream: Its pictures.
        path: The file, for messages.
        target: The latest time stamp to begin at.

    Returns:
        Whether that was possible.
    """
    container.seek(target, stream=stream, backward=True)
    first = next((stamp for stamp, frame in decode(container, stream, path) if frame is not None), None)
    possible = first is not None and first <= target
    container.seek(target if possible else (stream.start_time or 0), stream=stream, backward=True)
    return possible
