"""The tests that are marked `gpu`, where the tests and pytest are."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from keyface.benchmark.gpu.bench import Bench, Results

MARK = "pytest.mark.gpu"
"""What files with such tests hold; collecting all others would take longer than these run."""


def marked_tests(bench: Bench) -> Results:
    """Run them from the checkout in the working directory; return how many passed and failed."""
    files = sorted(str(path) for path in Path("tests").rglob("test_*.py") if MARK in path.read_text())
    if not files or importlib.util.find_spec("pytest") is None:
        return {"left_out": "run from a checkout, with pytest, to have the tests run"}
    words = [sys.executable, "-P", "-m", "pytest", *files, "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    words += ["-n0"] if importlib.util.find_spec("xdist") else []
    words += ["--collect-only"] if bench.dry else []
    limit = max(30.0, bench.left())
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {limit:.0f} s"}
    counted = re.findall(r"(\d+)(?:/\d+)? (passed|failed|error|skipped|tests? collected)", done.stdout)
    counts = {name: int(number) for number, name in counted}
    return {**counts, "exit": done.returncode, "last": done.stdout.strip().splitlines()[-1:]}
