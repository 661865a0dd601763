"""Writing one picture as videos are: whole or not at all, with what it is and what its source says."""

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.sax.saxutils import escape

from PIL import ExifTags, Image, PngImagePlugin
from torch import Tensor

from keyface.files import Publish, replacing
from keyface.pictures import to_image
from keyface.video.formats import FORMATS, STILL_SUFFIXES, is_still, require_container
from keyface.video.picture_track import square_size
from keyface.video.reader import VideoReader

_EDITED_BY_A_MODEL = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
"""IPTC's term for a picture of which a part was made by a generative model."""

_XMP = """<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\
</rdf:RDF></x:xmpmeta>"""

_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_QUALITY: Mapping[str, dict[str, Any]] = {
    "PNG": {},
    "JPEG": {"quality": 95, "subsampling": 0},
    "WEBP": {"quality": 95},
}


class StillWriter:
    """Writes one frame as a picture; a context manager whose file appears only when all went well.

    Args:
        path: The target: .png, .jpg, .jpeg or .webp.
        like: A source of one frame. Of a photograph EXIF, XMP and colour profile are taken over; the turn
            that its EXIF asks for is not, for frames are upright.
        metadata: What the picture is: "comment", "title". The title of the source is kept.
        finish: What gives the finished file its name; None is `keyface.files.publish`.

    Raises:
        ValueError: The suffix is unknown, or the source has several frames.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        like: VideoReader | None = None,
        metadata: Mapping[str, str] | None = None,
        finish: Publish | None = None,
    ) -> None:
        self.path = Path(path)
        require_container(self.path, still=True)
        if not is_still(self.path):
            raise ValueError(f"{self.path}: write a picture to one of {', '.join(STILL_SUFFIXES)}")
        if like is not None and len(like) != 1:
            raise ValueError(
                f"{self.path}: a picture takes one frame, {like.path.name} has {len(like)}; write to one of "
                f"{', '.join(FORMATS)}"
            )
        self.like = like
        self.metadata = dict(metadata or {})
        self.frames = 0
        self._publish = finish
        self._image: Image.Image | None = None

    def __enter__(self) -> Self:
        """Return the writer; nothing is written before its end."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the file, unless there was an error."""
        if kind is None:
            self._save()

    def write(self, frames: Tensor) -> None:
        """Take the frame.

        Args:
            frames: (1, 3, H, W) RGB, floats in [-1, 1] (clamped) or uint8.

        Raises:
            ValueError: There are several, here or in all calls.
        """
        self.frames += len(frames)
        if self.frames > 1:
            raise ValueError(f"{self.path}: a picture takes one frame; write to one of {', '.join(FORMATS)}")
        self._image = to_image(frames[0])
        if self.like is not None and self.like.pixel_aspect != 1:  # pictures have square pixels
            height, width = square_size(frames.shape[2], frames.shape[3], self.like.pixel_aspect)
            self._image = self._image.resize((width, height), Image.Resampling.LANCZOS)

    def _save(self) -> None:
        if self._image is None:
            raise ValueError(f"{self.path}: no frame was written")
        kind = _FORMATS[self.path.suffix.lower()]
        told: dict[str, Any] = {}
        exif, xmp = Image.Exif(), _XMP.encode()
        if self.like is not None and is_still(self.like.path):
            with Image.open(self.like.path) as source:
                exif, xmp = source.getexif(), _packet(source.info) or xmp
                profile = source.info.get("icc_profile")
                # The reader makes all pictures RGB; a profile for ink or gray would then be wrong.
                told = {"icc_profile": profile} if profile and profile[16:20] == b"RGB " else {}
        comment, title = self.metadata.get("comment"), self.metadata.get("title")
        exif.pop(ExifTags.Base.Orientation, None)
        if comment:
            exif.setdefault(ExifTags.Base.ImageDescription, title or comment)
            notes = exif.get_ifd(ExifTags.IFD.Exif)
            notes[ExifTags.Base.UserComment] = b"UNICODE\0" + comment.encode("utf-16-be")
            xmp = _marked(xmp, comment)
        if kind == "PNG":
            text = PngImagePlugin.PngInfo()
            for name, value in (("Title", title), ("Comment", comment)):
                if value:
                    text.add_itxt(name, value)
            text.add_itxt("XML:com.adobe.xmp", xmp.decode())
            told["pnginfo"] = text
        else:
            told["xmp"] = xmp
        with replacing(self.path, self._publish) as temporary:
            self._image.save(temporary, format=kind, exif=exif.tobytes(), **told, **_QUALITY[kind])


def _packet(info: Mapping[Any, Any]) -> bytes | None:
    """Return a picture's XMP packet; PNG has it as a text."""
    found = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return found.encode() if isinstance(found, str) else found


def _marked(xmp: bytes, comment: str) -> bytes:
    """Return an XMP packet that says what the picture is, beside what it said."""
    description = (
        ""
        if b"dc:description" in xmp
        else f'<dc:description><rdf:Alt><rdf:li xml:lang="x-default">{escape(comment)}</rdf:li></rdf:Alt>'
        "</dc:description>"
    )
    mark = (
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">'
        f"<Iptc4xmpExt:DigitalSourceType>{_EDITED_BY_A_MODEL}</Iptc4xmpExt:DigitalSourceType>"
        f"{description}</rdf:Description>"
    )
    head, end, tail = xmp.rpartition(b"</rdf:RDF>")
    return head + mark.encode() + end + tail if end else _marked(_XMP.encode(), comment)
