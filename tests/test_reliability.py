"""docs/reliability.md: each promise is held by a test that exists."""

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text()


@cache
def names_in(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test_that_exists() -> None:
    promises, faults = (
        [
            line
            for line in PAGE.split(f"## {title}")[1].split("\n## ")[0].splitlines()
            if line.startswith("| ")
        ][2:]
        for title in ("Promises", "Faults")
    )
    assert len(promises) >= 14
    assert len(faults) >= 35
    for line in promises + faults:
        found = re.search(r"`(tests/[\w/]+\.py)::(test_\w+)` \|$", line)
        assert found, f"names no test: {line}"
        assert found[2] in names_in(ROOT / found[1]), line
