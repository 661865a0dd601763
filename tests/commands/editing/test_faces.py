"""`keyface faces`: who is in a video, as a table, as a picture and as JSON."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from rendered_footage import two_people_a_cut_and_an_absence

from keyface.cli.main import main

Truth = dict[int, torch.Tensor]


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Truth]:
    path: Path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    truth = two_people_a_cut_and_an_absence(path)["landmarks"]
    assert isinstance(truth, dict)
    return path, truth


def test_json_has_box_and_landmarks_of_every_frame(
    scene: tuple[Path, Truth], capsys: pytest.CaptureFixture[str]
) -> None:
    path, truth = scene
    assert main(["faces", str(path), "--finder", "miniature", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["frames"], found["width"], found["height"], found["shots"]) == (60, 320, 180, [0, 20])
    first, second = found["people"]
    assert [(each["first"], len(each["boxes"])) for each in first["segments"]] == [
        (0, 20),
        (20, 15),
        (50, 10),
    ]
    for segment in first["segments"]:
        boxes, landmarks = torch.tensor(segment["boxes"]), torch.tensor(segment["landmarks"])
        assert landmarks.shape == (len(boxes), 5, 2)
        for row, (left, top, right, bottom) in enumerate(boxes.tolist()):
            x, y = truth[segment["first"] + row].unbind(1)
            assert left < float(x.min())
            assert float(x.max()) < right
            assert top < float(y.min())
            assert float(y.max()) < bottom
            assert max(right - left, bottom - top) < 130, "a face, not the frame"
    (segment,) = second["segments"]
    assert all(left > 160 for left, *_ in segment["boxes"]), "person 2 is on the right"


def test_a_sheet_has_a_row_of_each_person(scene: tuple[Path, Truth], tmp_path: Path) -> None:
    sheet = tmp_path / "people.png"
    words = ["faces", str(scene[0]), "--finder", "miniature", "-o", str(sheet)]
    assert main(words) == 0
    with Image.open(sheet) as picture:
        assert picture.height == 2 * 164 + 4
        assert picture.width > 6 * 160
    assert main(words) == 1, "it exists"


def test_the_table_names_numbers_times_and_absences(
    scene: tuple[Path, Truth], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["faces", str(scene[0]), "--finder", "miniature", "--end", "1.6"]) == 0
    out = capsys.readouterr().out
    assert "40 frames, 2 shots; found with miniature" in out
    assert "nobody at 1.40-1.56 s" in out
    assert [line.split()[0] for line in out.splitlines()[2:4]] == ["1", "2"]
