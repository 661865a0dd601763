"""Settings as users and categories change them."""

from dataclasses import replace

import pytest

from keyface.editing.settings import Composition, EditSettings, Injection, Propagation, given_settings
from keyface.plugins import Category

PLAIN = Category("plain", targets=("pale skin",), source="tanned skin", attribute="Pale_Skin")


def asking(**demands: float | bool) -> Category:
    return replace(PLAIN, **demands)


def test_categories_scale_the_settings() -> None:
    defaults = EditSettings(
        steps=25, guidance_scale=3.5, strength=0.7, injection=Injection(until=1.0, residual_until=1.0)
    )
    found = defaults.for_categories(
        [asking(strength=0.5, guidance=0.8, injection=0.6), asking(strength=1.5, injection=0.9)]
    )
    assert found.strength == pytest.approx(0.7)  # the mean of .5 and 1.5 is 1
    assert found.guidance_scale == pytest.approx(0.9 * 3.5)
    assert found.injection == Injection(until=0.6, residual_until=1.0)
    assert found.steps == 25
    assert defaults.for_categories([]) == defaults


def test_residual_features_are_injected_for_the_smallest_share_asked_for() -> None:
    found = EditSettings(injection=Injection(residual_until=0.8)).for_categories(
        [asking(residual=0.5), asking()]
    )
    assert found.injection.residual_until == pytest.approx(0.4)
    family = asking(defaults={"miniature": {"residual": 0.0}})
    assert EditSettings().for_categories([family], "miniature").injection.residual_until == 0.0


def test_edits_that_change_shapes_leave_no_outline_of_what_they_replace() -> None:
    assert EditSettings().for_categories([asking(reshapes=True), asking()]).composition.replaced == 0.3
    assert EditSettings().for_categories([asking()]).composition.replaced == 4.0
    less = EditSettings(composition=Composition(replaced=0.2))
    assert less.for_categories([asking(reshapes=True)]).composition.replaced == 0.2


def test_the_loosest_threshold_decides_for_edits_that_are_made_together() -> None:
    defaults = EditSettings(composition=Composition(low=0.1, high=0.2, mode="mask"))
    found = defaults.for_categories([asking(threshold=1.5), asking(threshold=0.5)])
    assert found.composition == Composition(low=0.05, high=0.1, mode="mask")
    highest = EditSettings(composition=Composition(low=0.75, high=1.5)).for_categories([asking(threshold=2)])
    assert highest.composition == Composition(low=1.0, high=2.0)


def test_no_edit_undoes_more_than_the_whole_inversion() -> None:
    assert EditSettings().for_categories([asking(strength=1.15)]).strength == 1.0


def test_guidance_asked_for_is_a_multiple_that_never_switches_the_edit_off() -> None:
    assert EditSettings(guidance_scale=4.0).for_categories([asking(guidance=0.75)]).guidance_scale == 3.0
    assert EditSettings(guidance_scale=1.2).for_categories([asking(guidance=0.5)]).guidance_scale == 1.0
    assert EditSettings(guidance_scale=80.0).for_categories([asking(guidance=2.0)]).guidance_scale == 100.0


def test_edits_that_change_shapes_get_keys_and_values() -> None:
    whole = EditSettings(injection=Injection(until=1.0, residual_until=0.5))
    reshaped = whole.for_categories([asking(injection=0.6, reshapes=True), PLAIN])
    assert reshaped.injection == Injection(mode="kv", until=0.6, residual_until=0.5)
    output = EditSettings(injection=Injection(mode="output"))
    assert output.for_categories([PLAIN]).injection == output.injection


def test_given_values_win_and_leave_the_rest() -> None:
    asked = EditSettings(seed=3).for_categories([asking(strength=0.5, reshapes=True)])
    found = asked.with_values({"strength": 0.9, "injection": {"until": 0.1}, "propagation.mode": "latent"})
    assert found == replace(
        asked,
        strength=0.9,
        injection=Injection(mode="kv", until=0.1),
        propagation=Propagation(mode="latent"),
    )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strength": 2}, "strength is 2.0; it is a fraction from 0 to 1"),
        ({"strength": -0.1}, "strength is -0.1; it is a fraction"),
        ({"guidance_scale": float("nan")}, "guidance_scale is nan; it must be a number, and finite"),
        ({"guidance_scale": 0.5}, "guidance_scale is 0.5; it must be a number from 1 to 100"),
        ({"guidance_scale": 1e38}, r"guidance_scale is 1e\+38; it must be a number from 1 to 100"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
        ({"injection": {"layers": "("}}, r"injection.layers is '\(', no regular expression"),
        ({"propagation": {"locality": -1}}, "propagation.locality is -1; it must be a number from 0"),
        ({"propagation": {"correspondence_at": []}}, "propagation.correspondence_at is empty"),
        ({"guidance": 3}, "unknown name 'guidance'"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    for read in (EditSettings().with_values, given_settings):
        with pytest.raises(ValueError, match=f"^settings: {message}"):
            read(values)


def test_short_options_are_settings_too() -> None:
    found = given_settings({"injection": {"mode": "kv"}}, steps=3, guidance=2.0, strength=0.5, seed=1)
    assert found == {
        "injection": {"mode": "kv"},
        "steps": 3,
        "guidance_scale": 2.0,
        "strength": 0.5,
        "seed": 1,
    }
    with pytest.raises(ValueError, match=r"--guidance and --settings\.guidance_scale say the same"):
        given_settings({"guidance_scale": 3.0}, guidance=2.0)


def test_compose_is_short_for_the_mode_of_the_composition() -> None:
    assert given_settings({"composition": {"high": 0.3}}, compose="mask") == {
        "composition": {"high": 0.3, "mode": "mask"}
    }
    assert given_settings(None, compose="off") == {"composition": {"mode": "off"}}
    for given in ({"composition": {"mode": "off"}}, {"composition.mode": "detail"}):
        with pytest.raises(ValueError, match=r"--compose and --settings\.composition\.mode say the same"):
            given_settings(given, compose="mask")
    with pytest.raises(ValueError, match="settings: composition is 3; it must be a mapping"):
        given_settings({"composition": 3}, compose=None)
