"""How much of the disk an edit may take, compared with what is free before anything slow."""

from keyface.files import require_space
from keyface.pipeline.request.request import VideoRequest
from keyface.video import VideoReader


def check_space(request: VideoRequest, reader: VideoReader, temporary: int = 0) -> None:
    """Raise if the disk cannot hold the output, estimated at 4 bits a pixel (crf 16 stays well below).

    Args:
        request: Says where it goes, and what is written beside it.
        reader: The input.
        temporary: Bytes of temporary files.

    Raises:
        ValueError: Too little is free.
    """
    assert request.output is not None, "a preview writes no video"
    # Frames written for each one read.
    sides = 1 + 2 * (request.compare is not None) + (request.mask_video is not None)
    copied = 1 + (request.compare is not None)  # while a file is signed, there are two of it
    needed = len(reader) * reader.height * reader.width * (sides + copied) // 2 + 2**20 + temporary
    require_space(request.output.resolve().parent, needed, "this edit")
