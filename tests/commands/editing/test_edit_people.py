"""`keyface edit` on footage with people in it: faces found, followed, chosen; all else left alone."""

import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from rendered_footage import place, two_people_a_cut_and_an_absence, wall
from torch import Tensor

from keyface.cli.main import main
from keyface.video import VideoReader, write_clip

FAST = [
    "--steps",
    "3",
    "--guidance",
    "2",
    "--settings.interval",
    "6",
    "--settings.propagation.mode",
    "latent",
]
SOURCE = "a photo of a young man, no beard, brown hair, no bangs, without glasses"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("scene") / "scene.mp4"
    two_people_a_cut_and_an_absence(path)
    return path


def frames_of(path: Path) -> Tensor:
    return torch.cat(list(VideoReader(path).chunks(16)))


def changed(before: Tensor, after: Tensor) -> Tensor:
    """Return the greatest change of each frame's left and right half, (T, 2)."""
    change = (after - before).abs().amax(dim=1)
    return torch.stack([half.flatten(1).quantile(0.995, dim=1) for half in change.chunk(2, dim=2)], dim=1)


def test_one_person_is_edited_and_all_else_stays(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, mask = tmp_path / "out.mp4", tmp_path / "mask.mp4"
    words = ["edit", str(scene), "-o", str(output), "--source", SOURCE, "--edits", "old", *FAST]
    assert main([*words, "--mask-video", str(mask), "--encoding.quality", "0"]) == 0
    said = capsys.readouterr().err
    assert f"{output.with_suffix('.json')}, {mask}. This video is synthetic" in said
    assert "editing person 1; person 2 left as they are" in said
    assert "15 of 60 frames show no face to edit, and stay as they are" in said
    record = json.loads((tmp_path / "out.json").read_text())
    assert [(clip["person"], clip["first"], clip["frames"]) for clip in record["clips"]] == [
        (1, 0, 20),
        (1, 20, 15),
        (1, 50, 10),
    ]
    assert record["metrics"]["untouched_frames"] == 15
    assert record["finder"] == "miniature"
    before, after, where = frames_of(scene), frames_of(output), frames_of(mask)
    change = changed(before, after)
    assert float(change[5:15, 0].min()) > 0.1, "person 1 is on the left"
    assert float(change[:20, 1].max()) < 0.05, "person 2, by a lossless encoder"
    assert float(change[35:50].max()) < 0.05, "nobody is there"
    assert float((where[:20, :, :, 160:] + 1).max()) < 0.05
    assert float((where[5:15, :, :, :160] + 1).flatten(1).amax(1).min()) > 1.0


def test_two_people_get_edits_of_their_own(scene: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    words = ["edit", str(scene), "-o", str(output), "--source", SOURCE, "--end", "0.4", *FAST]
    assert main([*words, "--edits", "1: old; 2: blond-hair"]) == 0
    record = json.loads((tmp_path / "out.json").read_text())
    assert {(clip["person"], *clip["edits"]) for clip in record["clips"]} == {(1, "old"), (2, "blond-hair")}
    assert len(VideoReader(output)) == 10
    assert float(changed(frames_of(scene)[:10], frames_of(output)).min()) > 0.08


def test_a_preview_shows_what_the_video_will(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its three keyframes are the video's own, and look the same there where they are edited."""
    from keyface.pipeline.pipeline import FaceEditPipeline
    from keyface.pipeline.planning.plan import make_plan
    from keyface.pipeline.preview import edit_keyframes
    from keyface.pipeline.request.request import VideoRequest

    words = ["edit", str(scene), "--source", SOURCE, "--edits", "old", "--end", "0.72", *FAST]
    assert main([*words, "--preview", str(tmp_path / "preview.png")]) == 0
    said = capsys.readouterr().err
    assert main([*words, "--preview", str(tmp_path / "two.png"), "--json"]) == 1
    assert "--preview makes no OUTPUT.json" in capsys.readouterr().err
    assert main([*words, "-o", str(tmp_path / "out.mp4"), "--encoding.quality", "0"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"preview.png", "out.mp4", "out.json"}
    with Image.open(tmp_path / "preview.png") as sheet:
        assert sheet.height > 3 * 180

    request = VideoRequest(
        scene,
        edits="old",
        source=SOURCE,
        end="0.72",
        preview=tmp_path / "again.png",
        settings={"steps": 3, "guidance_scale": 2.0, "interval": 6, "propagation": {"mode": "latent"}},
    )
    pipe = FaceEditPipeline.from_pretrained()
    plan = make_plan(request, pipe.finder, pipe.placement)
    numbers, _, painted = edit_keyframes(pipe, request, plan, None, lambda text: None)
    times = ", ".join(f"{number / 25:.2f}" for number in numbers)
    assert f"preview: person 1 at {times} s\n" in said
    assert numbers == json.loads((tmp_path / "out.json").read_text())["metrics"]["keyframes"]
    final = frames_of(tmp_path / "out.mp4")[numbers]
    edited = (painted.mask > 0.1).expand_as(final)
    error = (painted.after - final)[edited].square().mean()
    assert 10 * float(torch.log10(4 / error)) > 35
    assert float((painted.after - painted.before)[edited].abs().mean()) > 0.03


def test_a_second_edit_begins_where_the_target_does(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", str(scene), "--source", SOURCE, "--end", "0.4", "--strength", "0.8", *FAST]
    cache = ["--cache", str(tmp_path / "cache")]
    assert main([*words, "-o", str(tmp_path / "plain.mp4"), "--edits", "glasses"]) == 0
    assert main([*words, "-o", str(tmp_path / "first.mp4"), "--edits", "old", *cache]) == 0
    (entry,) = (tmp_path / "cache").iterdir()
    assert json.loads((entry / "entries.json").read_text())["encode"] == 10
    capsys.readouterr()
    assert main([*words, "-o", str(tmp_path / "second.mp4"), "--edits", "glasses", *cache]) == 0
    assert len(list((tmp_path / "cache").iterdir())) == 1
    seconds = json.loads((tmp_path / "second.json").read_text())["metrics"]["seconds"]
    assert (
        seconds["invert"]
        < 0.1 * json.loads((tmp_path / "plain.json").read_text())["metrics"]["seconds"]["invert"]
    )
    assert torch.equal(frames_of(tmp_path / "second.mp4"), frames_of(tmp_path / "plain.mp4"))


def test_a_video_without_a_face_is_refused_before_weights_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_clip(tmp_path / "wall.mp4", wall(0.0)[None].repeat(12, 1, 1, 1), 25)
    words = ["edit", str(tmp_path / "wall.mp4"), "-o", str(tmp_path / "out.mp4"), "--edits", "glasses"]
    assert main([*words, "--weights", "nothing", "--finder", "miniature"]) == 1
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "error" in each]
    assert "no face in its 12 frames" in line
    assert not (tmp_path / "out.mp4").exists()


def test_a_picture_is_edited_into_a_picture(scene: Path, tmp_path: Path) -> None:
    from keyface.pictures import save_png, to_image

    save_png(to_image(VideoReader(scene).frames([25])[0]), tmp_path / "photo.png")
    words = ["edit", str(tmp_path / "photo.png"), "-o", str(tmp_path / "out.png"), "--source", SOURCE]
    assert main([*words, "--edits", "glasses", *FAST]) == 0
    assert "This picture is synthetic" in json.loads((tmp_path / "out.json").read_text())["statement"]
    with Image.open(tmp_path / "photo.png") as before, Image.open(tmp_path / "out.png") as after:
        assert before.size == after.size
        assert before.tobytes() != after.tobytes()
        assert before.crop((0, 0, 60, 180)).tobytes() == after.crop((0, 0, 60, 180)).tobytes()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--person", "7"], "there is no person 7"),
        (["--person", "nobody.png"], "no such photo"),
        (["--crop", "centre", "--person", "1"], "--person has no say"),
        (["--start", "9"], "no frame is shown from 9 s on"),
        (["--start", "1", "--end", "0.5"], "is not after --start"),
        (["--end", "1", "--max-seconds", "1"], "give one of the two"),
        (["--preview", "a.mp4"], "write to a .png file"),
        (["--preview", "a.png", "--resume"], "leave it out"),
        (["--negative", "a caf\udce9"], "holds bytes that are no UTF-8"),
        (["--cache", __file__], "is a file, where a folder is needed"),
        (["--framing.margin", "9"], "framing.margin is 9"),
        (["--encoding.codec", "vp9", "--encoding.quality", "99"], "from 0 to 63"),
    ],
)
def test_wrong_requests_are_one_line(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    words = ["edit", str(scene), "-o", str(tmp_path / "out.mp4"), "--source", SOURCE, "--edits", "old", *FAST]
    assert main([*words, *more]) == 1
    (line,) = [each for each in capsys.readouterr().err.splitlines() if "error" in each]
    assert message in line
    assert not list(tmp_path.iterdir())


def test_an_output_is_needed_unless_only_a_preview_is_asked_for(
    scene: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["edit", str(scene), "--edits", "old"]) == 1
    assert capsys.readouterr().err == "keyface: error: say where the edited video goes, by -o/--output\n"


def test_a_photo_is_looked_at_before_the_video(
    scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from keyface.pictures import save_png, to_image

    photo = save_png(to_image(wall(0.0)), tmp_path / "wall.png")
    words = ["edit", str(scene), "-o", str(tmp_path / "out.mp4"), "--edits", "old", "--person", str(photo)]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "no face found in it" in said
    assert "find:" not in said, "the video was looked through first"


def test_what_is_left_alone_and_why_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frames = [wall(-0.2) for _ in range(6)]
    for number, frame in enumerate(frames):
        place(frame, 0, number, (80, 90), side=60)
        place(frame, 1, number, (250, 60), side=24)
    write_clip(tmp_path / "a.mp4", torch.stack(frames), 25)
    words = ["edit", str(tmp_path / "a.mp4"), "-o", str(tmp_path / "out.mp4"), "--source", SOURCE, *FAST]
    words += ["--edits", "old", "--doubtful", "leave"]
    assert main([*words, "--person", "2"]) == 1
    assert re.search(r"is doubtful \(the face is 2\d pixels large, .*\), and --do", capsys.readouterr().err)
    assert main([*words, "--person", "all"]) == 0
    assert re.search(r"person 2 is left alone at 0.00-0.20 s: the face is 2\d pix", capsys.readouterr().err)
    (clip,) = json.loads((tmp_path / "out.json").read_text())["clips"]
    assert clip["person"] == 1
