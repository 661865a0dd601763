"""Folders of what keyface itself made of clips: each video with a sidecar that says what it was made from."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from keyface.editing.settings import EditSettings
from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.files import digest
from keyface.evaluation.rows.variants import Variant
from keyface.files import joint_sha256, json_text, sha256, write_text
from keyface.pipeline.output.record import SYNTHETIC
from keyface.pipeline.pipeline import FaceEditPipeline
from keyface.untrusted import UntrustedError, read_json_object
from keyface.video.lossless import write_lossless


@dataclass(frozen=True)
class Outputs:
    """A folder of KEY.mp4 and KEY.json; a clip that is there already, made from the same, is kept.

    Attributes:
        folder: Made when the first clip is written.
    """

    folder: Path

    def has(self, clip: ClipSpec, made_from: Mapping[str, Any]) -> bool:
        """Tell whether the folder has the clip's output, made from the same."""
        video, sidecar = self.folder / f"{clip.key}.mp4", self.folder / f"{clip.key}.json"
        if not video.is_file() or not sidecar.is_file():
            return False
        try:
            return read_json_object(sidecar, allow_nan=True).get("digest") == digest(made_from)
        except UntrustedError:
            return False

    def write(
        self, clip: ClipSpec, frames: Tensor, made_from: Mapping[str, Any], report: Mapping[str, Any]
    ) -> None:
        """Write the video, lossless, then its sidecar: without the second, the first counts as not made.

        Args:
            clip: Which clip.
            frames: (T, 3, S, S) in [-1, 1].
            made_from: All that they depend on, as JSON takes it.
            report: What else the sidecar says.
        """
        sidecar = self.folder / f"{clip.key}.json"
        sidecar.unlink(missing_ok=True)
        rate = Fraction(clip.fps).limit_denominator(1001)
        write_lossless(self.folder / f"{clip.key}.mp4", frames, rate, {"comment": SYNTHETIC})
        content = {"statement": SYNTHETIC, "digest": digest(made_from), "made_from": made_from, **report}
        write_text(sidecar, json_text(content, allow_nan=True))


def ingredients(
    clips: ClipSet, clip: ClipSpec, pipe: FaceEditPipeline, settings: EditSettings, variant: Variant
) -> dict[str, Any]:
    """Return all that an output depends on, as JSON takes it."""
    return {
        "clip": clip.to_json(),
        "original": sha256(clips.video_of(clip)),
        "settings": asdict(settings),
        "branches": variant.branches,
        "weights": weights_hashes(pipe),
        "precision": pipe.precision,
    }


def weights_hashes(pipe: FaceEditPipeline) -> dict[str, str]:
    """Return a hash of the files in use of each network, by `weights`, `identity` and `direction`.

    Where nothing unused lies in a folder they are those of `keyface.models.judges.folder_sha256`.
    """
    found: dict[str, list[tuple[str, str]]] = {}
    for name, hashed in pipe.versions.items():
        role, _, inside = name.partition("/")
        found.setdefault(role, []).append((inside, hashed))
    return {role: joint_sha256(hashes) for role, hashes in found.items()}
