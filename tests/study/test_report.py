"""Reports of simulated raters whose true scores are known, of careless ones, and of files that are none."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
from studies import lines_of, write_lines

from keyface.cli.main import main
from keyface.study.folder import Study
from keyface.study.report import latex

TRUE = {"stit": (6.0, 8.0), "dva": (4.5, 5.0)}
"""Method → realism and identity, before a rater's severity, a clip's difficulty and chance."""


def simulate(study: Study, raters: int, seed: int = 0) -> list[dict[str, object]]:
    """Lines of honest raters, in the order in which they answered."""
    rng = np.random.default_rng(seed)
    easy = dict(zip(study.clips, rng.normal(0, 0.5, len(study.clips)), strict=True))
    lines: list[dict[str, object]] = []
    for number in range(raters):
        severity = rng.normal(0, 0.7)

        def rate(clip: str, method: str, made: str, severity: float = severity) -> tuple[int, int]:
            if made:
                return (2, 1) if made == "broken" else (9, 10)
            scores = [level + easy[clip] + severity + rng.normal(0, 0.8) for level in TRUE[method]]
            realism, identity = (int(np.clip(round(score), 1, 10)) for score in scores)
            return realism, identity

        lines += lines_of(study, f"{number:032x}", number % len(study.booklets), rate)
    return lines


def reported(study: Study, capsys: pytest.CaptureFixture[str], *words: str) -> dict:  # type: ignore[type-arg]
    capsys.readouterr()
    assert main(["study", "report", str(study.folder), *words, "--json"]) == 0
    found: dict = json.loads(capsys.readouterr().out)  # type: ignore[type-arg]
    return found


def test_fifty_raters_are_averaged_as_a_table_by_hand_says(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = simulate(study, 50)
    write_lines(study.answers, lines)
    found = reported(study, capsys)
    assert found["raters"] == {
        "began": 50, "kept": 50, "left_out": 0, "unfinished": 0, "failed_checks": 0,
    }  # fmt: skip
    for row in found["methods"]:
        given = [
            (line["realism"], line["identity"])
            for line in lines
            if "trial" in line and study.trials[line["trial"]].method == row["method"]  # type: ignore[index]
        ]
        realism, identity = np.mean(np.array(given, dtype=float), axis=0)
        assert len(given) == row["overall"]["n"] == 150
        assert row["realism"]["mean"] == pytest.approx(realism)
        assert row["identity"]["mean"] == pytest.approx(identity)
        assert row["overall"]["mean"] == pytest.approx((realism + identity) / 2)
        for question, truth in zip(("realism", "identity"), TRUE[row["method"]], strict=True):
            assert row[question]["low"] < truth < row[question]["high"]
    (difference,) = found["differences"]
    assert (difference["method"], difference["minus"]) == ("stit", "dva")
    assert difference["realism"]["low"] < 1.5 < difference["realism"]["high"]
    assert difference["identity"]["low"] < 3 < difference["identity"]["high"]
    means = [row["overall"]["mean"] for row in found["methods"]]
    assert difference["overall"]["mean"] == pytest.approx(means[0] - means[1])
    assert 0.3 < found["agreement"]["identity"]["interval"] < 0.9


def test_careless_raters_are_left_out_by_the_rule_and_counted(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    honest = simulate(study, 8)
    chance = random.Random(0)

    def always_seven(clip: str, method: str, made: str) -> tuple[int, int]:
        return 7, 7  # passes the unedited clip, not the broken one

    def unsure(clip: str, method: str, made: str) -> tuple[int, int]:
        return (chance.randint(1, 10), 6) if made != "broken" else (1, 1)  # fails the unedited one

    careless = lines_of(study, "a" * 32, 0, always_seven) + lines_of(study, "b" * 32, 1, unsure)
    unfinished = simulate(study, 1, seed=5)[:5]
    unfinished = [line | {"rater": "c" * 32} for line in unfinished]
    only_begun = [{"study": study.digest, "rater": "d" * 32, "booklet": 2}]
    write_lines(study.answers, honest)
    alone = reported(study, capsys)
    write_lines(study.answers, honest + careless + unfinished + only_begun)
    found = reported(study, capsys)
    assert found["raters"] == {
        "began": 12, "kept": 8, "left_out": 4, "unfinished": 2, "failed_checks": 2,
    }  # fmt: skip
    reasons = {each["rater"][0]: (each["reason"], each["failed"]) for each in found["left_out"]}
    assert reasons == {"a": ("checks", 1), "b": ("checks", 1), "c": ("unfinished", 0), "d": ("unfinished", 0)}
    assert found["methods"] == alone["methods"]
    assert main(["study", "report", str(study.folder)]) == 0
    printed = capsys.readouterr().out
    assert "12 raters began, 8 count; left out: 2 did not finish, 2 failed checks" in printed
    assert "Rule, stated before: a rater counts who answered all trials and failed no attention" in printed


def test_the_table_and_the_rows_for_the_paper(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_lines(study.answers, simulate(study, 6))
    scores = tmp_path / "results.json"
    evaluated = [{"method": "stit", "temporal_loss": 0.2734}, {"method": "other"}]
    scores.write_text(json.dumps({"rows": evaluated}))
    found = reported(study, capsys, "--scores", str(scores))
    assert main(["study", "report", str(study.folder), "--scores", str(scores)]) == 0
    printed = capsys.readouterr().out
    first, second = (row["overall"] for row in found["methods"])
    rows = [
        rf"stit & 0.273 & {first['mean']:.2f} {{\scriptsize[{first['low']:.2f}, {first['high']:.2f}]}} \\",
        rf"dva & -- & {second['mean']:.2f} {{\scriptsize[{second['low']:.2f}, {second['high']:.2f}]}} \\",
    ]
    assert found["latex"].splitlines() == rows
    assert printed.splitlines()[-2:] == rows
    assert f"stit    18  {first['mean']:.2f} [" in printed
    assert "stit - dva" in printed
    one = {"mean": 7.0, "low": None, "high": None, "n": 1}
    odd = {"methods": [{"method": "a_b & c", "overall": one}]}
    assert latex(odd, {}) == r"a\_b \& c & -- & 7.00 \\"


def test_files_that_raters_downloaded_count_once(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = simulate(study, 6)
    parts = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_lines(parts[0], lines[:30])
    write_lines(parts[1], lines[20:])  # some lines are in both
    apart = reported(study, capsys, *map(str, parts))
    write_lines(study.answers, lines)
    assert reported(study, capsys, *map(str, parts)) == reported(study, capsys) == apart
    contradicting = lines[-1] | {"realism": 1 if lines[-1]["realism"] != 1 else 2}
    write_lines(parts[1], [contradicting])
    assert main(["study", "report", str(study.folder), str(parts[1])]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{parts[1]}: line 1: rater" in line
    assert "before, differently" in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{}\n{}\n", "line 1: answers study None"),
        ("[1]\n\n", "line 1: must be an object"),
        ("x" * 5000 + "\n", "line 1: larger than 1,024 bytes"),
        ("\xff\n\n", "line 1: cannot be read as JSON"),
    ],
)
def test_files_that_are_no_answers_are_refused_with_their_line(
    study: Study, tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    assert main(["study", "report", str(study.folder), str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{path}: {said}" in line


def test_nobody_answered(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "report", str(study.folder)]) == 1
    assert "nobody answered yet" in capsys.readouterr().err
    write_lines(study.answers, simulate(study, 1)[:3])
    assert main(["study", "report", str(study.folder)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "nobody's answers count yet: 1 began, 1 are left out" in line
    write_lines(study.answers, [*simulate(study, 1), {"study": study.digest}])
    study.answers.write_text(study.answers.read_text()[:-20])
    assert main(["study", "report", str(study.folder)]) == 0
    assert "is cut off; it is left out" in capsys.readouterr().err
    assert main(["study", "report", str(tmp_path)]) == 1
    assert "is no study" in capsys.readouterr().err
    assert main(["study", "report", str(study.folder), str(tmp_path / "none.jsonl")]) == 1
    assert "no such file of answers" in capsys.readouterr().err
