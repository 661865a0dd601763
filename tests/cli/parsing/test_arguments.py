"""Functions as command lines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pytest
from jsonargparse import ArgumentError

from keyface.cli.parsing.arguments import add_function, metavar
from keyface.cli.parsing.parser import Parser, usage


@dataclass(frozen=True)
class Inner:
    mode: Literal["qk", "kv"] = "qk"
    """What is taken."""
    until: float = 0.5
    """Fraction of the steps."""


@dataclass(frozen=True)
class Settings:
    steps: int = 50
    """Steps of the schedule."""
    at: tuple[float, ...] = (0.2,)
    """Where to look."""
    enabled: bool = True
    """Whether at all."""
    inner: Inner = field(default_factory=Inner)
    """The rest."""


def example(
    videos: list[Path],
    output: Path,
    lightning: object,
    frame_rate: int = 3,
    loud: bool = False,
    method: list[str] | None = None,
    settings: Annotated[Mapping[str, Any], Settings] = MappingProxyType({}),
) -> None:
    """Do it.

    Args:
        videos: What to read.
        output: What to write.
        lightning: Not the user's.
        frame_rate: Frames per second.
        loud: Whether to shout.
        method: What else to compare.
        settings: How to do it.
    """


@pytest.fixture
def parser() -> Parser:
    made = Parser()
    add_function(made, example, config=True)
    return made


def parsed(parser: Parser, *words: str) -> dict[str, Any]:
    values: dict[str, Any] = parser.parse_args(["a.mp4", "-o", "c.mp4", *words]).as_dict()
    del values["config"]
    return values


def several(folder: Path, more: tuple[Path, ...] = (), *, methods: list[str]) -> None:
    """Do it.

    Args:
        folder: What to read.
        more: What else to read.
        methods: What to compare.
    """


def test_words_that_may_be_left_out_and_options_of_several_words() -> None:
    made = Parser()
    add_function(made, several)
    assert usage(made, ["keyface"]) == "keyface FOLDER [MORE ...] --methods TEXT ... [options]"
    assert made.parse_args(["a", "--methods", "x=1", "y=2"]).as_dict() == {
        "folder": Path("a"),
        "methods": ["x=1", "y=2"],
    }
    given = made.parse_args(["a", "b", "c", "--methods", "x", "--methods", "y", "z"]).as_dict()
    assert given == {"folder": Path("a"), "more": [Path("b"), Path("c")], "methods": ["x", "y", "z"]}
    with pytest.raises(ArgumentError, match="methods"):
        made.parse_args(["a"])


GIVEN = {"videos": [Path("a.mp4")], "output": Path("c.mp4")}


def test_only_what_was_given_is_parsed(parser: Parser) -> None:
    assert parsed(parser) == GIVEN
    words = ["a.mp4", "b.mp4", "--output", "c.mp4", "--frame-rate", "5", "--loud", "--method", "x"]
    assert parser.parse_args([*words, "--method", "y"]).as_dict() == {
        "config": None,
        "videos": [Path("a.mp4"), Path("b.mp4")],
        "output": Path("c.mp4"),
        "frame_rate": 5,
        "loud": True,
        "method": ["x", "y"],
    }


def test_settings_are_nested_and_only_those_that_were_given(parser: Parser) -> None:
    words = ["--settings.steps", "50", "--settings.inner.mode", "kv", "--settings.at", "[0.1, .3]"]
    assert parsed(parser, *words, "--settings.enabled", "false") == GIVEN | {
        "settings": {"steps": 50, "inner": {"mode": "kv"}, "at": (0.1, 0.3), "enabled": False}
    }, "a value that is the default counts as given"


def test_a_config_gives_options_by_name_and_the_later_wins(parser: Parser, tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("output: d.mp4\nloud: true\nsettings: {steps: 3, inner: {mode: kv, until: 1}}\n")
    second.write_text("settings:\n  inner:\n    until: 0.25\n")
    words = ["a.mp4", "-c", str(first), "--settings.steps", "4", "--config", str(second)]
    values = parser.parse_args(words).as_dict()
    assert values["output"] == Path("d.mp4"), "the file gives what is required"
    assert values["loud"] is True
    assert values["settings"] == {"steps": 4, "inner": {"mode": "kv", "until": 0.25}}
    assert parser.parse_args(["a.mp4", "--settings.steps", "4", "-c", str(first)]).settings.steps == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frame_rat: 3", "'frame_rat' is no option of this command (did you mean 'frame_rate'?)"),
        (
            "settings: {stps: 3}",
            "'settings.stps' is no option of this command (did you mean 'settings.steps'",
        ),
        ("settings: {steps: many}", "--settings.steps is 'many'; it must be a whole number"),
        ("frame_rate: 1\nframe_rate: 2", "'frame_rate' is given twice"),
        ("settings:\n  steps: 3\n  steps: 4", "'steps' is given twice"),
        ("settings.steps: 3\nsettings: {steps: 4}", "'settings.steps' is given twice"),
        ("settings: 3", "settings is 3; it must be a mapping"),
        ("settings: {inner: [kv]}", "settings.inner is ['kv']; it must be a mapping"),
        ('loud: "no"', "loud is 'no'; it must be true or false"),
        ("loud: 0", "loud is 0; it must be true or false"),
        ("frame_rate: [", "YAML"),
        ("- 3", "a mapping from names to values is needed"),
    ],
)
def test_a_wrong_config_is_told_by_its_name(parser: Parser, tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(ArgumentError) as caught:
        parser.parse_args(["a.mp4", "-o", "c.mp4", "-c", str(file)])
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_help_groups_the_options_and_shows_defaults(parser: Parser) -> None:
    text = parser.format_help()
    inputs, outputs, settings = (text.index(f"\n{title}:\n") for title in ("Input", "Output", "Settings"))
    assert inputs < text.index("--config") < outputs < text.index("--output") < settings
    assert settings < text.rindex("--settings.inner.mode {qk,kv}")
    said = " ".join(text.split())
    assert "--frame-rate N Frames per second. (default: 3)" in said
    assert "--settings.steps N Steps of the schedule. (default: 50)" in said
    assert "Do it." in said
    assert "lightning" not in said


def test_metavars_are_words_and_choices() -> None:
    hints = [int, float | None, Path, str, list[int], tuple[float, ...], Literal["a", "b"] | None]
    assert [metavar(hint) for hint in hints] == ["N", "X", "PATH", "TEXT", "[N,...]", "[X,...]", "{a,b}"]
