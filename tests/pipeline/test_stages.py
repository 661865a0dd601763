"""How much of an edit is done at a stage."""

import pytest

from keyface.pipeline.stages import share_of


@pytest.mark.parametrize(
    ("stage", "done", "total", "share"),
    [
        ("find", 0, 10, 0.0),
        ("find", 5, 10, 0.05),
        ("encode", 0, 4, 0.1),
        ("invert", 1, 2, 0.1 + 0.05 + 0.15),
        ("decode", 4, 4, 1.0),
        ("decode", 0, 0, 1.0),
        # 0.1 for find, then two clips that share 0.85, then 0.05 for decode
        ("1/2 encode", 0, 4, 0.1),
        ("2/2 encode", 0, 4, 0.1 + 0.425),
        ("2/2 edit", 4, 4, 0.95),
        ("unknown", 1, 2, 0.0),
    ],
)
def test_share(stage: str, done: int, total: int, share: float) -> None:
    assert share_of(stage, done, total) == pytest.approx(share)
