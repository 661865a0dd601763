"""YAML and JSON that people write as input: categories, protocols, configs, clip sets, journals."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CATEGORIES = [
    {
        "dimples": {
            "targets": ["dimples", "dimpled cheeks"],
            "source": "smooth cheeks",
            "attribute": "Rosy_Cheeks",
            "present": True,
            "regions": ["skin", "nose"],
            "conflicts": ["old"],
            "strength": 0.8,
            "guidance": 1.5,
        }
    }
]
PROTOCOLS = [
    {"protocol": "miniature", "edits": "beard,glasses", "edited": 4, "gallery": 2, "frames": 3, "seed": 1}
]
EDIT_CONFIGS = [
    {
        "edits": ["glasses"],
        "settings": {"steps": 20, "interval": 4, "injection": {"until": 0.5}},
        "output": "a.mp4",
    }
]
FIT_CONFIGS = [
    {
        "model": {
            "class_path": "keyface.lightning_modules.identity.IdentityModule",
            "init_args": {
                "backbone": "miniature",
                "identity_network": "miniature",
                "tuning": {"ema_decay": 0.9},
            },
        },
        "data": {
            "class_path": "keyface.datamodules.shards.ShardsDataModule",
            "init_args": {"shards": "shards", "batch_size": 2},
        },
        "trainer": {"max_steps": 2, "accelerator": "cpu"},
    }
]


def read_categories(folder: Path, data: bytes) -> None:
    """Read edit categories."""
    from keyface.plugins.registry import read_yaml

    path = folder / "input.yaml"
    path.write_bytes(data)
    assert read_yaml(path)


def read_protocol(folder: Path, data: bytes) -> None:
    """Read the options of a clip set that would be rendered."""
    from keyface.configuration import merged
    from keyface.evaluation.clip_sets.protocols import read_protocol as read
    from keyface.evaluation.clip_sets.rendered import RenderedProtocol

    path = folder / "input.yaml"
    path.write_bytes(data)
    _, options = read(str(path))
    merged(RenderedProtocol(), options, f"--protocol {path}")


def read_edit_config(folder: Path, data: bytes) -> None:
    """Parse the words of an edit with a config."""
    from keyface.cli.parsing.parser import build_parser

    path = folder / "input.yaml"
    path.write_bytes(data)
    words = ["edit", "-c", str(path), "clip.mp4"]
    build_parser(words).parse_args(words)


def read_fit_config(folder: Path, data: bytes) -> None:
    """Parse a training's config; its classes are imported, and none is made."""
    from keyface.cli.environment import restrict_imports
    from keyface.cli.training.subcommands import run_training

    restrict_imports()
    path = folder / "input.yaml"
    path.write_bytes(data)
    with pytest.raises(SystemExit, match=r"^(None|0)?$"):
        run_training(["fit", "-c", str(path), "--print_config"])


@cache
def clip_sets() -> list[bytes]:
    """Return a protocol.json with one clip to edit and one of the gallery."""
    from tempfile import TemporaryDirectory

    from keyface.evaluation.clip_sets.clip_set import ClipSet
    from keyface.evaluation.clip_sets.spec import ClipSpec

    clip = ClipSpec(
        "a", "clips/a.mp4", "0" * 64, 0.5, 4, 25.0, 32, "glasses", "a man", "a man with glasses", "7"
    )
    other = replace(clip, key="b", category=None, target=None, box=(0.0, 0.0, 16.0, 16.0))
    with TemporaryDirectory() as folder:
        path = Path(folder, "protocol.json")
        ClipSet("test", 0, "a test", (clip,), (other,), Path(folder)).write(path)
        return [path.read_bytes()]


def read_clip_set(folder: Path, data: bytes) -> None:
    """Read a clip set that somebody else may have made."""
    from keyface.evaluation.clip_sets.clip_set import ClipSet

    path = folder / "input.json"
    path.write_bytes(data)
    clips = ClipSet.read(path, folder)
    for clip in clips.clips:
        assert clips.video_of(clip).resolve().is_relative_to(folder.resolve())
        clip.known_categories()


JOURNALS = [{"encoded": 4, "steps": 3, "inverted": 2, "reconstruction": [30.5, 31.0], "done": True}]


def read_journal(folder: Path, data: bytes) -> None:
    """Go on with a stopped edit whose journal is the input."""
    from keyface.resume.journal import Journal

    path = folder / "journal.json"
    path.write_bytes(data)
    journal = Journal(path)
    for name in JOURNALS[0]:
        journal.numbers(name) if name == "reconstruction" else journal.count(name)


def json_seeds(values: Sequence[Any]) -> Callable[[], list[bytes]]:
    """Return valid values as text."""
    return lambda: [json.dumps(value).encode() for value in values]
