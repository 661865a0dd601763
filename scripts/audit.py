"""Look every pinned version up among known vulnerabilities; where nobody can be asked, say so and go on.

    python scripts/audit.py constraints.txt

The look-up is pip-audit's, which asks PyPI. Status 1: a version has a known vulnerability that ACCEPTED does
not list. Status 0: none has, or there is no network.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ACCEPTED: Mapping[str, str] = {}
"""Identifier of a vulnerability → why it does not matter here, and until when."""

SECONDS = 300


def report(answer: Mapping[str, Any]) -> tuple[list[str], int, int]:
    """Return a line for each vulnerability that counts, how many versions were looked up, and of how many."""
    packages = answer["dependencies"]
    looked_up = [each for each in packages if "skip_reason" not in each]
    lines = [
        f"{each['name']} {each['version']}: {found['id']}; "
        f"fixed in {', '.join(found['fix_versions']) or 'no version'}"
        for each in looked_up
        for found in each["vulns"]
        if not {found["id"], *found.get("aliases", ())} & ACCEPTED.keys()
    ]
    return lines, len(looked_up), len(packages)


def main(constraints: Path) -> int:
    """Print what is known of the pinned versions."""
    words = ["--requirement", str(constraints), "--no-deps", "--disable-pip", "--format", "json"]
    words += ["--progress-spinner", "off", "--timeout", "10"]
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "pip_audit", *words], capture_output=True, text=True, timeout=SECONDS
        )
        answer = json.loads(ended.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:
        print(f"audit: nobody could be asked about known vulnerabilities ({type(error).__name__})")
        return 0
    lines, looked_up, count = report(answer)
    if not looked_up:
        print("audit: nobody could be asked about known vulnerabilities (no package index knows them)")
        return 0
    print(f"audit: {looked_up} of {count} pinned versions could be looked up, {len(lines)} vulnerabilities")
    for line in lines:
        print(f"audit: {line}", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
