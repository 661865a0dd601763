"""Videos to predict on: a batch is one open file, since clips differ in length and size."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningDataModule

from keyface.video import VideoReader

SUFFIXES = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi")


class VideosDataModule(LightningDataModule):
    """Gives videos one by one to `lightning predict`; each rank takes its share.

    A batch is `{"path": Path, "video": VideoReader}`; the reader gives the frames in chunks, so a long clip
    is never in memory as a whole.

    Args:
        videos: Files, or folders whose videos are taken in the order of their names.
        max_seconds: Use only the beginning of each; None uses all.

    Example:
        >>> data = VideosDataModule(["clips"])  # doctest: +SKIP
    """

    def __init__(self, videos: Sequence[str | Path], max_seconds: float | None = None) -> None:
        super().__init__()
        self.videos = [Path(video) for video in videos]
        self.max_seconds = max_seconds

    def setup(self, stage: str | None = None) -> None:
        """Find the files, and open each once, so that a bad one is named before the first is worked on."""
        found: list[Path] = []
        for place in self.videos:
            if place.is_dir():
                inside = sorted(path for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
                if not inside:
                    raise ValueError(f"{place}: no videos ({', '.join(SUFFIXES)})")
                found.extend(inside)
            else:
                found.append(place)
        if not found:
            raise ValueError("videos is empty; name at least one file or folder")
        for path in found:
            VideoReader(path)
        self.found = found

    def predict_dataloader(self) -> "OpenedVideos":
        """Return this rank's videos."""
        rank, world_size = (
            (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        )
        return OpenedVideos(self.found[rank::world_size], self.max_seconds)


class OpenedVideos:
    """Opens files one after the other.

    Args:
        paths: The files.
        max_seconds: Use only the beginning of each; None uses all.
    """

    def __init__(self, paths: Sequence[Path], max_seconds: float | None) -> None:
        self.paths = list(paths)
        self.max_seconds = max_seconds

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in self.paths:
            yield {"path": path, "video": VideoReader(path, end=self.max_seconds)}
