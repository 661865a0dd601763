"""Ways to edit: the rows of an ablation, the points of a sweep."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from keyface.diffusion.backbone import Backbone
from keyface.editing.settings import Composition, EditSettings, Injection, Propagation
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.files import find_config
from keyface.evaluation.rows.ours import describe, settings_for
from keyface.evaluation.rows.variants import Variant, choose_ways, grid, read_variants
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.plugins import edits
from keyface.untrusted import read_yaml


def shipped(name: str) -> dict[str, Variant]:
    return {each.name: each for each in read_variants(name)}


def test_tokenflow_is_the_same_in_both_shipped_files() -> None:
    mode = next(each for each in read_variants("propagation") if each.name == "tokenflow")
    (row,) = (each for each in read_variants("speed") if each.name.startswith("tokenflow"))
    assert row.settings == {**mode.settings, "solver": "ddim", "steps": 25}


def test_shipped_solvers_are_compared_at_equal_steps() -> None:
    applied = [each.apply(EditSettings()) for each in read_variants("solver")]
    steps = {name: {each.steps for each in applied if each.solver == name} for name in ("ddim", "dpmpp_2m")}
    assert steps == {"ddim": {50, 25, 20, 10}, "dpmpp_2m": {20, 10}}


def test_the_shipped_peer_is_tokenflow() -> None:
    reshaping = EditSettings(injection=Injection(mode="kv", until=0.3))
    rows = {name: row.apply(reshaping) for name, row in shipped("propagation").items()}
    peer = rows.pop("tokenflow")
    assert (peer.propagation, peer.injection) == (Propagation.tokenflow(), Injection.tokenflow())
    assert peer.composition.mode == "off", "the peer shows decoded frames, as it was published"
    assert {row.composition.mode for row in rows.values()} == {"detail"}


@pytest.mark.parametrize("name", ["ablation", "guidance", "propagation", "shapes"])
def test_shipped_variants_can_be_read_and_differ(name: str) -> None:
    found = read_variants(name, {"steps": 4})
    assert len(found) == len(read_yaml(find_config(name)))
    different = {str((each.apply(EditSettings()), each.branches, each.settings)) for each in found}
    assert len(different) == len(found)
    assert all(each.apply(EditSettings()).steps == 4 for each in found)


def test_the_ablation_leaves_out_one_part_a_row() -> None:
    rows = shipped("ablation")
    full = rows["full"].apply(EditSettings())
    assert full == EditSettings()
    without = rows["without identity guidance"].apply(EditSettings())
    assert full.injection.enabled
    assert not without.injection.enabled
    assert rows["full"].branches == {"identity": "tuned", "direction": "tuned"}
    assert rows["untuned direction"].branches == {"identity": "tuned", "direction": "base"}
    assert rows["untuned"].branches == {"identity": "base", "direction": "base"}
    assert full.composition.mode == "detail"
    assert rows["without composition"].apply(full) == replace(full, composition=Composition(mode="off"))
    assert rows["plain masking"].apply(full) == replace(full, composition=Composition(mode="mask"))
    single = rows["frame by frame"].apply(EditSettings())
    assert (single.interval, single.joint_attention) == (1, False)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- full", "a mapping"),
        ("{}", "a mapping from names to settings is needed"),
        ("full: 3", "rows.yaml: full: .* must be a mapping"),
        ("full: {stepz: 3}", "rows.yaml: full: unknown name 'stepz' .did you mean 'steps'"),
        ("full: {injection: {untill: 1}}", "did you mean 'until'"),
        ("full: {injection.until: 2}", "fraction from 0 to 1"),
        ("full: {steps: true}", "whole number"),
        ("full: {direction: mine}", "one of tuned, base"),
        ("../../up: {}", "method name '../../up'"),
        ("(source): {}", "method name"),
        ("full: !!python/object/apply:os.system [touch canary]", "cannot be read as YAML"),
        ("full: [", "cannot be read as YAML"),
        ("full: {}\nfull: {steps: 2}", "'full' is given twice"),
    ],
)
def test_wrong_variants_name_file_and_row(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text(content)
    with pytest.raises(ValueError, match=said) as error:
        read_variants(path)
    assert "rows.yaml" in str(error.value)


def test_a_row_keeps_what_the_base_says_beside_its_own(tmp_path: Path) -> None:
    path = tmp_path / "rows.yaml"
    path.write_text("mine: {injection: {mode: kv}, guidance_scale: 2}")
    (row,) = read_variants(path, {"injection": {"until": 0.25, "mode": "qk"}, "steps": 5})
    assert row.settings == {"injection": {"until": 0.25, "mode": "kv"}, "steps": 5, "guidance_scale": 2.0}


def test_a_sweep_is_every_combination() -> None:
    axes = {"injection.until": [0, 1], "strength": [0.5, 0.75, 1], "guidance_scale": [1, 4, 7.5]}
    points = grid(axes, {"steps": 3})
    assert len(points) == 2 * 3 * 3
    assert len({point.name for point in points}) == len(points)
    settings = points[0].apply(EditSettings())
    assert (settings.injection.until, settings.strength, settings.guidance_scale) == (0.0, 0.5, 1.0)
    assert settings.steps == 3
    assert points[0].name == "injection.until 0 strength 0.5 guidance_scale 1"
    off, on = grid({"injection.enabled": [False, True], "injection.mode": ["kv"]}, {})
    assert off.name == "injection.enabled false injection.mode kv"
    assert [point.apply(EditSettings()).injection.enabled for point in (off, on)] == [False, True]


@pytest.mark.parametrize(
    ("axes", "said"),
    [
        ({"strength": []}, "say which values"),
        ({"strength": None}, "say which values"),
        ({"strength": 0.5}, "say which values"),
        ({"strength": ["high"]}, "strength is 'high'; it must be a number"),
        ({"strength": [True]}, "strength is True; it must be a number"),
        ({"injection.enabled": [2]}, "true or false"),
        ({"strength": [3]}, "fraction from 0 to 1"),
        ({"nonsense": [1, 2]}, "--sweep: unknown name 'nonsense'"),
        ({}, "name settings and their values"),
        ("strength=0.5", "--sweep strength=0.5: name settings"),
    ],
)
def test_wrong_sweeps_say_what_is_wrong(axes: dict[str, object] | str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        grid(axes, {})


def test_ways_are_rows_and_points_over_one_base() -> None:
    ways = choose_ways(True, {"steps": 7}, "guidance", {"strength": [0.5]})
    assert [each.name for each in ways.rows] == ["ours", *shipped("guidance")]
    assert [each.name for each in ways.points] == ["strength 0.5"]
    assert {each.settings["steps"] for each in (ways.control, *ways.rows, *ways.points)} == {7}
    assert not choose_ways(False, {"steps": 7})


def test_a_variant_keeps_what_it_does_not_name() -> None:
    base = EditSettings(steps=7, interval=3)
    assert Variant("full").apply(base) == base
    assert Variant("x", {"interval": 1}).apply(base) == EditSettings(steps=7, interval=1)


def test_what_a_variant_does_not_name_is_as_the_categories_ask(
    spec: Callable[..., ClipSpec], tiny_backbone: Backbone
) -> None:
    defaults = EditSettings(strength=0.7, injection=Injection(until=1.0))
    pipe = FaceEditPipeline(tiny_backbone, defaults=defaults)
    named = Variant.of("named", {"injection.until": 0.9, "strength": 0.2}, {}, "a test")
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
        asked = settings_for(pipe, clip, Variant("ours"))
        assert (asked.strength, asked.injection.until) == (pytest.approx(0.7 * strength), until)
        assert asked.guidance_scale == pytest.approx(7.5 * guidance)
        assert asked.injection.mode == ("kv" if "beard" in category else "qk")
        assert settings_for(pipe, clip, named).strength == 0.2
        assert settings_for(pipe, clip, named).injection.until == 0.9
    described = describe(pipe, Variant("ours"))
    assert described["strength"] == "the category's x 0.7"
    assert described["guidance_scale"] == "the category's x 7.5"
    assert described["injection"]["until"] == "the category's x 1"
    assert (describe(pipe, named)["strength"], described["identity"]) == (0.2, "tuned")


def test_shipped_files_are_found_by_name_and_ones_own_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    configs = Path(__file__).parents[3] / "configs" / "evaluate"
    assert find_config("ablation").read_text() == (configs / "ablation.yaml").read_text()
    (tmp_path / "ablation").write_text("mine: {}")
    assert find_config(Path("ablation")) == Path("ablation")
    assert find_config(Path("elsewhere/goals")) == Path("elsewhere/goals")
    assert find_config("nothing") == Path("nothing")
