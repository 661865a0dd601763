import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from keyface.evaluation.clip_sets.celebv import TABLE_1, TABLE_3, CelebvProtocol, choose_celebv_hq
from keyface.evaluation.clip_sets.celebv_info import read_info, write_caption
from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.rows.method import Method
from keyface.files import sha256

MakeVideo = Callable[..., Path]
RECIPE = CelebvProtocol(edits="glasses,old", chosen=4, edited=3, seconds=0.5, fps=10.0, size=32)


@pytest.fixture
def folder(tmp_path: Path, make_video: MakeVideo) -> Path:
    """Eight people's clips of .6 s, one of .3 s, a second clip of a first one's YouTube video."""
    videos = tmp_path / "CelebV-HQ"
    for name in "abcdefgh":
        make_video(videos / f"{name * 11}_0.mp4", frames=6)
    make_video(videos / "part" / "short.mp4", frames=3)
    return videos


def annotations(path: Path, **attributes: list[int]) -> Path:
    """Annotations of clips by first letter: Male, Young, Eyeglasses."""
    names = ["Blurry", "male", "young", "Eyeglasses"]
    clips = {
        f"{name * 11}_0": {"attributes": {"appearance": [0, *values], "action": [1]}}
        for name, values in attributes.items()
    }
    meta = {"appearance_mapping": names, "action_mapping": ["smile"]}
    path.write_text(json.dumps({"meta_info": meta, "clips": clips}))
    return path


def test_the_papers_numbers() -> None:
    assert (TABLE_1.chosen, TABLE_1.edited, TABLE_1.rest) == (50, 25, True)
    assert (TABLE_1.seconds, TABLE_1.fps, TABLE_1.size) == (4.0, 10.0, 512)
    assert (TABLE_3.chosen, TABLE_3.edited, TABLE_3.seconds) == (20, 20, 10.0)


def test_a_set_is_chosen_and_can_be_scored_elsewhere(folder: Path, tmp_path: Path) -> None:
    clips, notes = choose_celebv_hq(folder, RECIPE)
    assert notes == ()
    assert [clip.category for clip in clips.edited] == ["glasses", "old", "glasses"]
    assert len(clips.clips) == 9
    assert len({clip.key for clip in clips.clips}) == 9
    assert all(clip.frames == 5 and clip.sha256 for clip in clips.clips[:4])
    assert [clip.sha256 for clip in clips.clips[4:]] == [None] * 5
    assert {clip.key: clip.frames for clip in clips.gallery}["short"] == 3
    assert clips.edited[0].source == "a photo of a person, without glasses"
    assert clips.edited[0].target == "a photo of a person, wearing glasses"
    clips.write(tmp_path / "out" / "protocol.json")
    elsewhere = folder.rename(tmp_path / "another lab")
    there = ClipSet.read(tmp_path / "out" / "protocol.json", videos=elsewhere)
    assert there.digest() == clips.digest()
    for clip in there.clips:
        assert there.frames_of(clip).shape == (clip.frames, 3, 32, 32)


def test_the_seed_decides_and_nothing_else(folder: Path) -> None:
    def keys(recipe: CelebvProtocol) -> list[str]:
        return [clip.key for clip in choose_celebv_hq(folder, recipe)[0].edited]

    first = keys(RECIPE)
    assert keys(RECIPE) == first
    assert any(keys(replace(RECIPE, seed=seed)) != first for seed in (1, 2, 3))
    # a video that was not chosen may be missing elsewhere
    spare = next(path for path in sorted(folder.glob("*.mp4")) if path.stem not in first)
    spare.unlink()
    assert keys(RECIPE) == first


def test_clips_of_one_youtube_video_never_meet(folder: Path, make_video: MakeVideo) -> None:
    chosen = choose_celebv_hq(folder, RECIPE)[0].clips[:4]
    for clip in chosen:
        make_video(folder / f"{clip.key[:-2]}_7_1.mp4", frames=6)
    clips, notes = choose_celebv_hq(folder, RECIPE)
    assert len({clip.key[:11] for clip in clips.clips[:4]}) == 4
    assert sum("same YouTube video as a chosen clip" in note for note in notes) == 4
    assert len(clips.clips) == 9


def test_annotations_choose_who_gets_what(folder: Path, tmp_path: Path) -> None:
    """a and b wear glasses, the others are not annotated: only c can get them."""
    info = annotations(tmp_path / "info.json", a=[1, 1, 1], b=[0, 0, 1], c=[0, 1, 0])
    clips, _ = choose_celebv_hq(folder, replace(RECIPE, edits="glasses", edited=1), info)
    assert clips.edited[0].key == "ccccccccccc_0"
    assert clips.edited[0].source == "a photo of a young woman"
    assert clips.edited[0].target == "a photo of a young woman, wearing glasses"
    assert sha256(info)[:16] in clips.made_by
    with pytest.raises(
        LookupError, match="after 1 clips no other is long enough and can be edited with glasses"
    ):
        choose_celebv_hq(folder, replace(RECIPE, edits="glasses", edited=2), info)


def test_annotations_are_read_by_celebas_names(tmp_path: Path) -> None:
    info = annotations(tmp_path / "info.json", a=[1, 0, 1])
    assert read_info(info)["aaaaaaaaaaa_0"] == {
        "Blurry": False, "Male": True, "Young": False, "Eyeglasses": True, "Smiling": True,
    }  # fmt: skip
    assert (
        write_caption({"Male": True, "Young": False, "Gray_Hair": True})
        == "a photo of an old man with gray hair"
    )
    assert write_caption({}) == "a photo of a person"
    content = json.loads(info.read_text())
    content["meta_info"]["appearance_mapping"] = ["no_beard", "goatee", "mustache", "5_o_clock_shadow"]
    for values, beard in ([0, 0, 0, 0], True), ([1, 0, 0, 0], False), ([0, 1, 0, 0], False):
        content["clips"]["aaaaaaaaaaa_0"]["attributes"]["appearance"] = values
        info.write_text(json.dumps(content))
        assert read_info(info)["aaaaaaaaaaa_0"]["Beard"] is beard


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "[" * 100_000, '{"meta_info": 3}', '{"meta_info": {"appearance_mapping": "ab"}}',
     '{"meta_info": {"appearance_mapping": ["a"], "action_mapping": []}, "clips": [1]}',
     '{"meta_info": {"appearance_mapping": ["a"], "action_mapping": []}, "clips": {"k": {"attributes": '
     '{"appearance": [[]], "action": []}}}}'],
)  # fmt: skip
def test_other_annotations_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "info.json"
    path.write_text(text)
    with pytest.raises(
        ValueError, match=r"info\.json: (not|cannot be read as JSON|lists and mappings)"
    ) as caught:
        read_info(path)
    assert "\n" not in str(caught.value)


def test_what_is_no_usable_video_is_left_out_and_said(folder: Path, make_video: MakeVideo) -> None:
    (folder / "damaged.mp4").write_bytes(b"no video at all")
    make_video(folder / "two words.mp4")
    make_video(folder / "again" / "short.mp4", frames=3)
    clips, notes = choose_celebv_hq(folder, replace(RECIPE, chosen=8))
    assert len(clips.clips) == 9
    told = "\n".join(notes)
    for said in ("damaged.mp4: not a video", "'two words'", "another video has this name"):
        assert said in told
    with pytest.raises(LookupError, match=r"after 8 clips no other is long enough; 1 are too short"):
        choose_celebv_hq(folder, replace(RECIPE, chosen=9))


def test_bad_requests(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no videos in it"):
        choose_celebv_hq(tmp_path / "none", RECIPE)
    with pytest.raises((ValueError, LookupError), match="glases"):
        choose_celebv_hq(folder, replace(RECIPE, edits="glases"))
    with pytest.raises(ValueError, match="at most all"):
        replace(RECIPE, edited=5)
    with pytest.raises(ValueError, match="frames is 0"):
        choose_celebv_hq(folder, replace(RECIPE, seconds=0.01))


def test_inputs_are_what_a_method_is_run_on(folder: Path, tmp_path: Path) -> None:
    clips, _ = choose_celebv_hq(folder, RECIPE)
    clips.write_originals(tmp_path / "inputs")
    copies = Method("copies", tmp_path / "inputs")
    for clip in clips.edited:
        assert (copies.frames_of(clip) - clips.frames_of(clip)).abs().mean() < 0.05
    assert len(list((tmp_path / "inputs").iterdir())) == 3
