"""Quality warnings of an edit."""

import pytest

from keyface.editing.editor import EditReport
from keyface.pipeline.output.record import warnings_of


@pytest.mark.parametrize(
    ("vae", "reconstruction", "number"),
    [(32.0, 31.0, 0), (24.0, 23.5, 1), (32.0, 28.0, 1), (37.4, 33.6, 0), (37.4, 31.9, 1), (20.0, 10.0, 2)],
)
def test_warnings_follow_the_gate(vae: float, reconstruction: float, number: int) -> None:
    report = EditReport(1, (0,), vae, reconstruction, {})
    found = warnings_of(report, held=0, familiarity=None, surprise=None)
    assert len(found) == number
    assert all("does not know this face" in warning for warning in found)
    assert len(warnings_of(report, held=2, familiarity=None, surprise=None)) == number + 1
