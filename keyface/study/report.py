"""What raters said: means with intervals, differences, agreement, and who was left out by the stated rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from keyface.evaluation.report.tables import escaped
from keyface.study.answers import QUESTIONS, Answer, Rater
from keyface.study.folder import Study, Trial
from keyface.study.statistics import (
    CONFIDENCE,
    DRAWS,
    Estimate,
    Scores,
    crossed_interval,
    krippendorff_alpha,
)
from keyface.untrusted import finite_number, read_json_object

OVERALL = "overall"
"""The mean of the two questions, which is the paper's mean opinion score."""

TEMPORAL_LOSS = "temporal_loss"
"""Table 3's other column, as results.json of `keyface evaluate` has it."""


@dataclass(frozen=True)
class LeftOut:
    """A rater whose answers do not count.

    Attributes:
        rater: Who.
        reason: "unfinished" or "checks".
        failed: How many attention checks were failed.
        answered: Part of the trials that have an answer.
    """

    rater: str
    reason: str
    failed: int
    answered: float


def judged(study: Study, rater: Rater) -> LeftOut | None:
    """Apply the rule that was stated before; None where the rater counts."""
    answered = len(rater.answers) / len(study.booklets[rater.booklet])
    failed = sum(_fails(study.trials[answer.trial], answer, study) for answer in rater.answers.values())
    rule = study.rule
    if not rater.answers or answered < rule.answered_at_least:
        return LeftOut(rater.name, "unfinished", failed, answered)
    if rule.failed_checks and failed >= rule.failed_checks:
        return LeftOut(rater.name, "checks", failed, answered)
    return None


def _fails(trial: Trial, answer: Answer, study: Study) -> bool:
    if trial.made == "unedited":
        return answer.identity < study.rule.unedited_identity_at_least
    return trial.made == "broken" and answer.realism > study.rule.broken_realism_at_most


def scores_of(study: Study, raters: Sequence[Rater]) -> dict[str, Scores]:
    """Return scores by question, and of both together: (methods, raters, clips), NaN where there is none."""
    methods, clips = (
        {name: place for place, name in enumerate(each)} for each in (study.methods, study.clips)
    )
    shape = len(methods), len(raters), len(clips)
    scores = {question: np.full(shape, np.nan) for question in QUESTIONS}
    for row, rater in enumerate(raters):
        for number, answer in rater.answers.items():
            trial = study.trials[number]
            if trial.method:
                for question in QUESTIONS:
                    place = methods[trial.method], row, clips[trial.clip]
                    scores[question][place] = getattr(answer, question)
    scores[OVERALL] = np.mean([scores[question] for question in QUESTIONS], axis=0)
    return scores


def report(study: Study, raters: Mapping[str, Rater], seed: int = 0) -> dict[str, Any]:
    """Return all that the answers say, as JSON takes it.

    Args:
        study: The study.
        raters: All who began, by name.
        seed: Of the bootstrap.

    Raises:
        ValueError: Nobody's answers count.
    """
    verdicts = {name: judged(study, rater) for name, rater in raters.items()}
    out = [verdict for verdict in verdicts.values() if verdict is not None]
    kept = [rater for name, rater in sorted(raters.items()) if verdicts[name] is None]
    if not kept:
        raise ValueError(
            f"{study.folder}: nobody's answers count yet: {len(raters)} began, {len(out)} are left out, "
            f"since {study.rule.words}"
        )
    scores = scores_of(study, kept)
    return {
        "study": study.digest,
        "title": study.title,
        "rule": asdict(study.rule),
        "rule_in_words": study.rule.words,
        "raters": {
            "began": len(raters),
            "kept": len(kept),
            "left_out": len(out),
            "unfinished": sum(each.reason == "unfinished" for each in out),
            "failed_checks": sum(each.reason == "checks" for each in out),
        },
        "left_out": [asdict(each) for each in out],
        "clips": len(study.clips),
        "interval": {"confidence": CONFIDENCE, "draws": DRAWS, "over": ["raters", "clips"], "seed": seed},
        "methods": [
            {
                "method": name,
                **{
                    question: asdict(crossed_interval(each[place], seed)) for question, each in scores.items()
                },
            }
            for place, name in enumerate(study.methods)
        ],
        "differences": [
            {
                "method": study.methods[first],
                "minus": study.methods[second],
                **{
                    question: asdict(crossed_interval(each[first] - each[second], seed))
                    for question, each in scores.items()
                },
            }
            for first, second in combinations(range(len(study.methods)), 2)
        ],
        "agreement": {question: _agreement(scores[question]) for question in QUESTIONS},
    }


def _agreement(scores: Scores) -> dict[str, float | None]:
    """Return α over raters, whose units are a clip by a method each."""
    ratings = scores.transpose(1, 0, 2).reshape(scores.shape[1], -1)
    return {level: krippendorff_alpha(ratings, level) for level in ("ordinal", "interval")}


def shown(estimate: Mapping[str, Any], signed: bool = False) -> str:
    """Write an estimate for people."""
    form = "+.2f" if signed else ".2f"
    ends = "" if estimate["low"] is None else f" [{estimate['low']:{form}}, {estimate['high']:{form}}]"
    return f"{estimate['mean']:{form}}{ends}"


def read_temporal(path: Path) -> dict[str, float]:
    """Return the temporal loss of each method in results.json of `keyface evaluate`.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It has no rows of methods.
    """
    content = read_json_object(path)
    rows = content.get("rows")
    if not isinstance(rows, list) or not all(isinstance(row, dict) and "method" in row for row in rows):
        raise ValueError(f"{path}: has no rows of methods; give results.json of `keyface evaluate`")
    return {
        str(row["method"]): finite_number(row[TEMPORAL_LOSS], f"{path}: {TEMPORAL_LOSS}")
        for row in rows
        if row.get(TEMPORAL_LOSS) is not None
    }


def latex(found: Mapping[str, Any], temporal: Mapping[str, float]) -> str:
    r"""Return rows for the paper's Table 3: method, temporal loss, mean opinion score with its interval.

    Args:
        found: Of `report`.
        temporal: Method → temporal loss; a dash stands for those that are not in it.
    """
    lines = []
    for row in found["methods"]:
        score = Estimate(**row[OVERALL])
        interval = "" if score.low is None else rf" {{\scriptsize[{score.low:.2f}, {score.high:.2f}]}}"
        loss = f"{temporal[row['method']]:.3f}" if row["method"] in temporal else "--"
        lines.append(rf"{escaped(row['method'])} & {loss} & {score.mean:.2f}{interval} \\")
    return "\n".join(lines)
