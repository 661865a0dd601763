"""The examinations of `keyface doctor`: what each goal needs, what of it is here, what brings the rest.

Nothing slow is imported: versions come from the packages' metadata, weights are looked up as files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keyface
from keyface.doctor import machine
from keyface.doctor.finding import Finding, Level
from keyface.doctor.torch_builds import torch_operators
from keyface.weights import Store, catalogue
from keyface.weights.description import describe
from keyface.weights.finders import REAL_FINDERS, finder_folder, finders_here


@dataclass(frozen=True)
class Goal:
    """Something that people do with keyface.

    Attributes:
        name: Short, for JSON.
        title: What is done.
        command: How it begins.
        needs: Weights without which it cannot be done; "a|b" is one of several, the first of them advised.
        helped_by: Weights that it is better with, "a|b" likewise.
    """

    name: str
    title: str
    command: str
    needs: tuple[str, ...] = ()
    helped_by: tuple[str, ...] = ()


GOALS = (
    Goal("try", "try it on rendered faces", "keyface demo"),
    Goal(
        "edit",
        "edit real faces",
        "keyface edit VIDEO --weights FOLDER",
        needs=(
            "stable-diffusion-2-1-base|stable-diffusion-2-1-base-file|stable-diffusion-2-1|stable-diffusion-v1-5",
        ),
        helped_by=("human|insightface|face-api",),
    ),
    Goal(
        "train",
        "train on real faces",
        "lightning fit -c configs/base.yaml -c configs/identity.yaml",
        needs=("stable-diffusion-2-1-base", "arcface", "clip-vit-b-16"),
        helped_by=("blip2", "face-api", "face-parser"),
    ),
    Goal(
        "evaluate",
        "evaluate edits of real faces",
        "keyface evaluate --judges keyface.models.real_judges:judges",
        needs=("face-api",),
        helped_by=("cosface", "facenet", "vggface", "clip-vit-b-32-laion", "raft"),
    ),
)
"""In the order in which a newcomer comes to them."""

DATA = Path("data/celeba-hq")
"""Where configs/base.yaml looks for training data."""


def examine(store: Store, deep: bool = False) -> dict[str, Any]:
    """Return all facts and findings, ready for JSON.

    Args:
        store: The folder of external weights.
        deep: Whether torch is imported and asked, which takes seconds.
    """
    findings: list[Finding] = []
    record = {
        "machine": machine.machine(findings, deep),
        "packages": machine.packages(findings),
        "video": machine.video(findings),
        "disk": machine.disk(store, findings),
        "wandb": machine.wandb(findings),
        "finders": list(finders_here(store)),
        "weights": [describe(entry, store) for entry in catalogue().values()],
        "plugins": plugins(findings),
    }
    findings += [*miniature(), *weights(store), *data()]
    if deep:
        findings += torch_operators()
    findings = merged(findings)
    record["goals"] = {goal.name: goal_state(goal, findings) for goal in GOALS}
    record["findings"] = [asdict(each) for each in findings if each.level != "ok"]
    return record


def merged(findings: Iterable[Finding]) -> list[Finding]:
    """Return each finding once, with the goals of all that say the same."""
    goals: dict[Finding, tuple[str, ...]] = {}
    for each in findings:
        same = replace(each, goals=())
        goals[same] = (*goals.get(same, ()), *each.goals)
    return [replace(each, goals=all_goals) for each, all_goals in goals.items()]


def goal_state(goal: Goal, findings: Iterable[Finding]) -> dict[str, Any]:
    """Return whether a goal can be reached, what is here for it, and what is missing."""
    mine = [each for each in findings if goal.name in each.goals]
    blocked = any(each.level in ("broken", "missing") for each in mine)
    return {
        "title": goal.title,
        "command": goal.command,
        "works": not blocked,
        "here": [each.what for each in mine if each.level == "ok"],
        "missing": [each.what for each in mine if each.level != "ok"],
    }


def plugins(findings: list[Finding]) -> dict[str, Any]:
    """Return packages with their edits; every fault of every plugin is a finding."""
    from keyface.plugins import edits
    from keyface.plugins.examination import examine

    packages = examine(edits)
    skipped, doubled = "the edits that it offers, no others", "the refusal of edits that do not fit"
    for each in packages:
        fix = "; ".join(each.fixes)
        findings += [Finding("broken", f"{each.package}: {said}", skipped, fix, ()) for said in each.broken]
        findings += [Finding("note", f"{each.package}: {said}", doubled, fix, ()) for said in each.wrong]
    return {
        "edits": {each.package: len(each.edits) for each in packages if each.edits},
        "versions": {each.package: each.version for each in packages},
        "faults": [
            {"package": each.package, "fault": fault}
            for each in packages
            for fault in (*each.broken, *each.wrong)
        ],
    }


def weights(store: Store) -> Iterator[Finding]:
    """Yield a finding for each of the external weights that a goal needs or is better with."""
    for goal in GOALS:
        for alternatives in goal.needs:
            yield _weight(alternatives.split("|"), "missing", goal.name, store)
        for alternatives in goal.helped_by:
            yield _weight(alternatives.split("|"), "optional", goal.name, store)


def _weight(names: list[str], level: Level, goal: str, store: Store) -> Finding:
    """Return what is known of the first weights that are here whole, else of the first of the names."""
    entries = [catalogue()[name] for name in names]
    for entry in entries:
        if not store.missing(entry) or (entry.name in REAL_FINDERS and finder_folder(entry.name, store)):
            return Finding("ok", entry.name, goals=(goal,))
    advised = entries[0]
    what = f"{advised.name} (partly)" if store.bytes(advised) else advised.name
    return Finding(level, what, advised.without, f"keyface weights get {advised.name}", (goal,))


def miniature() -> Iterator[Finding]:
    """Yield whether the networks that come with keyface are here."""
    folder = Path(keyface.__file__).parent / "miniature" / "weights"
    wanted = ("base/unet", "base/vae", "identity", "direction", "clip", "identity_network", "attributes")
    absent = [name for name in wanted if not list((folder / name).glob("*.safetensors"))]
    if absent:
        what = f"the miniature lacks {', '.join(absent)}"
        fix = "install keyface again"
        yield Finding("broken", what, "the demo and editing without weights of your own", fix, ("try",))
    else:
        yield Finding("ok", "the miniature's networks", goals=("try",))


def data() -> Iterator[Finding]:
    """Yield whether training data lie where the shipped configs look for them."""
    if (DATA / "index.json").is_file():
        yield Finding("ok", str(DATA), goals=("train",))
    else:
        fix = "keyface shards celeba-hq --images CelebAMask-HQ --count 10000"
        yield Finding("missing", f"data in {DATA}", "training on CelebA-HQ", fix, ("train",))
