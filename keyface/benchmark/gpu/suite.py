"""The tests that are marked `gpu`, where the tests and pytest are."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

from keyface.benchmark.gpu.bench import Bench, Results


def marked_tests(bench: Bench) -> Results:
    """Run them from the checkout in the working directory; return how many passed and failed."""
    if not Path("tests").is_dir() or importlib.util.find_spec("pytest") is None:
        return {"left_out": "run from a checkout, with pytest, to have the tests run"}
    words = [sys.executable, "-P", "-m", "pytest", "tests", "-q", "-m", "gpu", "-p", "no:cacheprovider"]
    words += ["-o", "addopts=", "--collect-only"] if bench.dry else ["-o", "addopts="]
    limit = max(30.0, bench.left())
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {limit:.0f} s"}
    counted = re.findall(r"(\d+)(?:/\d+)? (passed|failed|error|skipped|tests? collected)", done.stdout)
    counts = {name: int(number) for number, name in counted}
    return {**counts, "exit": done.returncode, "last": done.stdout.strip().splitlines()[-1:]}
