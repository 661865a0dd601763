from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from keyface.datamodules.videos import VideosDataModule
from keyface.video import write_clip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("b.mp4", "a.mp4", "c.mkv")):
        write_clip(tmp_path / name, torch.full((4 + number, 3, 32, 32), number / 4), fps=10)
    (tmp_path / "notes.txt").write_text("not a video")
    return tmp_path


def test_videos_come_one_by_one_in_the_order_of_their_names(folder: Path) -> None:
    data = VideosDataModule([folder, folder / "b.mp4"])
    data.setup("predict")
    batches = list(data.predict_dataloader())
    assert [batch["path"].name for batch in batches] == ["a.mp4", "b.mp4", "c.mkv", "b.mp4"]
    assert [len(batch["video"]) for batch in batches] == [5, 4, 6, 4]
    data = VideosDataModule([folder / "c.mkv"], max_seconds=0.25)
    data.setup()
    assert [len(batch["video"]) for batch in data.predict_dataloader()] == [3]


def test_ranks_share_the_videos(folder: Path) -> None:
    names = []
    for rank in (0, 1):
        data = VideosDataModule([folder])
        data.trainer = SimpleNamespace(global_rank=rank, world_size=2)
        data.setup()
        names.append([batch["path"].name for batch in data.predict_dataloader()])
    assert names == [["a.mp4", "c.mkv"], ["b.mp4"]]


def test_bad_input_is_named_before_the_first_video(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="name at least one"):
        VideosDataModule([]).setup()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no videos"):
        VideosDataModule([tmp_path / "empty"]).setup()
    (folder / "z.mp4").write_text("text")
    with pytest.raises(ValueError, match=r"z.mp4"):
        VideosDataModule([folder]).setup()
    with pytest.raises(FileNotFoundError):
        VideosDataModule([folder / "none.mp4"]).setup()
