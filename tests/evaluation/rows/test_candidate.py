"""Rows: originals in the place of edits, and somebody's outputs."""

from collections.abc import Callable
from pathlib import Path

import pytest

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate, refuse_twins
from keyface.evaluation.rows.control_rows import another_person, ground_truth, source
from keyface.evaluation.rows.method import Method

Spec = Callable[..., ClipSpec]


def clip_set(folder: Path, edited: list[ClipSpec], gallery: list[ClipSpec]) -> ClipSet:
    return ClipSet("made up", 0, "a test", tuple(edited), tuple(gallery), folder)


def test_another_person_is_never_the_same_and_always_as_long(tmp_path: Path, spec: Spec) -> None:
    edited = [
        spec(key="a1", identity="anna"),
        spec(key="a2", identity="anna"),
        spec(key="b", identity="ben"),
        spec(key="c", identity="cleo", frames=9),
    ]
    clips = clip_set(tmp_path, edited, [spec(key="d", identity="dora", frames=9)])
    taken = {key: clip.key for key, clip in another_person(clips).stands_for.items()}
    assert taken == {"a1": "b", "a2": "b", "b": "a1", "c": "d"}


def test_nobody_else_means_a_missing_clip(tmp_path: Path, spec: Spec) -> None:
    clip = spec(key="a1", identity="anna")
    row = another_person(clip_set(tmp_path, [clip], [spec(key="a2", identity="anna")]))
    assert row.video_of(clip) is None


def test_the_source_stands_for_itself(tmp_path: Path, spec: Spec, make_video: Callable[..., Path]) -> None:
    make_video(tmp_path / "a.mp4", frames=6)
    clip = spec(start=0.2)
    row = source(clip_set(tmp_path, [clip], []))
    assert row.video_of(clip) == tmp_path / "a.mp4"
    frames = row.frames_of(clip)
    assert frames.shape == (4, 3, 32, 32)
    assert frames[0].mean(0)[8:24, 12:20].mean() == pytest.approx(-0.7, abs=0.03), "the third frame"


def test_a_methods_row_reads_its_own_files(
    tmp_path: Path, spec: Spec, make_video: Callable[..., Path]
) -> None:
    make_video(tmp_path / "theirs" / "a.mp4", frames=4, height=32, width=32)
    clip, other = spec(), spec(key="b")
    row = Candidate(
        "theirs", "method", clip_set(tmp_path, [clip, other], []), Method("theirs", tmp_path / "theirs")
    )
    assert row.frames_of(clip).shape == (4, 3, 32, 32)
    assert row.video_of(other) is None
    assert row.drawn_from(clip) is None


def test_perfect_edits_are_there_for_rendered_clips_only(tmp_path: Path, spec: Spec) -> None:
    clips = clip_set(tmp_path, [spec()], [])
    assert ground_truth(clips) is None
    (tmp_path / "rendered").mkdir()
    row = ground_truth(clips)
    assert row is not None
    assert (row.name, row.kind) == ("(rendered)", "control")


def test_two_rows_of_one_name_are_refused(tmp_path: Path, spec: Spec) -> None:
    clips = clip_set(tmp_path, [spec()], [])
    with pytest.raises(ValueError, match="two methods are named 'a'"):
        refuse_twins([Candidate("a", "method", clips), Candidate("a", "sweep", clips)])
