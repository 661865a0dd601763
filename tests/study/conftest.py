"""A small study of two methods and three clips, made by the command."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from studies import CLIPS, METHODS, PROTOCOL, moving, words_of

from keyface.cli.main import main
from keyface.study.folder import Study
from keyface.study.serving.server import StudyServer, serving
from keyface.video import write_clip


@pytest.fixture(scope="session")
def _material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    for number, clip in enumerate(CLIPS):
        write_clip(folder / "sources" / f"{clip}.mp4", moving(number, 1.0), 25)
        for method, level in zip(METHODS, (0.6, 0.2), strict=True):
            write_clip(folder / method / f"{clip}.mp4", moving(number, level), 25)
    (folder / "protocol.json").write_text(json.dumps(PROTOCOL))
    return folder


@pytest.fixture
def material(_material: Path, tmp_path: Path) -> Path:
    """Sources, two methods' folders, and a protocol."""
    return Path(shutil.copytree(_material, tmp_path / "material"))


@pytest.fixture(scope="session")
def _made(_material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("made") / "study"
    assert main(words_of(_material, output)) == 0
    return output


@pytest.fixture
def study(_made: Path, tmp_path: Path) -> Study:
    """A study of one's own."""
    return Study.read(Path(shutil.copytree(_made, tmp_path / "study")))


@pytest.fixture
def server(study: Study) -> Iterator[StudyServer]:
    with serving(StudyServer(study, "127.0.0.1", 0, None)) as running:
        yield running
