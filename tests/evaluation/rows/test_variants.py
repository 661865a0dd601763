"""Settings by name, the rows of an ablation, the points of a sweep."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from keyface.editing.settings import EditSettings, Injection, Propagation
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.ours import Model
from keyface.evaluation.rows.variants import Variant, grid, parse_settings, read_variants, with_value
from keyface.plugins import edits

CONFIGS = Path(__file__).parents[3] / "configs" / "evaluate"


def test_settings_are_set_by_dotted_names_and_in_their_own_types() -> None:
    settings = EditSettings()
    assert with_value(settings, "injection.until", "0.25").injection.until == 0.25
    assert with_value(settings, "guidance", "2").guidance_scale == 2.0
    assert with_value(settings, "steps", "10").steps == 10
    assert with_value(settings, "steps", 10.0).steps == 10
    assert with_value(settings, "joint_attention", "false").joint_attention is False
    assert with_value(settings, "propagation.mode", "latent").propagation.mode == "latent"
    assert settings == EditSettings(), "the settings themselves stay as they were"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("stepz", 3, "did you mean 'steps'"),
        ("injection.untill", 1, "did you mean 'until'"),
        ("steps", "2.5", "whole number"),
        ("steps", True, "whole number"),
        ("strength", "much", "must be a number"),
        ("strength", 2, "fraction from 0 to 1"),
        ("joint_attention", "maybe", "true or false"),
        ("propagation.correspondence_at", "0.1", "cannot be set"),
        ("injection", 3, "cannot be set"),
    ],
)
def test_wrong_settings_say_what_is_wrong(name: str, value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        with_value(EditSettings(), name, value)


def test_settings_in_words() -> None:
    assert parse_settings("steps=10, guidance=2,") == {"steps": "10", "guidance_scale": "2"}
    for wrong in ("steps", "steps=", "=3", "guidance=1,guidance_scale=2"):
        with pytest.raises(ValueError, match="--edit"):
            parse_settings(wrong)


def test_shipped_solvers_are_compared_at_equal_steps() -> None:
    applied = [each.apply(EditSettings()) for each in read_variants(CONFIGS / "solver.yaml", {})]
    steps = {name: {each.steps for each in applied if each.solver == name} for name in ("ddim", "dpmpp_2m")}
    assert steps == {"ddim": {50, 25, 20, 10}, "dpmpp_2m": {20, 10}}


def test_the_shipped_peer_is_tokenflow() -> None:
    rows = {each.name: each for each in read_variants(CONFIGS / "propagation.yaml", {})}
    reshaping = EditSettings(injection=Injection(mode="kv", until=0.3))
    peer = rows["tokenflow"].apply(reshaping)
    assert (peer.propagation, peer.injection) == (Propagation.tokenflow(), Injection.tokenflow())


@pytest.mark.parametrize("name", ["ablation.yaml", "guidance.yaml", "propagation.yaml", "shapes.yaml"])
def test_shipped_variants_can_be_read_and_differ(name: str) -> None:
    found = read_variants(CONFIGS / name, {"steps": "4"})
    assert len({(str(each.apply(EditSettings())), str(each.settings)) for each in found}) == len(found)
    assert all(each.apply(EditSettings()).steps == 4 for each in found)


def test_the_ablation_leaves_out_one_part_a_row() -> None:
    rows = {each.name: each for each in read_variants(CONFIGS / "ablation.yaml", {})}
    full = rows["full"].apply(EditSettings())
    assert full == EditSettings()
    without = rows["without identity guidance"].apply(EditSettings())
    assert full.injection.enabled
    assert not without.injection.enabled
    assert rows["full"].tuned("direction")
    assert not rows["untuned direction"].tuned("direction")
    assert rows["untuned direction"].tuned("identity")
    single = rows["frame by frame"].apply(EditSettings())
    assert (single.interval, single.joint_attention) == (1, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- full", "a mapping"),
        ("full: 3", "its settings must be a mapping"),
        ("full: {stepz: 3}", "full: unknown setting 'stepz'"),
        ("full: {direction: mine}", "choose tuned or base"),
        ("../../up: {}", "method name '../../up'"),
        ("(source): {}", "method name"),
        ("full: !!python/object/apply:os.system [touch canary]", "cannot be read as YAML"),
        ("full: [", "cannot be read as YAML"),
    ],
)
def test_wrong_variants_name_file_and_row(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=said) as error:
        read_variants(path, {})
    assert "rows.yaml" in str(error.value)


def test_a_sweep_is_every_combination() -> None:
    points = grid("injection.until=0:1,strength=0.5:0.75:1,guidance", {"steps": "3"})
    assert len(points) == 2 * 3 * 3
    assert len({point.name for point in points}) == len(points)
    settings = points[0].apply(EditSettings())
    assert (settings.injection.until, settings.strength, settings.guidance_scale) == (0.0, 0.5, 1.0)
    assert settings.steps == 3
    assert points[0].name == "injection.until 0 strength 0.5 guidance_scale 1"
    off, on = grid("injection.enabled=false:true", {})
    assert (off.name, on.name) == ("injection.enabled false", "injection.enabled true")
    assert [point.apply(EditSettings()).injection.enabled for point in (off, on)] == [False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("seed", "say which values"),
        ("strength=", "say which values"),
        ("strength=high", "neither a number nor true or false"),
        ("strength=true", "strength is 'true'; it must be a number"),
        ("injection.enabled=2", "true or false"),
        ("strength=3", "fraction from 0 to 1"),
        ("guidance,guidance_scale", "given twice"),
        ("nonsense=1:2", "unknown setting"),
    ],
)
def test_wrong_sweeps_say_what_is_wrong(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        grid(text, {})


def test_a_variant_keeps_what_it_does_not_name() -> None:
    base = EditSettings(steps=7, interval=3)
    assert Variant("full").apply(base) == base
    assert Variant("x", {"interval": 1}).apply(base) == EditSettings(steps=7, interval=1)


def test_what_a_variant_does_not_name_is_as_the_categories_ask(spec: Callable[..., ClipSpec]) -> None:
    whole = EditSettings(injection=Injection(until=1.0))
    model = Model(cast(Any, None), settings=whole, strength=0.7)
    named = Variant("named", {"injection.until": 0.9, "strength": 0.2})
    old, beard = edits["old"], edits["beard"]
    for category, strength, guidance, until in (
        ("old", old.strength, old.guidance, 1.0),
        ("beard", beard.strength, beard.guidance, beard.injection),
        (
            "old+beard",
            (old.strength + beard.strength) / 2,
            (old.guidance + beard.guidance) / 2,
            beard.injection,
        ),
    ):
        clip = spec(category=category)
        asked = model.settings_for(clip, Variant("ours"))
        assert (asked.strength, asked.injection.until) == (pytest.approx(0.7 * strength), until)
        assert asked.guidance_scale == pytest.approx(7.5 * guidance)
        assert asked.injection.mode == ("kv" if "beard" in category else "qk")
        assert model.settings_for(clip, named).strength == 0.2
        assert model.settings_for(clip, named).injection.until == 0.9
