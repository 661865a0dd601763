"""Put small faults into a module, one at a time, and say which of them its tests do not notice.

    python scripts/mutants.py keyface/losses.py [TESTS ...]
    python scripts/mutants.py keyface/metrics tests/metrics

mutmut's operators make the faults: a changed operator, constant, argument, condition or assignment. Messages
of errors and warnings, annotations and decorators are left as they are. mutants_run.py tries each fault.

JOBS is the number of processes. SAMPLE=60 tries so many of a module's faults, drawn with the seed SEED.
AGAIN=1 tries only those which were not noticed the last time. Without TESTS those of the module's name are
taken: for keyface/metrics/flow.py tests/metrics/test_flow*.py, where there are none
tests/**/test_flow*.py; for a folder the folder below tests/.
"""

import ast
import json
import os
import random
import re
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import libcst as cst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutants_run import Harness
from mutmut.mutation.file_mutation import MutationVisitor
from mutmut.mutation.mutators import mutation_operators
from mutmut.mutation.pragma_handling import IgnoredCode

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "build" / "mutants"

MESSAGES = {"warn", "warning", "info", "debug", "error", "print", "rank_zero_info", "rank_zero_warn"}
"""Calls that tell somebody something: their words are not tested."""

UNNOTICED = ("unnoticed", "no tests")


class Fault(NamedTuple):
    """A changed module: its whole text, the first and last line that the change is in, and the change."""

    code: str
    lines: tuple[int, int]
    change: str


class Visitor(MutationVisitor):
    """mutmut's, which also enters decorated functions, and which leaves out messages."""

    def __init__(self) -> None:
        super().__init__(mutation_operators, IgnoredCode(set(), set(), set()))
        self.found: list[tuple[cst.CSTNode, cst.CSTNode, CodeRange]] = []

    def _skip_node_and_children(self, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef):
            return False
        if isinstance(node, cst.Raise):
            return True
        if isinstance(node, cst.Call):
            name = node.func.attr if isinstance(node.func, cst.Attribute) else node.func
            if isinstance(name, cst.Name) and name.value in MESSAGES:
                return True
        return super()._skip_node_and_children(node)

    def _create_mutations(self, node: cst.CSTNode) -> None:
        before = len(self.mutations)
        super()._create_mutations(node)
        place = self.get_metadata(PositionProvider, node)
        self.found += [(node, each.mutated_node, place) for each in self.mutations[before:]]


def faults_of(file: Path) -> list[Fault]:
    """Return every fault of a file, in the order of its lines."""
    text = file.read_text()
    wrapper, visitor = MetadataWrapper(cst.parse_module(text)), Visitor()
    wrapper.visit(visitor)
    lines, unchanged = text.splitlines(keepends=True), ast.dump(ast.parse(text))
    found: dict[str, Fault] = {}
    for node, changed, place in visitor.found:
        first, last = place.start.line, place.end.line
        old = "".join(lines[first - 1 : last])
        if isinstance(node, cst.Match):  # whose code has an indentation
            code = wrapper.module.deep_replace(node, changed).code
            new = "".join(code.splitlines(keepends=True)[first - 1 : last])
        else:
            behind = lines[last - 1][place.end.column :]
            new = old[: place.start.column] + wrapper.module.code_for_node(changed) + behind
            code = "".join(lines[: first - 1]) + new + "".join(lines[last:])
        change = f"line {first}\n" + "".join(f"- {line}" for line in old.splitlines(keepends=True))
        change += "".join(f"+ {line}" for line in new.splitlines(keepends=True))
        if ast.dump(ast.parse(code)) != unchanged and _but_strict(old) != _but_strict(new):
            found[change] = Fault(code, (first, last), change.rstrip())
    return sorted(found.values(), key=lambda fault: fault.lines)


def _but_strict(text: str) -> str:
    """Return a text without `strict=True` and spaces: what nothing reaches cannot be noticed."""
    return re.sub(r",?strict=\w+|,(?=\))", "", re.sub(r"\s", "", text))


def tests_of(module: Path) -> list[str]:
    """Return the tests of a module or folder, by its name."""
    inside = module.relative_to("keyface") if module.parts[0] == "keyface" else module
    mirror = Path("tests") / inside
    if not module.suffix:
        return [str(mirror)]
    for place in (f"{mirror.parent}/", "tests/**/"):
        if found := sorted(ROOT.glob(f"{place}test_{module.stem}*.py")):
            return [str(path.relative_to(ROOT)) for path in found]
    return [str(next(folder for folder in mirror.parents if (ROOT / folder).is_dir()))]


def try_module(file: Path, harness: Harness) -> Counter[str]:
    """Try the faults of one file, print those that were not noticed, and return how the faults ended."""
    kept = PLACE / f"{str(file).replace('/', '.')}.json"
    faults = faults_of(ROOT / file)
    total = len(faults)
    last: dict[str, str] = json.loads(kept.read_text()) if kept.exists() else {}
    if os.environ.get("AGAIN"):
        faults = [fault for fault in faults if last.get(fault.change) in UNNOTICED]
    elif size := int(os.environ.get("SAMPLE") or 0):
        chosen = random.Random(int(os.environ.get("SEED") or 0)).sample(range(total), min(size, total))
        faults = [faults[i] for i in sorted(chosen)]
    if not faults:
        return Counter()
    ends = harness.run(file, [(fault.code, fault.lines) for fault in faults])
    for fault, end in zip(faults, ends, strict=True):
        if end in UNNOTICED:
            print(f"{file}, {end}: {fault.change}")
    told = dict(zip((fault.change for fault in faults), ends, strict=True))
    kept.write_text(json.dumps({**last, **told} if os.environ.get("AGAIN") else told, indent=1))
    counts = Counter(ends)
    left = sum(counts[each] for each in UNNOTICED)
    print(f"{file}: {len(ends) - left} of {len(ends)} faults noticed, of {total} possible; {dict(counts)}")
    return counts


def main(module: Path, tests: list[str]) -> int:
    """Try the faults of a module, or of each module of a folder."""
    PLACE.mkdir(parents=True, exist_ok=True)
    harness = Harness(ROOT, PLACE, tests or tests_of(module), jobs=int(os.environ.get("JOBS") or 1))
    files = [module] if module.suffix else sorted(p.relative_to(ROOT) for p in (ROOT / module).rglob("*.py"))
    counts: Counter[str] = Counter()
    for file in files:
        counts += try_module(file, harness)
    if len(files) > 1:
        left = sum(counts[each] for each in UNNOTICED)
        print(f"{module}: {counts.total() - left} of {counts.total()} faults noticed; {dict(counts)}")
    return 0


if __name__ == "__main__":
    ended = main(Path(sys.argv[1]), sys.argv[2:])
    sys.stdout.flush()
    os._exit(ended)  # of all that was imported some tell at an orderly end what they leaked
