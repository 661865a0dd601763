"""The work that is disturbed: what each needs, its words, its results, and what it may leave."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import torch
from training_runs import colour_words

from keyface.marks.verifying import verify

RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{6}")
VOLATILE = re.compile(r"second|time|date|created|memory|host|fps|speed|elapsed|folder|path|took")
"""Names of numbers that differ from run to run, such as how long it took."""


@dataclass(frozen=True)
class Job:
    """One kind of work.

    Attributes:
        name: Of the kind.
        words: Of the command, run in the job's folder; they are repeated after a disturbance.
        results: Everything that must be equal, by name.
        again: What is added to the words when it is repeated, by what the disturbed run left.
        logs: Folders of records, in which each try leaves its own.
    """

    name: str
    words: Callable[[], list[str]]
    results: Callable[[Path], Mapping[str, object]]
    again: Callable[[Path], list[str]] = lambda folder: []
    logs: tuple[str, ...] = field(default=("runs",))

    def files(self, folder: Path) -> set[str]:
        """Return the files that a job's folder holds, but for records of tries."""
        names = {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}
        return {name for name in names if name.split("/")[0] not in self.logs}


def digest(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content_digest(path: Path) -> str:
    """Return the hash of a video's packets, which its signature does not change."""
    with av.open(str(path)) as container:
        packets = [(each.stream.index, each.pts, bytes(each)) for each in container.demux() if each.size]
    return hashlib.sha256(repr(packets).encode()).hexdigest()


def steady(content: Any) -> Any:
    """Return JSON without what differs from run to run."""
    if isinstance(content, dict):
        return {name: steady(each) for name, each in content.items() if not VOLATILE.search(name)}
    return [steady(each) for each in content] if isinstance(content, list) else content


def edit_words() -> list[str]:
    """An edit of a clip of seven frames by a tiny model."""
    words = [
        "edit",
        "in.mp4",
        "-o",
        "out.mp4",
        "--weights",
        "weights",
        "--source",
        "a man",
        "--crop",
        "centre",
    ]
    return [
        *words,
        "--settings.interval",
        "3",
        "--guidance",
        "2",
        "--steps",
        "6",
        "--prompt",
        "a man with glasses",
    ]


def edit_results(folder: Path) -> dict[str, object]:
    """The video, packet by packet, that it is signed, and its sidecar JSON.

    Signatures hold random numbers, so that signed files differ; the sidecar has the hash before signing.
    """
    sidecar = json.loads((folder / "out.json").read_text())
    assert sidecar["output"].pop("sha256") == digest(folder / "out.mp4")
    return {
        "video": content_digest(folder / "out.mp4"),
        "verdict": verify(folder / "out.mp4").verdict,
        "sidecar": json.dumps(steady(sidecar), sort_keys=True),
    }


def fit_words() -> list[str]:
    """A training of twelve steps with a checkpoint of each."""
    return [*colour_words("notes", 12, last="true"), "--experiment=chaos"]


def fit_results(folder: Path) -> dict[str, object]:
    """Weights and the optimizer's state of the last checkpoint, and the samples and loss of every step."""
    content = torch.load(folder / "runs/chaos/latest/checkpoints/last.ckpt", weights_only=True)
    found: dict[str, object] = {name: value.tolist() for name, value in content["state_dict"].items()}
    for number, state in content["optimizer_states"][0]["state"].items():
        found |= {f"optimizer {number} {name}": value.tolist() for name, value in state.items()}
    lines = (folder / "notes/0.jsonl").read_text().splitlines()
    for note in (json.loads(line) for line in lines if line.endswith("}")):
        found[f"step {note['step']}"] = (note["keys"], note["loss"])
    return found


def fit_again(folder: Path) -> list[str]:
    """Go on from the last checkpoint, where there is one."""
    return ["--ckpt_path=last"] if any((folder / "runs/chaos").glob("*/checkpoints/last.ckpt")) else []


def tree(folder: Path) -> dict[str, object]:
    """All files below a folder, byte by byte."""
    return {
        str(path.relative_to(folder)): digest(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }


def render_words() -> list[str]:
    """Three shards of rendered faces."""
    return ["shards", "render", "-o", "rendered", "--count", "12", "--size", "32", "--samples-per-shard", "4"]


def caption_words() -> list[str]:
    """Captions by a tiny BLIP-2."""
    words = ["caption", "shards", "--captioner", "blip2:blip2", "--accelerator", "cpu", "--devices", "1"]
    return [*words, "--workers", "0", "--batch-size", "3"]


def evaluate_words() -> list[str]:
    """Two copies of rendered clips are scored."""
    return [
        "evaluate",
        "--protocol",
        "clips/protocol.json",
        "-o",
        "out",
        "--method",
        "copies=copies",
        "--show",
        "0",
    ]


def evaluate_results(folder: Path) -> dict[str, object]:
    """Every number of the report."""
    results = json.loads((folder / "out/results.json").read_text())
    return {"results": json.dumps(steady(results), sort_keys=True)}


JOBS = {
    job.name: job
    for job in (
        Job("edit", edit_words, edit_results),
        Job("fit", fit_words, fit_results, fit_again, ("runs", "notes")),
        Job("shards", render_words, lambda folder: tree(folder / "rendered")),
        Job("caption", caption_words, lambda folder: tree(folder / "shards")),
        Job("evaluate", evaluate_words, evaluate_results),
    )
}


def lay(source: Path, folder: Path) -> Path:
    """Copy what a job needs into a folder of its own."""
    shutil.copytree(source, folder)
    return folder
