"""The report of an evaluation: one HTML file that needs nothing beside it, JSON, CSV and LaTeX."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from markupsafe import Markup
from PIL.Image import Image

import keyface
from keyface.evaluation.report import plots, tables
from keyface.evaluation.report.control_table import OUTCOMES, control_table, fitness, markdown, word
from keyface.evaluation.report.published import by_table
from keyface.evaluation.report.showcase import Shown
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.controls import CONTROLS
from keyface.evaluation.scoring.calibration import Verdict
from keyface.evaluation.scoring.metrics import METRICS
from keyface.evaluation.scoring.orderings import Ordering
from keyface.evaluation.scoring.row_scores import RowScores
from keyface.evaluation.scoring.scorer import Scorer
from keyface.files import json_text, write_text
from keyface.metrics.intervals import CONFIDENCE, RESAMPLES
from keyface.pages import page_templates
from keyface.pictures import save_png


@dataclass(frozen=True)
class Report:
    """Everything that an evaluation found.

    Attributes:
        about: What was scored, by whom, with which seeds and hashes.
        rows: One a method, of `keyface.evaluation.scoring.summary.summarize`; controls first.
        verdicts: Whether each metric is fit to order methods.
        orderings: What each metric makes of each control.
        points: Of the frontier; empty where there is none.
        speed: Rows of the speed table.
        references: Published figures, of other data.
        shown: Videos.
        notes: What a reader must know, a sentence each.
        clips: The numbers of every clip of every row.
        sheet: One frame of the clips by row, in one picture.
    """

    about: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    verdicts: Sequence[Verdict]
    orderings: Sequence[Ordering] = ()
    points: Sequence[Mapping[str, Any]] = ()
    speed: Sequence[Mapping[str, Any]] = ()
    references: Sequence[Mapping[str, Any]] = ()
    shown: Sequence[Shown] = ()
    notes: Sequence[str] = ()
    clips: Sequence[Mapping[str, Any]] = ()
    sheet: Image | None = None

    @property
    def unfit(self) -> tuple[str, ...]:
        """Return the metrics that did not order the controls."""
        return tuple(verdict.metric for verdict in self.verdicts if verdict.fit is False)

    def write(self, folder: Path) -> list[Path]:
        """Write report.html, results.json, results.csv, table.tex, controls.md, frontier.svg and sheet.png.

        Each is written whole or not at all; the last two only where there are points or pictures.

        Args:
            folder: Made where it is missing.

        Returns:
            The files.
        """
        contents = {
            "report.html": self.html(),
            "results.json": self.json(),
            "results.csv": tables.long_csv(self.rows),
            "table.tex": tables.latex(self._shown_rows(), self.unfit, self.caption()),
            "controls.md": self.controls(),
        }
        if self._frontier is not None:
            contents["frontier.svg"] = self._frontier + "\n"
        for name, content in contents.items():
            write_text(folder / name, content)
        files = [folder / name for name in contents]
        return files if self.sheet is None else [*files, save_png(self.sheet, folder / "sheet.png")]

    def caption(self) -> str:
        """Say what the tables show, in a line."""
        clips = self.about["clips"]
        return (
            f"{clips['name']}: {clips['edited']} edited clips, gallery of {clips['gallery']}, "
            f"seed {clips['seed']}, clip set {clips['digest'][:12]}."
        )

    def controls(self) -> str:
        """Return which metrics put which controls in order, as Markdown."""
        return markdown(self.orderings, self.verdicts)

    def json(self) -> str:
        """Write all of it but the videos as JSON."""
        content = {
            "about": self.about,
            "rows": self.rows,
            "calibration": [asdict(verdict) for verdict in self.verdicts],
            "controls": [asdict(ordering) for ordering in self.orderings],
            "frontier": self.points,
            "speed": self.speed,
            "references": self.references,
            "notes": self.notes,
            "clips": self.clips,
        }
        return json_text(content)

    def html(self) -> str:
        """Write all of it as one page: plots as SVG, videos as data URIs, no script, no other file."""
        templates = page_templates("keyface.evaluation.report")
        templates.filters |= {"number": tables.number, "word": word, "fitness": fitness}
        columns = tables.measured(self.rows)
        rows = self._shown_rows()
        return templates.get_template("report.html").render(
            report=self,
            rows=rows,
            columns=columns,
            # Matplotlib escapes the text that it draws.
            intervals=Markup(plots.intervals(rows, columns)),
            frontier=None if self._frontier is None else Markup(self._frontier),
            categories=sorted({name for row in rows for name in row["by_category"]}),
            recognizers=sorted({name for row in rows for name in row["by_recognizer"]}),
            controls=CONTROLS,
            ordered=control_table(self.orderings, self.verdicts),
            outcomes=OUTCOMES,
            published=by_table(self.references),
            metrics=METRICS,
            settings=json_text(self.about),
        )

    @cached_property
    def _frontier(self) -> str | None:
        """Return the frontier as an SVG element, drawn once for the page and for its own file."""
        return plots.frontier(self.points) if self.points else None

    def _shown_rows(self) -> list[Mapping[str, Any]]:
        """Return the rows of the main table: a sweep's points have a table and a plot of their own."""
        return [row for row in self.rows if row["kind"] != "sweep"]


def describe_run(
    scorer: Scorer, rows: Sequence[Candidate], weights: Mapping[str, str], seed: int
) -> dict[str, Any]:
    """Say what was scored, by whom, with which seeds and hashes: enough to score it again.

    Args:
        scorer: Has the clip set and the judges.
        rows: All rows.
        weights: Hashes of the networks that edited.
        seed: Of the intervals and of our edits.
    """
    clips, judges = scorer.clips, scorer.judges
    return {
        "keyface": keyface.__version__,
        "clips": {
            "name": clips.name,
            "seed": clips.seed,
            "made_by": clips.made_by,
            "digest": clips.digest(),
            "edited": len(clips.edited),
            "gallery": len(clips.clips),
            "identities": len({clip.identity for clip in clips.clips}),
        },
        "seed": seed,
        "intervals": {"confidence": CONFIDENCE, "resamples": RESAMPLES, "method": "percentile bootstrap"},
        "judges": dict(judges.versions),
        "flow": None if judges.flow is None else judges.flow.name,
        "weights": dict(weights),
        "sha256": {
            row.name: {
                clip.key: scorer.sha256(row, clip) for clip in clips.edited if row.video_of(clip) is not None
            }
            for row in rows
        },
    }


def clip_records(rows: Sequence[RowScores]) -> list[dict[str, Any]]:
    """Return a record a clip of a row, with the keys that `keyface.evaluation.scoring.scores` gives."""
    return [
        {
            "method": row.candidate.name,
            "clip": each.clip.key,
            "category": each.clip.category,
            "identity": each.clip.identity,
            **each.values,
        }
        for row in rows
        for each in row.clips
    ]
