"""The clips of a batch and their claims, as the folder of the outputs keeps them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from keyface.claims.ledger import HEARTBEAT, PATIENCE, Ledger
from keyface.files import write_text
from keyface.untrusted import UntrustedError, finite_number, read_json_object

WORK = ".batch"
"""Folder in that of the outputs, which holds what a batch knows of itself."""

REPORT = "report.json"


@dataclass(frozen=True)
class Clip:
    """One clip of a batch.

    Attributes:
        key: Short hash of all that decides the output.
        where: Its place in the manifest.
        video: The clip, an absolute path.
        output: Name in the folder of the outputs.
        options: Checked, see `keyface.batch.options`.
        work: About how many pixels of frames there are to edit; the most come first.
    """

    key: str
    where: str
    video: str
    output: str
    options: Mapping[str, Any]
    work: float


@dataclass(frozen=True)
class Batch:
    """The clips that are to be edited into a folder.

    Attributes:
        folder: Of the outputs.
        manifest: Where the clips were listed.
        networks: What edits them: arguments of `FaceEditPipeline.from_pretrained`, `categories` and `cache`.
        clips: The longest first.
    """

    folder: Path
    manifest: str
    networks: Mapping[str, Any]
    clips: tuple[Clip, ...]

    @cached_property
    def by_key(self) -> dict[str, Clip]:
        """Return the clips by their keys."""
        return {clip.key: clip for clip in self.clips}

    @property
    def claims(self) -> Path:
        """Return the folder of the claims."""
        return self.folder / WORK / "clips"

    def begun(self, key: str) -> Path:
        """Return the file that says that what a clip's record says is this batch's."""
        return self.claims / f"{key}.begun"

    def ledger(self, heartbeat: float = HEARTBEAT, patience: float = PATIENCE) -> Ledger:
        """Return the claims, see `Ledger`."""
        return Ledger(self.claims, [clip.key for clip in self.clips], self.progress, heartbeat, patience)

    def progress(self, key: str) -> str:
        """Return a hash of what a clip's stopped edit says is done."""
        output = self.folder / self.by_key[key].output
        state = output.with_name(f"{output.name}.state")
        found = hashlib.sha256()
        for journal in sorted(state.rglob("journal.json")):
            found.update(journal.read_bytes())
        return found.hexdigest()[:16]

    def save(self) -> None:
        """Write what `load` reads."""
        content = {
            "manifest": self.manifest,
            "networks": dict(self.networks),
            "clips": [asdict(clip) for clip in self.clips],
        }
        write_text(self.folder / WORK / "batch.json", json.dumps(content, indent=1) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Batch:
        """Return the batch of a folder of outputs.

        Raises:
            FileNotFoundError: No batch was begun there.
            ValueError: What is there is damaged.
        """
        path = folder / WORK / "batch.json"
        content = read_json_object(
            path, missing=f"no batch was begun in {folder}; `keyface batch` begins one"
        )
        try:
            clips = tuple(Clip(**each) for each in content["clips"])
            for clip in clips:
                finite_number(clip.work, f"{path}: work")
            return cls(folder, str(content["manifest"]), dict(content["networks"]), clips)
        except (KeyError, TypeError, ValueError) as error:
            raise UntrustedError(
                f"{path}: damaged ({error}); remove it and repeat `keyface batch`"
            ) from error
