"""Videos of each container as input: valid ones by our own writer, and how an edit reads them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path


def videos(suffix: str) -> Callable[[], list[bytes]]:
    """Make two videos: pictures alone, and pictures with sound and tags; eight frames of 32 x 24."""

    @cache
    def make() -> list[bytes]:
        from tempfile import TemporaryDirectory

        from rich_videos import Rich, Sound, make_rich

        from keyface.video import VideoReader, VideoWriter

        with TemporaryDirectory() as name:
            folder = Path(name)
            rich = Rich(frames=8, size=(24, 32), sounds=[Sound(rate=16000)], tags={"title": "a face"})
            source = make_rich(folder / "source.mkv", rich)
            made = []
            for like in (VideoReader(source), None):
                path = folder / f"seed{suffix}"
                with VideoWriter(path, like=like, fps=25) as writer:
                    for chunk in VideoReader(source).chunks(8):
                        writer.write(chunk)
                made.append(path.read_bytes())
            return made

    return make


def read_video(suffix: str) -> Callable[[Path, bytes], None]:
    """Decode every frame as `edit` does, and write all that the file holds to another one."""

    def read(folder: Path, data: bytes) -> None:
        from keyface.video import VideoReader, VideoWriter

        path, output = folder / f"input{suffix}", folder / "output.mkv"
        path.write_bytes(data)
        strict = VideoReader(path)
        try:
            frames = sum(len(chunk) for chunk in strict.chunks(4))
        except ValueError as error:
            if "--on-corrupt hold" not in str(error):
                raise
        else:
            assert frames == len(strict), "as many frames as time stamps"
        reader = VideoReader(path, on_corrupt="hold")
        try:
            with VideoWriter(output, like=reader) as writer:
                for chunk in reader.chunks(4):
                    assert chunk.isfinite().all()
                    writer.write(chunk)
        except (ValueError, OSError):
            assert not output.exists(), "a partial output"
            raise
        assert len(VideoReader(output)) == len(reader)
        output.unlink()

    return read
