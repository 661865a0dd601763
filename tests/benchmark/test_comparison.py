"""Which ways to edit a benchmark compares, and with which settings."""

from pathlib import Path

import pytest

from keyface.benchmark.comparison import Comparison


@pytest.mark.parametrize(
    ("settings", "used"),
    [({"guidance_scale": 5.0}, 5.0), ({}, 0.92 * 1.3)],
)
def test_a_guidance_scale_that_is_given_is_what_is_used(settings: dict[str, float], used: float) -> None:
    comparison = Comparison.of(modes="latent", settings=settings, device="cpu")
    assert comparison.ways["latent"].guidance_scale == pytest.approx(used)


def test_modes_differ_in_what_makes_them() -> None:
    ways = Comparison.of(settings={"steps": 7, "guidance_scale": 2.0}, device="cpu").ways
    assert list(ways) == ["frame", "tokenflow", "tokens", "latent"]
    assert {(each.steps, each.guidance_scale) for each in ways.values()} == {(7, 2.0)}
    assert (ways["frame"].interval, ways["frame"].joint_attention) == (1, False)
    assert [ways[mode].propagation.mode for mode in list(ways)[1:]] == ["tokenflow", "tokens", "latent"]
    peer = ways["tokenflow"].injection
    assert (peer.mode, peer.until, peer.residual_until) == ("qk", 0.5, 0.8), "those of TokenFlow's code"


def test_named_settings_take_the_place_of_the_modes_or_join_them(tmp_path: Path) -> None:
    file = tmp_path / "ways.yaml"
    file.write_text("few steps: {steps: 10, solver: dpmpp_2m}\nweak: {strength: 0.3}")
    ways = Comparison.of(variants=file, settings={"steps": 20}, device="cpu").ways
    assert [(name, each.steps, each.solver) for name, each in ways.items()] == [
        ("few steps", 10, "dpmpp_2m"),
        ("weak", 20, "dpmpp_2m"),  # by the weights' edit.yaml
    ]
    assert next(iter(Comparison.of(variants="solver", settings={}, device="cpu").ways)) == "ddim 50"
    both = Comparison.of(modes="latent", variants=file, settings={}, device="cpu").ways
    assert list(both) == ["latent", "few steps", "weak"]
    file.write_text("untuned: {direction: base}")
    with pytest.raises(ValueError, match="untuned: the benchmark has tuned networks only"):
        Comparison.of(variants=file, settings={}, device="cpu")


def test_a_dry_run_takes_two_steps_once_whatever_is_asked_for() -> None:
    dry = Comparison.of(
        settings={"steps": 7}, repeats=5, frames="300", variants="solver", dry_run=True, device="cpu"
    )
    assert (dry.lengths, dry.repeats) == ((4,), 1)
    assert {each.steps for each in dry.ways.values()} == {2}
