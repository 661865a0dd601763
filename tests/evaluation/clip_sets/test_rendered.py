import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.ground_truth import EDITS, GroundTruth, read_ground_truth
from keyface.evaluation.clip_sets.rendered import RenderedProtocol, render_clip_set
from keyface.evaluation.rows.method import Method
from keyface.files import write_text
from keyface.metrics.locality import background_drift, outside_change
from keyface.metrics.temporal import temporal_loss
from keyface.miniature.trials import FIRST_PERSON, render_trial
from keyface.plugins import edits

RECIPE = RenderedProtocol(
    edits="glasses, beard+smile", edited=3, gallery=2, frames=3, gallery_frames=2, size=64, fps=2, seed=4
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ClipSet:
    return render_clip_set(tmp_path_factory.mktemp("rendered"), RECIPE)


def truth_of(made: ClipSet, index: int) -> GroundTruth:
    truth = read_ground_truth(made.folder, made.edited[index])
    assert truth is not None
    return truth


def test_the_set_is_what_was_asked_for(made: ClipSet) -> None:
    assert ClipSet.read(made.folder / "protocol.json") == made
    assert [clip.categories for clip in made.edited] == [("glasses",), ("beard", "smile"), ("glasses",)]
    assert len({clip.identity for clip in made.clips}) == 5
    assert [clip.frames for clip in made.gallery] == [2, 2]
    assert "size=64" in made.made_by
    for clip in made.clips:
        assert made.frames_of(clip).shape == (clip.frames, 3, 64, 64)


def test_clips_prompts_and_truth_are_the_trials(made: ClipSet) -> None:
    for index, clip in enumerate(made.edited):
        known = render_trial(int(clip.identity), edits.select(clip.categories), 3, 64, seed=4, fps=2)
        assert (clip.source, clip.target) == (known.prompts.source, known.prompts.target)
        assert int(clip.identity) >= FIRST_PERSON
        # what the encoder loses is small beside any edit
        assert (made.frames_of(clip) - known.frames).abs().mean() < 0.03
        truth = truth_of(made, index)
        assert torch.equal(truth.valid, known.valid)
        assert torch.equal(truth.region, known.region)
        torch.testing.assert_close(truth.flow, known.flow, atol=0.01, rtol=0.001)


def test_the_flow_explains_the_file(made: ClipSet) -> None:
    frames, truth = made.frames_of(made.edited[0]), truth_of(made, 0)
    exact = temporal_loss(frames, truth.flow, truth.valid)
    assert exact < 0.7 * temporal_loss(frames, torch.zeros_like(truth.flow), truth.valid)


def test_the_perfect_answer_is_a_methods_folder(made: ClipSet) -> None:
    perfect = Method("rendered", made.folder / EDITS)
    for index, clip in enumerate(made.edited):
        frames, answer, truth = made.frames_of(clip), perfect.frames_of(clip), truth_of(made, index)
        assert truth.person is not None
        assert 0.15 < truth.person.float().mean() < 0.8
        inside = outside_change(answer, frames, ~truth.region)
        assert inside > 3 * outside_change(answer, frames, truth.region)
        assert background_drift(answer, frames, truth.person, truth.region) < 0.01


def test_a_stopped_run_goes_on_where_it_was(made: ClipSet) -> None:
    kept, lost = (made.video_of(clip) for clip in made.gallery)
    before = kept.stat().st_mtime_ns
    lost.unlink()
    (made.folder / "truth" / f"{made.edited[0].key}.safetensors").unlink()
    assert render_clip_set(made.folder, RECIPE) == made
    assert kept.stat().st_mtime_ns == before
    assert lost.is_file()
    truth_of(made, 0)


def test_two_recipes_never_share_a_folder(made: ClipSet) -> None:
    with pytest.raises(ValueError, match="seed is 4 and not 5; choose another folder"):
        render_clip_set(made.folder, replace(RECIPE, seed=5))


def test_clips_whose_edits_were_rendered_otherwise_are_not_scored(tmp_path: Path) -> None:
    write_text(tmp_path / "recipe.json", json.dumps(asdict(RECIPE)))
    with pytest.raises(
        ValueError, match="put_on is missing, 'the usual kind' is wanted; choose another folder"
    ):
        render_clip_set(tmp_path, RECIPE)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    for text in ("{", "3", "[1]"):
        (tmp_path / "recipe.json").write_text(text)
        with pytest.raises(ValueError, match="choose another folder"):
            render_clip_set(tmp_path, RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


def test_what_cannot_be_rendered_is_said_first(tmp_path: Path) -> None:
    for name, value in {"edited": 0, "frames": 0, "gallery_frames": 0, "size": 65, "fps": 0}.items():
        with pytest.raises(ValueError, match="please"):
            replace(RECIPE, **{name: value})
    with pytest.raises((ValueError, LookupError), match="glases"):
        render_clip_set(tmp_path / "set", RenderedProtocol(edits="glases"))
    with pytest.raises(ValueError, match="conflict"):
        render_clip_set(tmp_path / "set", RenderedProtocol(edits="young+old"))
    assert not (tmp_path / "set").exists()
