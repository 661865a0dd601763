import pytest

from keyface.plugins import Category, Demands, EditError, free_regions


def make(**changes: object) -> Category:
    values: dict[str, object] = {
        "name": "glasses",
        "targets": ("wearing glasses",),
        "source": "without glasses",
        "attribute": "Eyeglasses",
    }
    return Category(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "Big Glasses"}, "a name is lower-case"),
        ({"targets": ()}, "at least one phrase"),
        ({"replaces": (" ",)}, "no phrase may be empty"),
        ({"targets": "wearing glasses"}, "targets must be a tuple"),
        ({"attribute": "Eyeglases"}, "did you mean 'Eyeglasses'"),
        ({"needs": ("male-ish",)}, "unknown attribute 'male-ish'"),
        ({"regions": ("eyeg",)}, "did you mean 'eye_g'"),
        ({"conflicts": ("glasses",)}, "conflict with itself"),
        ({"strength": 0.0}, "must be in (0, 2]"),
        ({"strength": 2.1}, "must be in (0, 2]"),
        ({"strength": float("nan")}, "must be in (0, 2]"),
        ({"strength": "much"}, "strength must be a number"),
        ({"threshold": 0.0}, "threshold is 0.0, it must be in (0, 2]"),
        ({"threshold": True}, "threshold must be a number"),
        ({"guidance": 0.0}, "guidance is 0.0, it must be in (0, 2]"),
        ({"guidance": "much"}, "guidance must be a number"),
        ({"injection": 1.5}, "injection is 1.5, it must be in [0, 1]"),
        ({"injection": True}, "injection must be a number"),
        ({"residual": -0.5}, "residual is -0.5, it must be in [0, 1]"),
        ({"present": "yes"}, "present must be true or false"),
        ({"reshapes": 1}, "reshapes must be true or false"),
        ({"place": "end"}, "clause, adjective, noun"),
        ({"source": None}, "source must be text"),
        ({"weights": (1.0, 2.0)}, "weights needs one number from 0 on for each of targets"),
        ({"weights": (0.0,)}, "one of them above 0"),
        ({"weights": ("much",)}, "weights must be a tuple of numbers"),
        ({"negative": 3}, "negative must be text"),
        ({"own_labels": ("Bald",)}, "no label that CelebA or keyface has"),
        ({"own_labels": ("Two words",)}, "letters, digits and '_'"),
        ({"attribute": "Moles", "own_labels": ("Mole",)}, "did you mean 'Mole'"),
        ({"defaults": {"sd3": {}}}, "unknown family of models 'sd3' (did you mean 'sd2' or 'sd1'"),
        ({"defaults": {"sd2": {"strenght": 1.0}}}, "defaults.sd2: 'strenght' is none of strength, guidance"),
        ({"defaults": {"sd2": {"strength": 3.0}}}, "defaults.sd2.strength is 3.0, it must be in (0, 2]"),
        ({"defaults": {"sd2": {"injection": "no"}}}, "defaults must be a mapping from families of models"),
        ({"mask": "keyface.celeba:REGIONS"}, "mask must be a function"),
        ({"judge": 1}, "judge must be a function"),
    ],
)
def test_wrong_fields_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(EditError) as caught:
        make(**changes)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_applies_only_where_training_can_learn_something() -> None:
    beard = make(name="beard", attribute="Beard", needs=("Male",), hidden_by=("Blurry",))
    assert beard.applies_to({"Beard": False, "Male": True})
    assert not beard.applies_to({"Beard": True, "Male": True}), "it has one"
    assert not beard.applies_to({"Beard": False, "Male": False}), "needs Male"
    assert not beard.applies_to({"Beard": False, "Male": True, "Blurry": True}), "would not be seen"
    assert not beard.applies_to({"Male": True}), "nobody knows whether there is one"
    old = make(name="old", attribute="Young", present=False)
    assert old.applies_to({"Young": True})
    assert not old.applies_to({"Young": False})


def test_edits_together_ask_for_the_mean_strength_and_guidance_and_the_least_of_the_rest() -> None:
    asked = Demands.of(
        [
            make(strength=0.5, injection=1.0, threshold=1.5, residual=0.25),
            make(strength=1.0, guidance=0.5, injection=0.5, threshold=0.75),
        ]
    )
    assert asked == Demands(strength=0.75, guidance=0.75, threshold=0.75, injection=0.5, residual=0.25)
    assert Demands.of([]) == Demands(1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(("number", "strength"), [(1, 0.5), (2, 0.5), (3, 0.53), (4, 0.56)])
def test_three_and_more_edits_together_take_more_strength(number: int, strength: float) -> None:
    assert Demands.of([make(strength=0.5)] * number).strength == pytest.approx(strength)


def test_one_edit_that_changes_shapes_decides_for_all_that_are_made_together() -> None:
    assert Demands.of([make(), make(reshapes=True)]).reshapes
    assert not Demands.of([make(), make()]).reshapes


def test_edits_together_may_change_the_regions_of_all_and_everything_where_one_may() -> None:
    glasses, hair, anywhere = make(regions=("eye_g", "skin")), make(regions=("hair", "skin")), make()
    assert free_regions([glasses, hair]) == ("eye_g", "skin", "hair")
    assert free_regions([glasses, anywhere, hair]) == ()
    assert free_regions([]) == ()


def test_all_faults_of_a_category_are_in_one_line() -> None:
    with pytest.raises(EditError) as caught:
        make(attribute="Eyeglases", strength=0.0, place="end")
    said = str(caught.value)
    assert said.startswith("edit category 'glasses': unknown attribute 'Eyeglases'")
    assert "and 2 more: strength is 0.0" in said
    assert "place is 'end'" in said


def test_a_family_of_models_has_amounts_of_its_own() -> None:
    edit = make(strength=0.5, guidance=1.5, defaults={"sd2": {"strength": 0.75}, "miniature": {}})
    assert (edit.for_family("sd2").strength, edit.for_family("sd2").guidance) == (0.75, 1.5)
    for family in ("miniature", "sd1", "", None):
        assert edit.for_family(family) == make(strength=0.5, guidance=1.5)
    assert len({edit, make(strength=0.5, guidance=1.5)}) == 2, "it can be hashed"


def test_an_own_label_is_a_label_like_others() -> None:
    moles = make(name="moles", attribute="Moles", own_labels=("Moles",), needs=("Male",))
    assert moles.applies_to({"Moles": False, "Male": True})
    assert not moles.applies_to({"Moles": True, "Male": True})
    assert not moles.applies_to({"Male": True}), "data without the label are no ground to train on"
