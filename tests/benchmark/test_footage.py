"""Figures of finding and following, on scenes of known truth."""

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from rendered_footage import people
from torch import Tensor

from keyface.benchmark.footage import measure_footage
from keyface.benchmark.footage_scenes import make_scenes, person_of
from keyface.cli.main import main
from keyface.faces.face import Face
from keyface.models.finders import FaceSuite, find_suite


@pytest.fixture(scope="module")
def suite() -> FaceSuite:
    return find_suite("miniature")


class Tired:
    """Finds faces in the first eight frames only."""

    knows = "nothing much"

    def __init__(self, suite: FaceSuite) -> None:
        self.suite, self.seen = suite, 0

    def find(self, images: Tensor) -> list[list[Face]]:
        found = self.suite.finder.find(images)
        kept = [faces if self.seen + index < 8 else [] for index, faces in enumerate(found)]
        self.seen += len(images)
        return kept


def test_people_are_found_and_followed(suite: FaceSuite, tmp_path: Path) -> None:
    motion, absence, _ = make_scenes(people()[:2], 24)
    figures = measure_footage(motion, suite, tmp_path)
    assert (figures.found, figures.false, figures.switches) == (1.0, 0, 0)
    assert figures.centre_error < 0.06
    assert figures.jitter < 0.5
    figures = measure_footage(absence, suite, tmp_path)
    assert (figures.found, figures.false, figures.switches) == (1.0, 0, 0)
    tired = measure_footage(motion, replace(suite, finder=Tired(suite)), tmp_path)
    assert tired.found == pytest.approx(8 / 24)


def test_a_photo_without_a_face_is_refused(
    suite: FaceSuite, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (64, 64), (120, 120, 120)).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match="no face found in it"):
        person_of(tmp_path / "grey.png", suite)
    words = ["benchmark", "footage", "--photos", str(tmp_path / "grey.png")]
    assert main(words) == 1
    assert "no face found in it" in capsys.readouterr().err
    assert main([*words[:2], "--seconds", "0"]) == 1
    assert "--seconds is 0" in capsys.readouterr().err
