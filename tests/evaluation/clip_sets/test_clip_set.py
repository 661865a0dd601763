import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.method import Method
from keyface.files import sha256

Spec = Callable[..., ClipSpec]


def clip_set(folder: Path, *edited: ClipSpec, gallery: tuple[ClipSpec, ...] = ()) -> ClipSet:
    return ClipSet("test", 7, "a test", edited, gallery, folder)


def levels(frames: torch.Tensor) -> list[int]:
    """The numbers of the video's frames, from the grey in their middles."""
    size = frames.shape[-1]
    middle = frames[:, :, size // 2, size // 2].mean(dim=1)
    return [round((float(level) + 0.8) / 0.05) for level in middle]


def test_a_set_survives_the_file(tmp_path: Path, spec: Spec) -> None:
    other = spec(key="b", video="x/ü b.mp4", category=None, source=None, target=None, box=(1, 2, 31, 40.5))
    made = clip_set(tmp_path, spec(sha256="0" * 64), gallery=(other,))
    path = tmp_path / "protocol.json"
    made.write(path)
    assert ClipSet.read(path) == made
    assert ClipSet.read(path).digest() == made.digest()
    assert ClipSet.read(path, videos=Path("/elsewhere")).digest() == made.digest()
    assert replace(made, seed=8).digest() != made.digest()
    assert [entry.name for entry in tmp_path.iterdir()] == ["protocol.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": "../a"}, "key '../a'"),
        ({"key": ".."}, "key '..'"),
        ({"key": "a\n"}, "key"),
        ({"key": 3}, "key 3"),
        ({"video": "../secret.mp4"}, "below the clip set's folder"),
        ({"video": "/etc/passwd"}, "below the clip set's folder"),
        ({"video": "C:/a.mp4"}, "below the clip set's folder"),
        ({"video": "x\\..\\a.mp4"}, "below the clip set's folder"),
        ({"video": "a\0.mp4"}, "below the clip set's folder"),
        ({"video": ""}, "below the clip set's folder"),
        ({"sha256": "ABC"}, "64 hex digits"),
        ({"start": float("nan")}, "NaN is no number"),
        ({"start": -1}, "start is -1"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": "10"}, "fps is '10'"),
        ({"frames": 10**12}, "frames is 1000000000000"),
        ({"frames": True}, "frames is True"),
        ({"size": 32.0}, "size is 32.0"),
        ({"identity": ""}, "identity is ''"),
        ({"category": 4}, "category is 4"),
        ({"box": [0, 0, 1]}, "left, top, right, bottom"),
        ({"box": [0, 0, 1, float("inf")]}, "Infinity is no number"),
        ({"box": [5, 5, 5, 50]}, "is empty"),
    ],
)
def test_a_hostile_clip_is_refused_in_one_line(
    tmp_path: Path, spec: Spec, change: dict[str, object], message: str
) -> None:
    path = tmp_path / "protocol.json"
    clip_set(tmp_path, spec()).write(path)
    content = json.loads(path.read_text())
    content["edited"][0] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"protocol\.json") as caught:
        ClipSet.read(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "deep"),
        ("{", "cannot be read as JSON"),
        ("\xff", "cannot be read as JSON"),
        ("[]", "schema is None"),
        ('{"schema": "keyface-clips/9"}', "schema is 'keyface-clips/9'"),
        ('{"schema": "keyface-clips/1"}', "missing or unknown: edited, gallery"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "protocol.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"protocol\.json") as caught:
        ClipSet.read(path)
    assert message in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such clip set"):
        ClipSet.read(tmp_path / "none.json")


def test_fields_may_neither_be_missing_nor_unknown(tmp_path: Path, spec: Spec) -> None:
    with pytest.raises(ValueError, match="lacks box"):
        ClipSpec.from_json({name: value for name, value in spec().to_json().items() if name != "box"})
    with pytest.raises(ValueError, match="unknown fields hack"):
        ClipSpec.from_json(spec().to_json() | {"hack": 1})
    with pytest.raises(ValueError, match="must be a JSON object"):
        ClipSpec.from_json([1])


def test_keys_are_unique_and_edited_clips_have_a_category(tmp_path: Path, spec: Spec) -> None:
    with pytest.raises(ValueError, match="A: its key occurs twice"):
        clip_set(tmp_path, spec(), gallery=(spec(key="A"),))
    with pytest.raises(ValueError, match="needs a category"):
        clip_set(tmp_path, spec(category=None))
    with pytest.raises(ValueError, match="nothing to score"):
        clip_set(tmp_path)


def test_several_edits_are_joined_by_a_plus(spec: Spec) -> None:
    assert spec(category="no-beard+glasses").categories == ("no-beard", "glasses")
    assert spec(category="old").categories == ("old",)
    assert spec(category=None).categories == ()


def test_frames_are_sampled_at_the_clips_rate(
    tmp_path: Path, spec: Spec, make_video: Callable[..., Path]
) -> None:
    make_video(tmp_path / "a.mp4", frames=24, fps=25)
    clips = clip_set(tmp_path, spec())
    # 0.2, 0.3, 0.4, 0.5 s of 25 frames a second: the frame shown then began at or before it
    frames = clips.frames_of(spec(start=0.2))
    assert frames.shape == (4, 3, 32, 32)
    assert levels(frames) == [5, 7, 10, 12]
    assert levels(clips.frames_of(spec(fps=25.0, start=0.8))) == [20, 21, 22, 23]
    assert levels(clips.frames_of(spec(fps=50.0))) == [0, 0, 1, 1]


def test_a_short_video_is_an_error(tmp_path: Path, spec: Spec, make_video: Callable[..., Path]) -> None:
    make_video(tmp_path / "a.mp4", frames=12, fps=10)
    clips = clip_set(tmp_path, spec())
    assert levels(clips.frames_of(spec(frames=12))) == list(range(12))
    with pytest.raises(ValueError, match=r"1\.20 s long, clip a needs a frame at 1\.20 s"):
        clips.frames_of(spec(frames=13))


def test_the_middle_square_is_used_and_the_box_first(
    tmp_path: Path, spec: Spec, make_video: Callable[..., Path]
) -> None:
    make_video(tmp_path / "a.mp4", height=64, width=128)
    clips = clip_set(tmp_path, spec())
    # the red quarter on the left and the blue one on the right are cropped away: grey remains
    whole = clips.frames_of(spec())
    assert (whole[0] - whole[0].mean(dim=0)).abs().max() < 0.1
    left = clips.frames_of(spec(box=(0, 0, 64, 64)))
    red, blue = left[0, 0] - left[0, 1], left[0, 2] - left[0, 1]
    assert red[:, :14].min() > 1
    assert red[:, 18:].max() < 0.4
    assert blue.abs().max() < 0.4
    with pytest.raises(ValueError, match="leaves the 128x64 frame"):
        clips.frames_of(spec(box=(0, 0, 129, 64)))


def test_the_right_video_is_asked_for(tmp_path: Path, spec: Spec, make_video: Callable[..., Path]) -> None:
    with pytest.raises(FileNotFoundError, match=r"the video of clip a is missing"):
        clip_set(tmp_path, spec()).frames_of(spec())
    video = make_video(tmp_path / "a.mp4")
    right = spec(sha256=sha256(video))
    assert len(clip_set(tmp_path, right).frames_of(right)) == 4
    with pytest.raises(ValueError, match="SHA-256 differs"):
        clip_set(tmp_path, right).frames_of(spec(sha256="0" * 64))


def test_a_methods_output_must_match_the_original(
    tmp_path: Path, spec: Spec, make_video: Callable[..., Path]
) -> None:
    (tmp_path / "out").mkdir()
    method = Method.parse(f"stit={tmp_path / 'out'}")
    assert method.video_of(spec()) is None
    with pytest.raises(FileNotFoundError, match=r"no a\.mp4"):
        method.frames_of(spec())
    make_video(tmp_path / "out" / "a.mp4", frames=4, height=32, width=32)
    assert levels(method.frames_of(spec())) == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="4 frames, the original of clip a has 5"):
        method.frames_of(spec(frames=5))
    with pytest.raises(ValueError, match="32x32 pixels, the original of clip a has 64x64"):
        method.frames_of(spec(size=64))
    make_video(tmp_path / "out" / "a.mkv", frames=4)
    with pytest.raises(ValueError, match=r"both a\.mp4 and a\.mkv"):
        method.video_of(spec())


def test_method_names(tmp_path: Path) -> None:
    for text in ("dir", "=dir", "(source)=dir", "a=", "a/b=dir"):
        with pytest.raises(ValueError, match="method"):
            Method.parse(text)
    with pytest.raises(NotADirectoryError, match="no such folder"):
        Method.parse(f"dva={tmp_path / 'none'}")


def test_a_limit_leaves_the_gallery_as_large(tmp_path: Path, spec: Spec) -> None:
    edited = tuple(spec(key=key) for key in "abc")
    clips = ClipSet("made up", 0, "a test", edited, (spec(key="d", category=None),), tmp_path)
    limited = clips.limited(1)
    assert [clip.key for clip in limited.edited] == ["a"]
    assert [clip.key for clip in limited.gallery] == ["b", "c", "d"]
    assert clips.limited(None) == clips
    with pytest.raises(ValueError, match="--limit 0"):
        clips.limited(0)
