"""Who is edited, and how."""

import pytest

from keyface.pipeline.request.casting import Casting
from keyface.plugins import edits


def test_one_person_is_chosen_or_several_are_named() -> None:
    glasses, beard, smile = (edits[name] for name in ("glasses", "beard", "smile"))
    assert Casting.of("glasses, beard", None) == Casting({"1": (glasses, beard)}, named=False)
    assert Casting.of([glasses], "largest").roles == {"largest": (glasses,)}
    several = Casting.of("1: glasses; 3: beard,smile;", None)
    assert several == Casting({"1": (glasses,), "3": (beard, smile)}, named=True)
    assert Casting.of({1: "glasses", 3: ["beard", smile]}, None) == several
    assert several.categories == [glasses, beard, smile]
    assert Casting.of((), "2").roles == {"2": ()}, "a prompt has no categories"


@pytest.mark.parametrize(
    ("given", "person", "message"),
    [
        ("1: glasses; 1: beard", None, "each person once"),
        ("1: glasses; beard", None, "each person once"),
        ("him: glasses", None, "no number of a person"),
        ("0: glasses", None, "no number of a person"),
        ("1:", None, "nothing is to be edited in person 1"),
        ("1: glasses", "2", "leave one out"),
        ("1: beard, no-beard", None, "conflict"),
    ],
)
def test_what_does_not_fit_is_said(given: str, person: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Casting.of(given, person)
