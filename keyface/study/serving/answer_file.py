"""The file that a server appends answers to, and who answered what."""

import json
import os
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from keyface.study.answers import LONGEST_LINE, Answer, ConflictError, Rater, gather
from keyface.study.folder import Study
from keyface.study.protocol import MOST_RATERS
from keyface.untrusted import parse_json

_PAUSE = 2 * 3600
"""Seconds without an answer after which somebody who began is taken to have left."""


class AnswerFile:
    """The file that a server appends to; each line is on the disk before the browser is told.

    Args:
        study: The study; what was answered before is read.

    Raises:
        ValueError: The file has a line that is no answer to this study.
    """

    def __init__(self, study: Study) -> None:
        self.study = study
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        path = study.answers
        self.raters = gather([path], study) if path.exists() else {}
        path.touch(mode=0o600)
        self._file = path.open("r+b", buffering=0)
        _end_with_a_line(path, self._file)

    def begin(self, name: str) -> Rater:
        """Return somebody who begins or comes back; newcomers get the booklet that was used least.

        Raises:
            OverflowError: So many came that somebody plays with the server.
        """
        with self._lock:
            self._seen[name] = time.monotonic()
            if name in self.raters:
                return self.raters[name]
            if len(self.raters) >= MOST_RATERS:
                raise OverflowError(f"{MOST_RATERS} raters began already")
            rater = Rater(name, self._next_booklet())
            self._append({"rater": name, "booklet": rater.booklet})
            self.raters[name] = rater
            return rater

    def add(self, name: str, booklet: int, answer: Answer, where: str) -> None:
        """Append an answer, unless it is there already.

        Raises:
            ConflictError: The rater never began, has another booklet, or answered otherwise before.
        """
        with self._lock:
            rater = self.raters.get(name)
            if rater is None or rater.booklet != booklet:
                raise ConflictError(f"{where}: rater {name} did not begin booklet {booklet} here")
            self._seen[name] = time.monotonic()
            if answer.trial in rater.answers:
                rater.take(answer, where)
                return
            self._append({"rater": name, "booklet": booklet, **asdict(answer)})
            rater.take(answer, where)

    def close(self) -> None:
        """Close the file, after what is being written."""
        with self._lock:
            self._file.close()

    def _next_booklet(self) -> int:
        """Return the booklet that the fewest raters finished or are at work on."""
        used = [0] * len(self.study.booklets)
        now = time.monotonic()
        for rater in self.raters.values():
            done = len(rater.answers) == len(self.study.booklets[rater.booklet])
            used[rater.booklet] += done or now - self._seen.get(rater.name, now - _PAUSE) < _PAUSE
        return used.index(min(used))

    def _append(self, content: dict[str, Any]) -> None:
        line = json.dumps({"study": self.study.digest, **content}) + "\n"
        end = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line.encode())
            os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(end)  # a full disk may have taken half of it
            raise


def _end_with_a_line(path: Path, file: IO[bytes]) -> None:
    """Cut off half a line that a power cut left at the end, and end a whole one."""
    data = path.read_bytes()
    last = data.rpartition(b"\n")[2]
    if not last:
        return
    try:
        parse_json(last, str(path), limit=LONGEST_LINE)
    except ValueError:
        file.truncate(len(data) - len(last))
    else:
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
