"""Published figures: only what was read, and marked as other data."""

import json
from pathlib import Path

import pytest

from keyface.evaluation.report.published import PUBLISHED, read_published


def test_every_published_figure_says_where_it_stands_and_what_it_is_of() -> None:
    assert PUBLISHED
    for each in PUBLISHED:
        assert "arXiv" in each.where
        assert "not this clip set" in each.data


def test_a_users_figures_are_added(tmp_path: Path) -> None:
    path = tmp_path / "table1.json"
    figure = {"method": "A", "measure": "R@1", "value": 0.5, "where": "Table 1", "data": "CelebV-HQ"}
    path.write_text(json.dumps([figure]))
    assert read_published(path)[-1] == figure
    assert len(read_published(path)) == len(read_published(None)) + 1


@pytest.mark.parametrize(
    "content",
    ["{}", "[3]", '[{"method": "A"}]', "[" * 100_000, "no json", '[{"method":"A","measure":"R","value":NaN,'
     '"where":"T","data":"D"}]', '[{"method":"A","measure":"R","value":[1],"where":"T","data":"D"}]'],
)  # fmt: skip
def test_wrong_files_are_refused_by_name(tmp_path: Path, content: str) -> None:
    path = tmp_path / "table1.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"table1\.json"):
        read_published(path)
