"""`keyface plugins try`: a sheet of a few faces, and a search for amounts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from keyface.authoring.faces import Face, Measured, measure, photographed_faces, rendered_faces
from keyface.authoring.search import STEPS, attempts, lines_to_paste
from keyface.cli.main import main
from keyface.editing.settings import Prompts
from keyface.models.judges import Judges
from keyface.pictures import resize_square, save_png, to_image
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.plugins import Category, edits

MOLES = Category("moles", ("moles",), "no moles", "Moles", own_labels=("Moles",))


def test_the_search_keeps_the_best_of_each_amount() -> None:
    """On a score with its top at strength 1.2, guidance .7 and injection .6."""
    seen = []

    def worth(category: Category) -> Measured:
        seen.append((category.strength, category.guidance, category.injection))
        off = abs(category.strength - 1.2) + abs(category.guidance - 0.7) + abs(category.injection - 0.6)
        return Measured(1.0 - off / 3, 0.0, 0.0)

    tried = list(attempts(MOLES, worth))
    best = max(tried, key=lambda each: each.measured.score)
    assert dict(best.amounts) == {"strength": 1.2, "guidance": 0.7, "injection": 0.6}
    assert len(seen) == len(set(seen)) == 1 + sum(len(values) - 1 for values in STEPS.values())
    assert seen[0] == (1.0, 1.0, 1.0), "the category as it is comes first"


def test_the_lines_to_paste_make_the_category(tmp_path: Path) -> None:
    amounts = {"strength": 1.2, "guidance": 0.7, "injection": 0.6}
    python, yaml = lines_to_paste(amounts, "miniature")
    code = f"Category('moles', ('moles',), 'no moles', 'Bald', {python})"
    pasted: Category = eval(code, {"Category": Category})
    path = tmp_path / "moles.yaml"
    path.write_text(f"moles:\n  targets: [moles]\n  source: no moles\n  attribute: Bald\n  {yaml}\n")
    assert edits.with_yaml(path)["moles"] == pasted
    tuned = pasted.for_family("miniature")
    assert (tuned.strength, tuned.guidance, tuned.injection) == (1.2, 0.7, 0.6)
    assert lines_to_paste({"strength": 1.0}, None) == ("strength=1,", "strength: 1")


def test_a_score_is_success_less_distance() -> None:
    class Mean:
        def __call__(self, images: torch.Tensor, landmarks: object) -> torch.Tensor:
            return torch.nn.functional.normalize(images.mean(dim=(2, 3)) + 2, dim=-1)

    judged = Category(
        "moles",
        ("a",),
        "b",
        "Moles",
        own_labels=("Moles",),
        judge=lambda images: images[:, 0, 0, 0].clamp(0, 1),
    )
    face = Face("somebody", torch.zeros(2, 3, 8, 8), Prompts("b", "a"), None)
    edited = face.frames.clone()
    edited[:, 0] = 0.5
    found = measure(judged, [face], [edited], Judges({"mean": Mean()}))  # type: ignore[dict-item]
    assert found.success == pytest.approx(0.5)
    cosine = 2 * (2.5 + 2 + 2) / ((2.5**2 + 8) ** 0.5 * 12**0.5)  # of (2.5, 2, 2) and (2, 2, 2)
    assert found.distance == pytest.approx(1 - cosine, abs=1e-5)
    assert found.change == pytest.approx(0.5 / 3 / 2)
    assert found.score == pytest.approx(0.5 - found.distance)
    assert measure(MOLES, [face], [edited], Judges()).success is None, "nobody can tell"


def test_rendered_faces_lack_the_edit_and_know_where_it_may_be() -> None:
    faces = rendered_faces(edits["glasses"], 2, 1, 64, seed=0)
    assert len({face.name for face in faces}) == 2
    for face in faces:
        assert "without glasses" in face.prompts.source
        assert face.free is not None
        assert 0 < float(face.free.mean()) < 0.5
    assert rendered_faces(MOLES, 1, 1, 32, seed=0)[0].free is None, "the whole picture may change"


def test_a_sheet_and_lines_to_paste(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The commands as a whole, with the miniature, on one face with two steps."""
    sheet = tmp_path / "glasses.png"
    words = ["plugins", "try", "glasses", "--faces", "1", "--frames", "1", "--steps", "2", "-o", str(sheet)]
    assert main([*words, "--tune", "--json"]) == 0
    said = capsys.readouterr()
    tried = json.loads(said.out)
    assert [each["best"] for each in tried].count(True) == 1
    assert tried[0]["amounts"] == {"strength": 1.12, "guidance": 0.92, "injection": 0.6}
    best = max(tried, key=lambda each: each["measured"]["success"] - each["measured"]["distance"])
    assert best["best"]
    pasted = "there is nothing to paste" in said.err or 'defaults={"miniature": {"strength"' in said.err
    assert pasted
    with Image.open(sheet) as picture:
        assert picture.width >= 128
        assert picture.height >= 256, "before above after"


def test_bad_requests_are_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "moles.yaml"
    path.write_text("moles: {targets: [moles], source: no moles, attribute: Moles, own_labels: [Moles]}")
    for words, said in (
        (["glasses", "-o", str(tmp_path / "a.jpg")], "write to a .png file"),
        (["glases"], "did you mean 'glasses'"),
        (["glasses", "--weights", str(tmp_path)], "give some by --photos"),
        (["glasses", "--photos", "none.png", "--tune"], "--tune needs to know a success"),
        (["moles", "--categories", str(path), "--judges", "nothing"], "give package.module:function"),
    ):
        assert main(["plugins", "try", *words]) == 1
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("*.png"))


def test_photos_are_edited_in_their_middle_square(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A rendered face between red margins stands in for a photo; the miniature captions it."""
    (rendered,) = rendered_faces(edits["glasses"], 1, 1, 256, seed=0)
    wide = torch.zeros(3, 256, 384)
    wide[0], wide[1:] = 1.0, -1.0
    wide[..., 64:320] = rendered.frames[0]
    photo = save_png(to_image(wide), tmp_path / "anna.png")
    pipe = FaceEditPipeline.from_pretrained("miniature")
    size = pipe.backbone.image_size
    (face,) = photographed_faces(pipe, edits["glasses"], [photo], None)
    assert (face.name, tuple(face.frames.shape)) == ("anna", (1, 3, size, size))
    expected = resize_square(rendered.frames, size)
    assert float((face.frames - expected).abs().max()) < 0.02, "8 bits lie between them"
    assert "without glasses" in face.prompts.source
    assert "wearing glasses" in face.prompts.target
    assert face.free is not None
    assert float(face.free.mean()) == 1.0, "the miniature brings nothing that finds regions in photos"
    (told,) = photographed_faces(pipe, edits["glasses"], [photo], "a man without glasses")
    assert told.prompts.source == "a man without glasses"
    sheet = tmp_path / "sheet.png"
    words = ["plugins", "try", "glasses", "--photos", str(photo), "--photos", str(photo), "--steps", "2"]
    assert main([*words, "-o", str(sheet), "--json"]) == 0
    (tried,) = json.loads(capsys.readouterr().out)
    assert tried["measured"]["success"] is None, "nobody is asked about photos who was not named"
    assert tried["measured"]["change"] > 0
    with Image.open(sheet) as picture:
        red = (np.asarray(picture.convert("RGB")) == (255, 0, 0)).all(axis=-1)
        assert not red.any(), "the margins are left out"
        assert picture.height >= 4 * size, "two photos, each before above after"


def test_photos_need_words_where_nobody_captions(tmp_path: Path) -> None:
    photo = save_png(to_image(torch.zeros(3, 32, 32)), tmp_path / "grey.png")
    pipe = FaceEditPipeline.from_pretrained("miniature")
    pipe.captioner = None
    with pytest.raises(ValueError, match=r'--source "[.]{3}" is needed'):
        photographed_faces(pipe, MOLES, [photo], None)
    with pytest.raises(FileNotFoundError, match=r"--photos .*none.png: no such file"):
        photographed_faces(pipe, MOLES, [tmp_path / "none.png"], "a man")
