"""Kinds of files that can be written, and what each takes: codecs, sound, subtitles, attachments."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from keyface.video.encoders import Codec

_SOUND = frozenset({"aac", "mp3", "ac3", "eac3", "alac"})
_PCM = frozenset({"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"})

STILL_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
"""Pictures that can be written, where the source has one frame."""


@dataclass(frozen=True)
class Format:
    """What a kind of video file takes.

    Attributes:
        muxer: FFmpeg's name.
        video: Codecs; the first is written where none is chosen.
        audio: Codecs whose packets are copied as they are.
        audio_encoder: Writes all other sound.
        subtitles: Codecs of subtitles that are copied as they are.
        subtitle_encoder: Writes other subtitles that are text.
        options: FFmpeg's options of the muxer.
        attachments: Whether it takes attached files, such as the fonts of subtitles.
        keeps_aspect: Whether it says how wide a pixel is where the video's stream does not.
        old_languages: Whether it knows languages by their older codes ("ger" for "deu") alone.
    """

    muxer: str
    video: tuple[Codec, ...]
    audio: frozenset[str]
    audio_encoder: str
    subtitles: frozenset[str]
    subtitle_encoder: str
    options: Mapping[str, str] = field(default_factory=dict)
    attachments: bool = False
    keeps_aspect: bool = True
    old_languages: bool = False


_INDEX_FIRST = {"movflags": "+faststart"}
_NO_RANDOM_NUMBERS = {"fflags": "+bitexact"}
"""Matroska numbers its tracks at random otherwise, so that two files of the same frames differ."""

_MP4 = Format(
    "mp4",
    ("h264", "h265", "vp9", "av1"),
    _SOUND | {"opus", "flac"},
    "aac",
    frozenset({"mov_text"}),
    "mov_text",
    _INDEX_FIRST,
)

FORMATS: Mapping[str, Format] = {
    ".mp4": _MP4,
    ".m4v": _MP4,
    ".mov": Format(
        "mov",
        ("h264", "h265", "prores"),
        _SOUND | _PCM | {"pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be"},
        "aac",
        frozenset({"mov_text"}),
        "mov_text",
        _INDEX_FIRST,
        old_languages=True,
    ),
    ".mkv": Format(
        "matroska",
        ("h264", "h265", "vp9", "av1", "prores"),
        _SOUND | _PCM | {"opus", "flac", "vorbis", "mp2", "dts", "truehd"},
        "aac",
        frozenset({"subrip", "ass", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "dvb_subtitle"}),
        "subrip",
        _NO_RANDOM_NUMBERS,
        attachments=True,
        keeps_aspect=False,
    ),
    ".webm": Format(
        "webm",
        ("vp9", "av1"),
        frozenset({"opus", "vorbis"}),
        "libopus",
        frozenset({"webvtt"}),
        "webvtt",
        _NO_RANDOM_NUMBERS,
        keeps_aspect=False,
    ),
}


def is_still(path: Path) -> bool:
    """Tell whether a file's name is that of a picture that can be written."""
    return path.suffix.lower() in STILL_SUFFIXES


def format_of(path: Path) -> Format:
    """Return what the kind of file of this name takes; the name was checked by `require_container`."""
    return FORMATS[path.suffix.lower()]


def require_container(path: Path, option: str | None = None, *, still: bool = False) -> None:
    """Refuse, before anything slow, a name whose kind of file cannot be written.

    Args:
        path: The file to write.
        option: The option that it comes from, which the message begins with.
        still: Whether the source has one frame, so that a picture can be written as well.

    Raises:
        ValueError: It cannot.
    """
    suffix, where = path.suffix.lower(), f"{option} {path}" if option else str(path)
    if suffix in FORMATS or (still and suffix in STILL_SUFFIXES):
        return
    choices = ", ".join([*FORMATS, *(STILL_SUFFIXES if still else ())])
    if suffix in STILL_SUFFIXES:
        raise ValueError(f"{where}: a picture takes one frame; write a video to one of {choices}")
    raise ValueError(f"{where}: write to one of {choices}, not {path.suffix!r}")
