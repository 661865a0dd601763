"""What the disturbed work needs, and a disk that fails when it is told to."""

import multiprocessing.forkserver
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from forks import Fork

from keyface.commands.data.shards import render

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def failing_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start forks from a server that has loaded failing_disk.c, which does nothing until it is told to."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("disk") / "failing_disk.so"
    source = str(HERE / "failing_disk.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), source, "-ldl"], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(library))
        _stop_server()
        Fork(["--version"]).wait()  # imports everything now, and not within a time that is measured
        yield
    _stop_server()


def _stop_server() -> None:
    """Let the next fork come from a new server, which takes over the environment that is set then."""
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]


@pytest.fixture
def needs(video: Path, weights: Path, blip2_folder: Path, tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder with what a job needs."""

    def make(name: str) -> Path:
        folder = tmp_path / "needs"
        folder.mkdir()
        match name:
            case "edit":
                shutil.copy(video, folder / "in.mp4")
                shutil.copytree(weights, folder / "weights")
            case "fit":
                render(folder / "shards", count=10, size=32, samples_per_shard=4)
            case "caption":
                render(folder / "shards", count=10, size=32, samples_per_shard=4)
                shutil.copytree(blip2_folder, folder / "blip2")
            case "evaluate":
                _clips(folder)
        return folder

    return make


def _clips(folder: Path) -> None:
    from keyface.evaluation.clip_sets.rendered import RenderedProtocol, render_clip_set

    recipe = RenderedProtocol("glasses,beard", edited=2, gallery=1, frames=2, gallery_frames=1, size=64)
    clips = render_clip_set(folder / "clips", recipe)
    (folder / "copies").mkdir()
    for clip in clips.edited:
        shutil.copy(clips.video_of(clip), folder / "copies" / f"{clip.key}.mp4")


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Goes into a folder."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setenv("KEYFACE_TRUST", "recorded_training")
    assert os.name == "posix"
    return monkeypatch.chdir
