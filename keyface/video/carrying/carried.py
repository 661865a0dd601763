"""What a video takes over from its source beside pictures: sound, subtitles, chapters, tags, attachments."""

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.stream import AttachmentStream, Disposition, Stream
from av.subtitles.stream import SubtitleStream
from av.video.stream import VideoStream

from keyface.video.carrying.audio import add_audio
from keyface.video.carrying.subtitles import add_subtitles
from keyface.video.carrying.tags import advance_timecode, language_tag, merge_tags
from keyface.video.carrying.tracks import AnyPacket, Span, Track
from keyface.video.container import open_container, video_stream
from keyface.video.formats import format_of

if TYPE_CHECKING:
    from av.container.core import Chapter

_LATE = 1
"""Seconds by which packets of one file may lie out of order."""


class Carried:
    """A source's streams and tags on their way into a new file; a context manager that closes the source.

    Args:
        source: The file that they come from.
        path: The file that they go to, whose suffix decides what is copied and what is turned into another
            format.
        span: The part of the source that is taken. Copied sound is cut between its packets (about 20 ms),
            other sound to the sample.
    """

    def __init__(self, source: Path, path: Path, span: Span) -> None:
        self._path = path
        self._span = span
        self._takes = format_of(path)
        self._source = open_container(source)
        self._video = video_stream(self._source, source)
        self._tracks: dict[int, Track] = {}
        self._lost: list[str] = []

    def __enter__(self) -> Self:
        """Return what is carried."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        self.close()

    def close(self) -> None:
        """Close the source."""
        self._source.close()

    def add_to(self, target: OutputContainer, video: VideoStream, stated: Mapping[str, str]) -> list[str]:
        """Add tags, chapters and streams to a new file, before its first packet.

        Args:
            target: The new file.
            video: Its stream of pictures.
            stated: What is to be said of the new file.

        Returns:
            What of the source the new file does not take.

        Raises:
            ValueError: Sound cannot be kept whole.
        """
        target.metadata.update(merge_tags(self._source.metadata, stated))
        self._describe(self._video, video)
        self._add_timecode(video)
        chapters = [each for chapter in self._source.chapters() if (each := self._moved(chapter))]
        if chapters:
            target.set_chapters(chapters)
        for stream in self._source.streams:
            if stream is not self._video:
                self._add(stream, target)
        return self._lost

    def packets(self) -> Iterator[tuple[Fraction, AnyPacket]]:
        """Yield the new file's packets with their times in seconds, about in order."""
        pending = {index for index in self._tracks if self._source.streams[index].type == "audio"}
        streams = [self._source.streams[index] for index in self._tracks]
        if not streams:
            return
        for packet in self._source.demux(*streams):
            track, index = self._tracks[packet.stream.index], packet.stream.index
            yield from _timed(track.take(packet))
            end = self._span.end
            if end is not None and index in pending and (packet.dts or 0) * packet.time_base > end + _LATE:
                pending.discard(index)
                if not pending:
                    break
        for track in self._tracks.values():
            yield from _timed(track.finish())

    def _add(self, stream: Stream, target: OutputContainer) -> None:
        track: Track | None = None
        if isinstance(stream, AttachmentStream):
            if self._takes.attachments:
                target.add_stream_from_template(stream)
            else:
                self._lost.append(f"the attached file {stream.name}")
            return
        if isinstance(stream, VideoStream):
            cover = stream.disposition & Disposition.attached_pic
            self._lost.append("a cover picture, which shows the source" if cover else "another video stream")
            return
        if isinstance(stream, AudioStream | SubtitleStream):
            # A stream of a codec that FFmpeg does not know has no context, which PyAV's types do not admit.
            if getattr(stream, "codec_context", None) is not None:
                track = (
                    add_audio(stream, target, self._takes, self._span, self._path)
                    if isinstance(stream, AudioStream)
                    else add_subtitles(stream, target, self._takes, self._span)
                )
            if track is None:
                self._lost.append(f"{stream.type} track {stream.index} ({_name(stream)})")
                return
            self._tracks[stream.index] = track
            self._describe(stream, target.streams[-1])
        elif not _is_index(stream):
            self._lost.append(f"data track {stream.index} ({_name(stream)})")

    def _describe(self, source: Stream, target: Stream) -> None:
        """Give a stream the language, title and defaults of the source's."""
        if source.language and source.language != "und":
            target.metadata["language"] = language_tag(source.language, self._takes.old_languages)
        title = source.metadata.get("title") or source.metadata.get("name")
        if title:
            target.metadata["title"] = title
        if "handler_name" in source.metadata and self._takes.muxer in ("mp4", "mov"):
            target.metadata["handler_name"] = source.metadata["handler_name"]
        target.disposition = source.disposition

    def _add_timecode(self, video: VideoStream) -> None:
        """Write the source's time code, moved on to the first frame that is taken."""
        places = [
            self._video.metadata,
            self._source.metadata,
            *(each.metadata for each in self._source.streams),
        ]
        code = next((tags[name] for tags in places for name in tags if name.lower() == "timecode"), None)
        if code is None:
            return
        fps = self._video.average_rate or Fraction(25)
        skipped = Fraction(0)
        if self._span.start is not None:
            first = (self._video.start_time or 0) * (self._video.time_base or Fraction(0))
            skipped = self._span.start - first
        moved = advance_timecode(code, round(skipped * fps), fps)
        if moved is None:
            self._lost.append(f"the time code {code}, which does not fit {float(fps):g} frames a second")
        else:
            video.metadata["timecode"] = moved

    def _moved(self, chapter: "Chapter") -> "Chapter | None":
        """Return a chapter with its new times, None when it lies outside what is taken."""
        unit = chapter["time_base"] or Fraction(1)
        shown = self._span.clip(chapter["start"] * unit, chapter["end"] * unit)
        if shown is None:
            return None
        return {**chapter, "start": round(shown[0] / unit), "end": round(shown[1] / unit)}


def _is_index(stream: Stream) -> bool:
    """Tell whether a stream of data is a time code or list of chapters, which are written by other means."""
    return _name(stream) == "bin_data" or any(name.lower() == "timecode" for name in stream.metadata)


def _name(stream: Stream) -> str:
    """Return what FFmpeg calls a stream's codec."""
    return getattr(stream, "name", None) or "of unknown kind"


def _timed(packets: Iterable[AnyPacket]) -> Iterator[tuple[Fraction, AnyPacket]]:
    for packet in packets:
        yield (packet.dts or 0) * packet.time_base, packet
