"""Dataclasses from mappings that people wrote."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from keyface.configuration import given, merged, parse
from keyface.untrusted import read_yaml


@dataclass(frozen=True)
class Inner:
    mode: Literal["qk", "kv"] = "qk"
    until: float = 0.5


@dataclass(frozen=True)
class Outer:
    steps: int = 50
    scale: float = 7.5
    joint: bool = True
    at: tuple[float, ...] = (0.2,)
    note: str | None = None
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; it must be at least 1")


@dataclass(frozen=True)
class Needy:
    name: str
    folder: Path
    size: int = 3


def test_what_is_not_given_keeps_its_default() -> None:
    assert parse(Outer, {"steps": 20, "inner": {"mode": "kv"}}, "x") == Outer(
        steps=20, inner=Inner(mode="kv")
    )
    assert parse(Outer, {}, "x") == Outer()
    assert parse(Needy, {"name": "a", "folder": "b"}, "x") == Needy("a", Path("b"))


def test_off_is_a_choice_although_yaml_takes_it_for_false(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Switch:
        mode: Literal["mask", "off"] = "mask"
        also: Literal["yes", "maybe"] = "maybe"
        joint: bool = True

    (tmp_path / "a.yaml").write_text("mode: off\nalso: yes\njoint: off\n")
    read = read_yaml(tmp_path / "a.yaml")
    found = given(Switch, read, "x")
    assert found == {"mode": "off", "also": "yes", "joint": False}
    with pytest.raises(ValueError, match="x: mode is True; it must be one of mask, off"):
        given(Switch, {"mode": True}, "x")


def test_only_what_is_given_is_returned_nested_and_typed() -> None:
    found = given(Outer, {"inner.until": 1, "at": [0.5, 1], "inner": {"mode": "kv"}}, "x")
    assert found == {"inner": {"until": 1.0, "mode": "kv"}, "at": (0.5, 1.0)}
    assert isinstance(found["inner"]["until"], float)
    assert given(Outer, {}, "x") == {}
    assert given(Needy, {"size": 4}, "x") == {"size": 4}


def test_merging_changes_only_what_is_given() -> None:
    before = Outer(steps=7, inner=Inner("kv", 0.9))
    assert merged(before, {"inner": {"until": 0.1}}, "x") == Outer(steps=7, inner=Inner("kv", 0.1))
    assert before.inner.until == 0.9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stps": 3}, r"unknown name 'stps' \(did you mean 'steps'\?\); known here: steps, scale"),
        ({"inner": {"mod": "kv"}}, r"unknown name 'inner.mod' \(did you mean 'mode'\?\); .*inner\.until"),
        ({"inner.mod": "kv"}, "unknown name 'inner.mod'"),
        ({"steps": True}, "steps is True; it must be a whole number"),
        ({"steps": 2.5}, "steps is 2.5; it must be a whole number"),
        ({"steps": None}, "steps has no value; it must be a whole number"),
        ({"steps": [1]}, r"steps is \[1\]; it must be a whole number"),
        ({"scale": False}, "scale is False; it must be a number"),
        ({"scale": float("nan")}, "scale is nan; it must be a number, and finite"),
        ({"scale": "inf"}, "scale is 'inf'; it must be a number"),
        ({"at": [0.5, float("inf")]}, r"at is .*; it must be a list, each item a number, and finite"),
        ({"joint": 1}, "joint is 1; it must be true or false"),
        ({"note": 3}, "note is 3; it must be text, or null"),
        ({"inner": {"mode": "xx"}}, "inner.mode is 'xx'; it must be one of qk, kv"),
        ({"inner": None}, "inner is None; it must be a mapping"),
        ({"inner": 3, "inner.mode": "kv"}, "inner is given twice"),
        ({"inner": {"mode": "qk"}, "inner.mode": "kv"}, "inner.mode is given twice"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
    ],
)
def test_what_does_not_fit_is_one_line_that_begins_with_its_place(
    values: dict[str, Any], message: str
) -> None:
    for read in (parse, given):
        with pytest.raises(ValueError, match=rf"^edit\.yaml: {message}") as caught:
            read(Outer, values, "edit.yaml")
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=rf"^edit\.yaml: {message}"):
        merged(Outer(), values, "edit.yaml")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match=r"^here: lacks name, folder$"):
        parse(Needy, {"size": 3}, "here")


def test_a_mapping_is_read_from_yaml(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("steps: 20\ninner: &same\n  mode: kv\nother: *same\n")
    assert read_yaml(file) == {"steps": 20, "inner": {"mode": "kv"}, "other": {"mode": "kv"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: 1\nsteps: 2\n", "'steps' is given twice in the mapping that begins in line 1"),
        (
            "a: 1\nrows:\n- {b: 1}\n- {b: 1, b: 2}\n",
            "'b' is given twice in the mapping that begins in line 4",
        ),
        ("- 1\n", "a mapping from names to values is needed"),
        ("", "a mapping from names to values is needed"),
        ("a: [", "cannot be read as YAML"),
        ("a: \x00", "cannot be read as YAML"),
        ("a: !!python/object/apply:os.system ['touch canary']\n", "cannot be read as YAML"),
    ],
)
def test_yaml_that_is_of_no_use(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_yaml(file)
    assert str(caught.value).startswith(str(file))
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_yaml(tmp_path / "b.yaml")
