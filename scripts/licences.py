"""List the licences of a bill of materials, and refuse those that would bind whoever uses keyface.

    python scripts/licences.py build/sbom.json

The bill is CycloneDX JSON, as `make sbom` writes it.
"""

import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COPYLEFT = re.compile(r"\b[AL]?GPL|GNU|SSPL|EUPL|Commons Clause|Non-?Commercial", re.IGNORECASE)
WEAK = re.compile(r"\bLGPL|Lesser", re.IGNORECASE)
"""Binds changes of the library alone."""

KNOWN: Mapping[str, str] = {
    "insightface": "MIT",
    "protobuf": "BSD-3-Clause",
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",
}
"""Of packages whose metadata does not say; each was looked up in their repository."""


def licences(component: Mapping[str, Any]) -> list[str]:
    """Return a package's licences, in SPDX's words where it has such; several are a choice."""
    found = []
    for each in component.get("licenses", []):
        licence = each.get("license", {})
        name = each.get("expression") or licence.get("id") or licence.get("name", "").splitlines()[0][:80]
        found.append(re.sub(r"^License :: (OSI Approved :: )?", "", name))
    if not found and component["name"].startswith("nvidia-"):
        return ["LicenseRef-NVIDIA-Proprietary"]
    return found or [KNOWN.get(component["name"].lower(), "unknown")]


def binding(names: list[str]) -> bool:
    """Tell whether every choice of licences is one that would bind whoever uses keyface."""
    choices = [choice for name in names for choice in re.split(r"\bOR\b", name)]
    return all(COPYLEFT.search(choice) and not WEAK.search(choice) for choice in choices)


def main(path: Path) -> int:
    """Print the list; return 1 where a package's licence is refused."""
    components = json.loads(path.read_text(encoding="utf-8"))["components"]
    packages = defaultdict(list)
    for component in sorted(components, key=lambda each: each["name"].lower()):
        packages[" | ".join(dict.fromkeys(licences(component)))].append(component["name"])
    for names, owners in sorted(packages.items(), key=lambda pair: (-len(pair[1]), pair[0])):
        print(f"{len(owners):4} {names}: {', '.join(owners)}")
    refused = [each["name"] for each in components if binding(licences(each))]
    if refused:
        print(f"licences that keyface cannot be used under: {', '.join(refused)}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
