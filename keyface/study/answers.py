"""Answers of raters: one reader for what browsers send and for files."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from keyface.progress import say
from keyface.study.folder import Study
from keyface.untrusted import UntrustedError, finite_number, parse_json, read_bytes, whole_number

QUESTIONS = ("realism", "identity")
LEAST, MOST = 1, 10

LONGEST_LINE = 1024
"""Bytes of one answer; what the page sends has about 200."""

_FILE_LIMIT = 256 * 2**20
_DAY = 86_400
_RATER = re.compile(r"[0-9a-f]{32}")
_HEAD = frozenset({"study", "rater", "booklet"})
_BODY = frozenset({"trial", *QUESTIONS, "seconds"})


class ConflictError(ValueError):
    """An answer that contradicts what a rater said before."""


@dataclass(frozen=True)
class Answer:
    """What a rater said of one trial.

    Attributes:
        trial: Its number in the plan.
        realism: From 1 to 10.
        identity: From 1 to 10.
        seconds: Between the trial's beginning and the answer.
    """

    trial: int
    realism: int
    identity: int
    seconds: float


@dataclass
class Rater:
    """Somebody who began.

    Attributes:
        name: 32 random hexadecimal digits.
        booklet: The order in which the trials come.
        answers: By trial.
    """

    name: str
    booklet: int
    answers: dict[int, Answer] = field(default_factory=dict)

    def take(self, answer: Answer, where: str) -> bool:
        """Take an answer; tell whether it is new.

        Raises:
            ConflictError: There is another one to the same trial.
        """
        before = self.answers.setdefault(answer.trial, answer)
        if (before.realism, before.identity) != (answer.realism, answer.identity):
            raise ConflictError(
                f"{where}: rater {self.name} answered trial {answer.trial} before, differently"
            )
        return before is answer


def parse_line(data: bytes | str, where: str, study: Study) -> tuple[str, int | None, Answer | None]:
    """Read one line: who, with which booklet, and what they answered.

    Args:
        data: JSON. A line without an answer says that somebody began; from a browser it has no booklet yet.
        where: Where it comes from, with which messages begin.
        study: What it must belong to.

    Raises:
        UntrustedError: It is no such line, or belongs to another study.
    """
    content = parse_json(data, where, limit=LONGEST_LINE)
    if not isinstance(content, dict) or not content.keys() <= _HEAD | _BODY:
        raise UntrustedError(f"{where}: must be an object with {', '.join(sorted(_HEAD | _BODY))}")
    if content.get("study") != study.digest:
        raise UntrustedError(
            f"{where}: answers study {content.get('study')!r:.40}, this one is {study.digest!r}; it was made "
            "anew, or its rule was changed"
        )
    rater = content.get("rater")
    if not isinstance(rater, str) or not _RATER.fullmatch(rater):
        raise UntrustedError(f"{where}: rater is {rater!r:.40}; it must be 32 hexadecimal digits")
    booklet = content.get("booklet")
    if booklet is not None:
        booklet = whole_number(booklet, f"{where}: booklet", 0, len(study.booklets) - 1)
    if not content.keys() & _BODY:
        return rater, booklet, None
    if booklet is None or not content.keys() >= _BODY:
        raise UntrustedError(f"{where}: an answer needs {', '.join(sorted(_HEAD | _BODY))}")
    answer = Answer(
        whole_number(content["trial"], f"{where}: trial", 0, len(study.trials) - 1),
        whole_number(content["realism"], f"{where}: realism", LEAST, MOST),
        whole_number(content["identity"], f"{where}: identity", LEAST, MOST),
        finite_number(content["seconds"], f"{where}: seconds", 0, _DAY),
    )
    if answer.trial not in study.booklets[booklet]:
        raise UntrustedError(f"{where}: trial {answer.trial} is not in booklet {booklet}")
    return rater, booklet, answer


def read_answers(path: Path, study: Study) -> Iterator[tuple[str, str, int, Answer | None]]:
    """Yield the lines of a file: where, rater, booklet, answer.

    A last line that was cut off, as by a power cut, is left out with a note.

    Raises:
        FileNotFoundError: There is no such file.
        UntrustedError: A line is no answer to this study.
    """
    lines = read_bytes(path, _FILE_LIMIT, "no such file of answers").split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}: line {number}"
        try:
            rater, booklet, answer = parse_line(line, where, study)
        except UntrustedError:
            if number < len(lines):
                raise
            say(f"{where}: is cut off; it is left out")
            return
        if booklet is None:
            raise UntrustedError(f"{where}: names no booklet")
        yield where, rater, booklet, answer


def gather(paths: list[Path], study: Study) -> dict[str, Rater]:
    """Read files of answers; what two of them have both counts once.

    Raises:
        FileNotFoundError: One is missing.
        ValueError: One has a line that is no answer to this study, or two contradict each other.
    """
    raters: dict[str, Rater] = {}
    for path in paths:
        for where, name, booklet, answer in read_answers(path, study):
            rater = raters.setdefault(name, Rater(name, booklet))
            if rater.booklet != booklet:
                raise ConflictError(
                    f"{where}: rater {name} has booklet {booklet}, and {rater.booklet} before"
                )
            if answer is not None:
                rater.take(answer, where)
    return raters
