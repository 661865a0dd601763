import pytest
import torch

from keyface.metrics.temporal import temporal_loss
from keyface.miniature.population.clips import draw_clip
from keyface.miniature.population.labels import counterfactual, true_labels
from keyface.miniature.population.parameters import NUISANCE_NAMES, Faces
from keyface.miniature.population.qualities import put_on_usual, qualities
from keyface.miniature.population.world import draw_faces
from keyface.miniature.rendering.renderer import render_images
from keyface.miniature.trials import FIRST_PERSON, Trial, find_person, render_trial, render_trials
from keyface.plugins import Category, edits


@pytest.fixture(scope="module")
def glasses_and_beard() -> list[Trial]:
    return list(render_trials([edits["glasses"], edits["beard"]], 3, frames=3, size=64, seed=0))


def test_categories_rotate_and_people_lack_them(glasses_and_beard: list[Trial]) -> None:
    assert [each.categories[0].name for each in glasses_and_beard] == ["glasses", "beard", "glasses"]
    assert len({each.identity for each in glasses_and_beard}) == 3
    for each in glasses_and_beard:
        truth = true_labels(draw_clip(each.identity, 0, 1))
        assert bool(truth[each.categories[0].attribute][0]) is False


def test_prompts_say_the_edit(glasses_and_beard: list[Trial]) -> None:
    first = glasses_and_beard[0]
    assert "without glasses" in first.prompts.source
    assert first.prompts.target == first.prompts.source.replace("without glasses", "wearing glasses")


def test_the_flow_explains_the_clip() -> None:
    one = render_trial(FIRST_PERSON, [edits["smile"]], frames=4, size=64, seed=3, fps=2)
    assert one.flow.shape == (3, 2, 64, 64)
    assert one.flow.abs().max() > 3
    exact = temporal_loss(one.frames, one.flow, one.valid)
    assert exact < 0.02
    assert exact < 0.5 * temporal_loss(one.frames, torch.zeros_like(one.flow), one.valid)


def test_the_perfect_answer_changes_the_region_and_nothing_else(
    glasses_and_beard: list[Trial],
) -> None:
    for each in glasses_and_beard:
        changed = (each.ground_truth - each.frames).abs().amax(dim=1) > 0.1
        assert changed.any()
        assert not (changed & ~each.region).any()
        assert each.region.float().mean() < 0.8


@pytest.mark.parametrize("category", list(edits), ids=lambda category: category.name)
def test_every_edit_has_a_perfect_answer(category: Category) -> None:
    one = render_trial(find_person([category], FIRST_PERSON, seed=0), [category], frames=1, size=32, seed=0)
    assert (one.ground_truth - one.frames).abs().max() > 0.1


def _kinds(one: Faces, other: Faces) -> set[str]:
    """Return what an edit that puts something on changed, beside labels, in two faces of the same person."""
    after = put_on_usual(one, other)
    return {each for each in NUISANCE_NAMES if (after.condition(each) != other.condition(each)).any()}


def test_what_an_edit_puts_on_is_of_the_kind_that_its_prompt_means() -> None:
    faces = draw_faces(torch.arange(FIRST_PERSON, FIRST_PERSON + 200), 0)
    faces = faces[~true_labels(faces)["Eyeglasses"]]
    worn = put_on_usual(faces, counterfactual(faces, "Eyeglasses", True))
    assert {words["glasses"] for words in qualities(worn)} == {("round", "black")}
    assert len({words["glasses"] for words in qualities(faces)}) > 1, "the same people's own are of any kind"
    one = render_trial(FIRST_PERSON, [edits["glasses"]], frames=1, size=64, seed=0)
    clip = draw_clip(FIRST_PERSON, 0, 1)
    usual = render_images(put_on_usual(clip, counterfactual(clip, "Eyeglasses", True)), 64)
    assert torch.equal(one.ground_truth, usual)


def test_what_was_worn_before_an_edit_stays_as_it_was() -> None:
    faces = draw_faces(torch.arange(FIRST_PERSON, FIRST_PERSON + 200), 0)
    women = faces.with_attributes(hat=1.0, eyeglasses=1.0, makeup=0.0, earrings=0.0)
    assert not _kinds(women, women.with_attributes(hat=0.0, eyeglasses=0.0))
    earrings = women.with_attributes(earrings=1.0)
    assert _kinds(women, earrings) == {"earring_style", "makeup_hue"}
    made_up = women.with_attributes(makeup=1.0)
    assert _kinds(made_up, made_up.with_attributes(earrings=1.0)) == {"earring_style"}
    assert not _kinds(earrings, earrings.with_attributes(makeup=1.0))


def test_several_edits_at_once() -> None:
    chosen = edits.select(["glasses", "beard", "smile"])
    identity = find_person(chosen, FIRST_PERSON, seed=1, also={"Male": True, "Young": True})
    one = render_trial(identity, chosen, frames=1, size=32, seed=1)
    for phrase in ("young man", "wearing glasses", "beard", "smiling"):
        assert phrase in one.prompts.target
    assert one.name == f"glasses-beard-smile-{identity - FIRST_PERSON}"


def test_nobody_is_found_where_nobody_fits() -> None:
    with pytest.raises(LookupError, match="nobody among 2000 people"):
        find_person([edits["beard"]], FIRST_PERSON, seed=0, also={"Male": False})


def test_an_edit_without_regions_frees_the_whole_picture_also_beside_others() -> None:
    anywhere = Category("pale", ("pale skin",), "tanned skin", "Pale_Skin")
    one = render_trial(FIRST_PERSON, [edits["glasses"]], frames=1, size=64, seed=0)
    both = render_trial(FIRST_PERSON, [edits["glasses"], anywhere], frames=1, size=64, seed=0)
    assert not one.region.all()
    assert both.region.all()
