"""The same rows for people who print (LaTeX), who calculate (CSV) and for the report's tables."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keyface.evaluation.scoring.metrics import METRICS, Metric

COLUMNS = ("method", "kind", "category", "recognizer", "metric", "n", "value", "low", "high")

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
    "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip


def measured(rows: Iterable[Mapping[str, Any]]) -> list[Metric]:
    """Return the metrics that any row has, in the order of the report."""
    keys = {key for row in rows for key in row}
    return [metric for name, metric in METRICS.items() if name in keys]


def number(value: float | None) -> str:
    """Write a figure for people: 3 decimals, 4 where it is small, 1 where it is large; a dash for none.

    Example:
        >>> number(0.01234), number(0.5), number(32.04), number(None)
        ('0.0123', '0.500', '32.0', '-')
    """
    if value is None:
        return "-"
    size = abs(value)
    return f"{value:.4f}" if 0 < size < 0.1 else f"{value:.3f}" if size < 10 else f"{value:.1f}"


def long_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Write every figure in a line of its own, with the columns `COLUMNS`; empty where it is over all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        head = (_harmless(row["method"]), row["kind"])
        for category, part in (("", row), *row["by_category"].items()):
            for metric in measured([row]):
                low, high = part["intervals"].get(metric.name, ("", ""))
                if metric.name in part:
                    here = (_harmless(category), "", metric.name, part["n"], part[metric.name], low, high)
                    writer.writerow((*head, *here))
            for recognizer, values in part["by_recognizer"].items():
                for name, value in values.items():
                    writer.writerow(
                        (*head, _harmless(category), _harmless(recognizer), name, part["n"], value, "", "")
                    )
    return text.getvalue()


def latex(rows: Sequence[Mapping[str, Any]], unfit: Iterable[str], caption: str) -> str:
    """Write the main table for a paper, with intervals; needs the packages booktabs and graphicx.

    Args:
        rows: One a method.
        unfit: Metrics that did not order the controls; their columns are marked.
        caption: Plain text.
    """
    columns, marked = measured(rows), set(unfit)
    arrow, dagger = {True: r"$\uparrow$", False: r"$\downarrow$"}, r"$^\dagger$"
    heads = [
        f"{escaped(each.title)} {arrow[each.higher]}{dagger * (each.name in marked)}" for each in columns
    ]
    lines = [
        r"\begin{table}",
        rf"\caption{{{escaped(caption)} 95\,\% bootstrap intervals over clips in brackets."
        + (r" $^\dagger$ did not order the calibration rows." if marked else "")
        + "}",
        r"\resizebox{\linewidth}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) + 1)}}}",
        r"\toprule",
        " & ".join(["method", "$n$", *heads]) + r" \\",
        r"\midrule",
    ]
    for row in rows:
        cells = [escaped(row["method"]), str(row["n"]), *(_latex_cell(row, each.name) for each in columns)]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}}", r"\end{table}", ""])


def _latex_cell(row: Mapping[str, Any], name: str) -> str:
    if name not in row:
        return "--"
    ends = row["intervals"].get(name)
    interval = rf" {{\scriptsize[{number(ends[0])}, {number(ends[1])}]}}" if ends else ""
    return f"{number(row[name])}{interval}"


def escaped(text: str) -> str:
    """Return text as LaTeX prints it."""
    return "".join(_LATEX.get(character, character) for character in text)


def _harmless(text: str) -> str:
    """Return text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
