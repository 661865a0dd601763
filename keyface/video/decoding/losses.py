"""What is lost when a file's pictures become upright 8-bit RGB of one size."""

from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from keyface.video.colour import HIGH_DYNAMIC_RANGE, Appearance


def losses(stream: VideoStream, frame: VideoFrame, appearance: Appearance) -> list[str]:
    """Return what converting a stream to 8-bit RGB loses, in words, by its first frame."""
    components = frame.format.components
    found = []
    if appearance.bits > 8:
        found.append(f"{appearance.bits}-bit colour reduced to 8 bits")
    if not appearance.knows_matrix:
        found.append(f"colours of matrix {appearance.colorspace} read as BT.709's")
    if appearance.transfer in HIGH_DYNAMIC_RANGE:
        found.append("high dynamic range kept without tone mapping")
    # VP8 and VP9 keep transparency in a second stream within the packets, which FFmpeg's decoder leaves out.
    tags = {name.lower(): value for name, value in stream.metadata.items()}
    if any(component.is_alpha for component in components) or tags.get("alpha_mode") == "1":
        found.append("transparency dropped")
    if len(components) == 1 and not frame.format.has_palette:
        found.append("grayscale read as RGB")
    return found
