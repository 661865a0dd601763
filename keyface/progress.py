"""What a person watches while something runs: lines and progress bars on stderr.

Bars are drawn on a terminal only, and vanish when they are done; a pipe or a log gets one plain line a stage.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


STAGE = "stage: "
"""How a note begins that says at which stage an error came (PEP 678)."""


def stage_of(error: BaseException) -> str:
    """Return the stage at which an error came, the innermost; nothing where none was noted."""
    notes = getattr(error, "__notes__", ())
    return next((note.removeprefix(STAGE) for note in notes if note.startswith(STAGE)), "")


@contextmanager
def _noted(stage: Callable[[], str]) -> Iterator[None]:
    """Note the stage in errors that leave the block."""
    try:
        yield
    except Exception as error:
        if name := stage():
            error.add_note(f"{STAGE}{name}")
        raise


@contextmanager
def warnings_only(logger: str) -> Iterator[None]:
    """Keep a logger and those below it from telling less than warnings; what they tell after is as before."""
    found = logging.getLogger(logger)
    before = found.level
    found.setLevel(logging.WARNING)
    try:
        yield
    finally:
        found.setLevel(before)


def say(text: str) -> None:
    """Tell the user something, on stderr at once; stdout is for results.

    The line is written as a whole: of several processes none breaks into another's. Names of files need not
    be UTF-8: bytes of them that are not are escaped.
    """
    shown = text.encode(errors="backslashreplace").decode()
    sys.stderr.write(f"{shown}\n")
    sys.stderr.flush()


class Bar:
    """Progress of one stage on stderr: a bar on a terminal, else lines.

    Args:
        label: What is done.
        total: How much there is to do; None where nobody knows.
        unit: What is counted, in the singular.
        done: How much is done already.
        layout: How tqdm lays the bar out.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        unit: str = "item",
        done: int = 0,
        layout: str | None = None,
    ) -> None:
        from tqdm import tqdm

        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.started = time.perf_counter()
        self.bar = tqdm(
            total=total,
            desc=label,
            unit=unit,
            initial=done,
            file=sys.stderr,
            leave=False,
            bar_format=layout,
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def advance_to(self, done: int, figures: Callable[[], str] | None = None) -> None:
        """Show how much is done.

        Args:
            done: Units from the beginning on.
            figures: Asked for what stands beside the bar whenever that is drawn.
        """
        drawn = self.bar.update(done - self.done)
        self.done = done
        if drawn and figures is not None:
            self.bar.set_postfix_str(figures())

    def advance(self, units: int = 1) -> None:
        """Show that so many more units are done."""
        self.advance_to(self.done + units)

    def log(self, figures: str) -> None:
        """Write a line with figures, above the bar where there is one."""
        of = f" of {self.total}" if self.total is not None else ""
        line = f"{self.label}: {self.unit} {self.done}{of}, {self.seconds():.0f} s"
        self.bar.clear()
        say(f"{line}: {figures}" if figures else line)

    def seconds(self) -> float:
        """Return the time since the bar was opened."""
        return time.perf_counter() - self.started

    def close(self) -> None:
        """Take the bar away; where none was drawn, say in one line what was done."""
        if self.bar.disable:
            say(f"{self.label}: {self.done} {self.unit}s, {self.seconds():.0f} s")
        self.bar.close()


@contextmanager
def bar(label: str, total: int | None, unit: str = "item") -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar by so many units; the bar closes with the block."""
    drawn = Bar(label, total, unit)
    try:
        with _noted(lambda: label):
            yield drawn.advance
    finally:
        drawn.close()


def share_of(stage: str, fraction: float, shares: Mapping[str, float], repeated: Sequence[str] = ()) -> float:
    """Return how much of the work is done, from 0 to the sum of the shares.

    Args:
        stage: Its name; "2/5 invert" is that stage of the second of five parts. One that is not known has
            no share.
        fraction: How much of the stage is done, in [0, 1].
        shares: As of `stages`.
        repeated: As of `stages`.
    """
    part, _, name = stage.rpartition(" ")
    if name not in shares:
        return 0.0

    def before(later: str) -> float:
        names = list(shares)
        return sum(shares[each] for each in names[: names.index(later)])

    reached = before(name) + shares[name] * fraction
    if not part:
        return reached
    number, count = map(int, part.split("/"))
    first, length = before(repeated[0]), sum(shares[each] for each in repeated)
    return first + (length * (number - 1) + reached - first) / count


@contextmanager
def stages(
    shares: Mapping[str, float], repeated: Sequence[str] = ()
) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function (stage, done, total) that draws one bar, with what remains, over all stages.

    Args:
        shares: Stage → about which part of all the time it takes, in their order; a stage that is not named
            has none.
        repeated: Neighbouring stages that all parts of the work go through in turn, where there are several:
            "2/5 invert" is that stage of the second of five parts.
    """
    whole = sum(shares.values())
    drawn = Bar("", 1000, layout="{desc}: {percentage:3.0f}%|{bar}| {elapsed}, {remaining} remain")
    began: dict[str, float] = {}
    now = ""

    def show(stage: str, done: int, total: int) -> None:
        nonlocal now
        now = stage if done < total else ""
        if stage not in began:
            began[stage] = time.perf_counter()
            drawn.bar.set_description_str(stage)
        reached = share_of(stage, done / total if total else 1.0, shares, repeated)
        drawn.advance_to(max(drawn.done, int(1000 * reached / whole)))
        if done == total and drawn.bar.disable:
            say(f"{stage}: {total}, {time.perf_counter() - began[stage]:.0f} s")

    try:
        with _noted(lambda: now):
            yield show
    finally:
        drawn.bar.close()


def each(items: Iterable[Item], label: str, unit: str = "clip", total: int | None = None) -> Iterator[Item]:
    """Yield items and draw a bar while they are gone through.

    Args:
        items: Gone through once.
        label: What is done with them.
        unit: What one of them is, in the singular.
        total: How many there are, where they cannot say themselves.
    """
    with bar(label, len(items) if isinstance(items, Sequence) else total, unit) as advance:
        for item in items:
            yield item
            advance(1)
