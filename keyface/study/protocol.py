"""What a study asks, as its author writes it: a JSON or YAML file of clips, design and exclusion rule."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from keyface.configuration import parse
from keyface.untrusted import read_json_object, read_yaml

SCHEMA = "keyface-study/1"

MOST_CLIPS = 1000
MOST_RATERS = 10_000
MOST_TEXT = 500
"""Characters of a title or a prompt, which stand on one screen."""

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")


@dataclass(frozen=True)
class Clip:
    """One clip that every method edited.

    Attributes:
        id: Its name; each method's folder holds a video of that name.
        source: The video before the edit.
        prompt: What raters are told about the edit; empty where `edits` says it.
        edits: The edit categories, where there is no prompt.
    """

    id: str
    source: Path
    prompt: str = ""
    edits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id):
            raise ValueError(
                f"id is {self.id!r:.120}; begin with a letter or digit, then letters, digits, '.', '_', "
                "'+', '-'"
            )
        _require_line("prompt", self.prompt)
        for edit in self.edits:
            _require_line("edits", edit)
        if bool(self.prompt) == bool(self.edits):
            raise ValueError("give prompt or edits, one of the two: raters are told what the edit is")

    @property
    def text(self) -> str:
        """Return what raters are told about the edit."""
        return self.prompt or ", ".join(self.edits)


@dataclass(frozen=True)
class Exclusion:
    """Whose answers do not count, stated before anybody answers.

    Attributes:
        failed_checks: Raters who failed so many attention checks, or more, are left out; 0 leaves nobody out.
        unedited_identity_at_least: Least identity for an unedited clip; below it that check is failed.
        broken_realism_at_most: Most realism for a broken clip; above it that check is failed.
        answered_at_least: Part of a rater's trials, 0 to 1, that must have an answer.
    """

    failed_checks: int = 2
    unedited_identity_at_least: int = 7
    broken_realism_at_most: int = 4
    answered_at_least: float = 1.0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("failed_checks", 0, 100),
            ("unedited_identity_at_least", 1, 10),
            ("broken_realism_at_most", 1, 10),
            ("answered_at_least", 0, 1),
        ):
            _require_between(name, getattr(self, name), least, most)

    @property
    def words(self) -> str:
        """Return the rule as a sentence."""
        rule = "a rater counts who answered " + (
            "all trials"
            if self.answered_at_least == 1
            else f"at least {self.answered_at_least:.0%} of the trials"
        )
        if self.failed_checks:
            few = "no" if self.failed_checks == 1 else f"fewer than {self.failed_checks}"
            rule += (
                f" and failed {few} attention checks (failed is an unedited clip with an identity below "
                f"{self.unedited_identity_at_least}, a broken one with a realism above "
                f"{self.broken_realism_at_most})"
            )
        return rule


@dataclass(frozen=True)
class Design:
    """How the study is made.

    Attributes:
        title: Heading of the page.
        raters: About how many raters will come; rounded up so that the orders are balanced over them.
        seed: Of the orders.
        practice: Items at the beginning that do not count.
        checks: Attention checks of each kind, unedited and broken.
        exclusion: Whose answers do not count.
    """

    title: str = "Edited faces"
    raters: int = 50
    seed: int = 0
    practice: int = 2
    checks: int = 2
    exclusion: Exclusion = field(default_factory=Exclusion)

    def __post_init__(self) -> None:
        _require_line("title", self.title)
        for name, least, most in (("raters", 1, MOST_RATERS), ("practice", 0, 10), ("checks", 0, 20)):
            _require_between(name, getattr(self, name), least, most)
        if self.exclusion.failed_checks > 2 * self.checks:
            raise ValueError(
                f"exclusion.failed_checks is {self.exclusion.failed_checks}, and there are {2 * self.checks} "
                "checks, so nobody could be left out; give more checks, or 0 if nobody shall be"
            )


@dataclass(frozen=True)
class Protocol:
    """A study's clips and its design.

    Raises:
        ValueError: There is no clip, there are too many, or two have one id.
    """

    clips: tuple[Clip, ...]
    design: Design

    def __post_init__(self) -> None:
        if not 1 <= len(self.clips) <= MOST_CLIPS:
            raise ValueError(f"clips has {len(self.clips)}; 1 to {MOST_CLIPS} are needed")
        seen: set[str] = set()
        for clip in self.clips:
            # Some file systems do not tell upper from lower case, and videos are named after ids.
            if clip.id.lower() in seen:
                raise ValueError(f"clip {clip.id}: its id occurs twice")
            seen.add(clip.id.lower())


def read_protocol(path: Path) -> Protocol:
    """Read a protocol.

    Args:
        path: The file, .yaml, .yml or else JSON; sources in it are relative to its folder.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no protocol; the message says what is wrong where.
    """
    if path.suffix.lower() in (".yaml", ".yml"):
        content = read_yaml(path)
    else:
        content = read_json_object(path, missing="no such protocol")
    schema, clips = content.pop("schema", None), content.pop("clips", None)
    if schema != SCHEMA:
        raise ValueError(f"{path}: schema is {schema!r:.60}; it must be {SCHEMA!r}")
    if not isinstance(clips, list):
        raise ValueError(
            f'{path}: needs a list of clips, as in "clips": [{{"id": "a", "source": "a.mp4", …}}]'
        )
    design = parse(Design, content, str(path))
    read = tuple(_clip(each, f"{path}: clip {number}", path.parent) for number, each in enumerate(clips, 1))
    try:
        return Protocol(read, design)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _clip(content: object, where: str, folder: Path) -> Clip:
    if not isinstance(content, Mapping):
        raise ValueError(f'{where}: is {content!r:.60}; it must be an object, as in {{"id": "a", …}}')
    given: dict[str, Any] = dict(content)
    if isinstance(given.get("edits"), str):
        given["edits"] = [word.strip() for word in given["edits"].split(",") if word.strip()]
    clip = parse(Clip, given, where)
    return Clip(clip.id, folder / clip.source, clip.prompt, clip.edits)


def _require_line(name: str, text: str) -> None:
    if len(text) > MOST_TEXT or not all(letter.isprintable() for letter in text):
        raise ValueError(f"{name} is {text!r:.80}; it must be one line of at most {MOST_TEXT} characters")


def _require_between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}; it must be from {least} to {most}")
