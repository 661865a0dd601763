"""The table of all metrics against all controls: which faults does each metric see?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keyface.evaluation.rows.controls import CONTROLS
from keyface.evaluation.scoring.calibration import Verdict
from keyface.evaluation.scoring.metrics import METRICS, Metric
from keyface.evaluation.scoring.orderings import Ordering, Outcome

OUTCOMES: Mapping[Outcome, tuple[str, str]] = {
    "ordered": (
        "yes",
        "worse than the row it is compared with: the interval of the differences lies above 0",
    ),
    "reversed": ("reversed", "better than the row it is compared with"),
    "unseen": ("no", "every clip scores the same in both rows"),
    "unclear": ("?", "the interval of the differences holds 0"),
}
"""Outcome → the word in the table, and what it means."""


@dataclass(frozen=True)
class ControlTable:
    """The table, a line a metric.

    Attributes:
        columns: Names of the controls that any metric measured.
        lines: The metric, its verdict, and what it makes of each control; None where it did not measure it.
        compared_with: Control → the row that it is compared with.
        clips: Fewest and most clips of a comparison.
    """

    columns: tuple[str, ...]
    lines: tuple[tuple[Metric, Verdict, tuple[Ordering | None, ...]], ...]
    compared_with: Mapping[str, str]
    clips: tuple[int, int]


def control_table(orderings: Sequence[Ordering], verdicts: Sequence[Verdict]) -> ControlTable | None:
    """Return the table; None where nothing was compared.

    Args:
        orderings: Of `keyface.evaluation.scoring.orderings.order_controls`.
        verdicts: Of `keyface.evaluation.scoring.calibration.calibrate`, one a metric.
    """
    if not orderings:
        return None
    found = {(each.metric, each.control): each for each in orderings}
    columns = tuple(name for name in CONTROLS if any(control == name for _, control in found))
    lines = tuple(
        (METRICS[each.metric], each, tuple(found.get((each.metric, name)) for name in columns))
        for each in verdicts
    )
    counts = [each.lead.n for each in orderings]
    return ControlTable(
        columns, lines, {each.control: each.better for each in orderings}, (min(counts), max(counts))
    )


def markdown(orderings: Sequence[Ordering], verdicts: Sequence[Verdict]) -> str:
    """Write the table as Markdown, with what its words mean and the number of clips below."""
    table = control_table(orderings, verdicts)
    if table is None:
        return "No control was scored.\n"
    heads = ["Measure", *(bare(name) for name in table.columns), "fit"]
    rows = [
        [metric.title, *(word(each) for each in cells), fitness(verdict)]
        for metric, verdict, cells in table.lines
    ]
    lines = [heads, ["---"] * len(heads), *rows]
    few, many = table.clips
    count = f"{few}" if few == many else f"{few} to {many}"
    meanings = "; ".join(f"**{said}**: {meaning}" for said, meaning in OUTCOMES.values())
    bases: dict[str, list[str]] = {}
    for name in table.columns:
        bases.setdefault(table.compared_with[name], []).append(bare(name))
    compared = "; ".join(f"{', '.join(names)} with {bare(base)}" for base, names in bases.items())
    return "\n".join(
        [
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            f"n = {count} clips, 95 % bootstrap intervals of the differences clip by clip. "
            f"Compared: {compared}.",
            f"{meanings}; **-**: not measured.",
            "",
        ]
    )


def word(ordering: Ordering | None) -> str:
    """Return the word of a cell."""
    return "-" if ordering is None else OUTCOMES[ordering.outcome][0]


def fitness(verdict: Verdict) -> str:
    """Return the word for a verdict."""
    return {True: "fit", False: "unfit", None: "cannot tell"}[verdict.fit]


def bare(name: str) -> str:
    """Return a control's name without its parentheses."""
    return name.strip("()")
