"""Scores one clip of one row, and keeps what it computed on disk for the next time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from keyface.evaluation.clip_sets.clip_set import ClipSet
from keyface.evaluation.clip_sets.spec import ClipSpec
from keyface.evaluation.rows.candidate import Candidate
from keyface.evaluation.rows.control_rows import source
from keyface.evaluation.scoring import scores
from keyface.evaluation.scoring.cache import ScoreCache
from keyface.evaluation.scoring.original import Original
from keyface.files import sha256
from keyface.metrics.identity import clip_embedding
from keyface.models.judges import Judges, judge_versions


class Scorer:
    """Score rows of one clip set with the same judges.

    Args:
        clips: The clip set.
        judges: Who judges.
        cache: Where embeddings and scores are kept.
    """

    def __init__(self, clips: ClipSet, judges: Judges, cache: ScoreCache) -> None:
        self.clips, self.judges, self.cache = clips, judges, cache
        self._source = source(clips)
        self._hashes: dict[Path, str] = {}

    def original(self, clip: ClipSpec) -> Original:
        """Return what all rows need of an edited clip's original: ask once a clip and hand it to `score`."""
        return Original(self.clips, clip, self.judges)

    def score(self, candidate: Candidate, original: Original) -> dict[str, float]:
        """Return every number of one clip of one row, with the keys of `keyface.evaluation.scoring.scores`.

        Args:
            candidate: The row; it must have the clip.
            original: The clip's original.

        Raises:
            ValueError: A video is damaged, or does not fit its original.
        """
        clip = original.clip
        made_from: dict[str, Any] = {
            "kind": "score",
            "clip": clip.to_json(),
            "candidate": self._file(candidate, clip),
            "original": self._file(self._source, clip),
            **original.ground_truth_hashes,
            "judges": dict(self.judges.versions),
        }
        # Unknown categories may become known, and others' may change, as by --categories.
        known = clip.known_categories() or ()
        made_from["labels"] = [[each.attribute, each.present] for each in known]
        if own := judge_versions(known):
            made_from["category judges"] = own

        def make() -> dict[str, float]:
            frames = candidate.frames_of(clip)
            own = self.embeddings(self._source, clip, lambda: original.frames)
            found = scores.identity(self.embeddings(candidate, clip, lambda: frames), own)
            found |= scores.temporal(frames, original.motion, self.judges.flow)
            found |= scores.success(frames, original.frames, clip, self.judges)
            return found | scores.locality(frames, original)

        return self.cache.numbers(made_from, make)

    def embeddings(
        self, candidate: Candidate, clip: ClipSpec, frames: Callable[[], Tensor] | None = None
    ) -> scores.Embeddings:
        """Return each recognizer's embeddings (T, D) of a row's frames.

        Args:
            candidate: The row.
            clip: One of its clips.
            frames: Gives the frames where they are at hand already.
        """
        made_from = {"kind": "frames", "size": clip.size} | self._judged(self._file(candidate, clip))
        read = frames if frames is not None else lambda: candidate.frames_of(clip)
        return self.cache.tensors(made_from, lambda: scores.embed(self.judges.recognizers, read()))

    def gallery_embedding(self, clip: ClipSpec) -> scores.Embeddings:
        """Return each recognizer's embedding (D,) of an original."""
        file = {"sha256": self._hash(self.clips.video_of(clip)), "drawn_from": clip.to_json()}

        def make() -> scores.Embeddings:
            frames = scores.embed(self.judges.recognizers, self.clips.frames_of(clip))
            return {name: clip_embedding(each) for name, each in frames.items()}

        return self.cache.tensors({"kind": "gallery"} | self._judged(file), make)

    def _judged(self, file: dict[str, Any]) -> dict[str, Any]:
        versions = {name: self.judges.versions.get(name) for name in self.judges.recognizers}
        return {"file": file, "recognizers": versions}

    def _file(self, candidate: Candidate, clip: ClipSpec) -> dict[str, Any]:
        """Say what a row's frames of a clip are: the file's hash and, for originals, the part of it."""
        drawn = candidate.drawn_from(clip)
        part = None if drawn is None else drawn.to_json()
        return {"sha256": self.sha256(candidate, clip), "drawn_from": part}

    def sha256(self, candidate: Candidate, clip: ClipSpec) -> str:
        """Return the hash of the file that a row's frames of a clip come from.

        Raises:
            FileNotFoundError: The row lacks the clip.
        """
        path = candidate.video_of(clip)
        if path is None:
            raise FileNotFoundError(f"{candidate.name}: no video of clip {clip.key}")
        return self._hash(path)

    def _hash(self, path: Path) -> str:
        if path not in self._hashes:
            self._hashes[path] = sha256(path)
        return self._hashes[path]
