"""Identity: the embedding of a clip, and how steady the person is within it.

A clip is one point on the unit sphere: the embeddings of its frames are normalised, averaged and normalised
again, so that every frame has an equal say and one strange frame cannot decide. Edited clips are looked up
among originals by `keyface.metrics.retrieval`.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric


def clip_embedding(frame_embeddings: Tensor) -> Tensor:
    """Return the embedding of a clip from those of its frames.

    Args:
        frame_embeddings: (T, D) of any length; normalised here.

    Returns:
        (D,) of unit length.
    """
    return F.normalize(F.normalize(frame_embeddings, dim=-1).mean(dim=0), dim=-1)


@torch.inference_mode()
def embed_frames(
    recognizer: Callable[[Tensor, Tensor | None], Tensor],
    frames: Tensor,
    landmarks: Tensor | None = None,
    chunk_size: int = 32,
) -> Tensor:
    """Return the embeddings of a clip's frames, some frames at a time.

    Args:
        recognizer: (images (B, 3, H, W), landmarks (B, 5, 2) or None) → (B, D).
        frames: (T, 3, H, W) in [-1, 1]; clamped to it, as a video file would.
        landmarks: (T, 5, 2) in pixels, where the recognizer aligns.
        chunk_size: Frames in memory at once.

    Returns:
        (T, D) of unit length.
    """
    embeddings = []
    for start in range(0, len(frames), chunk_size):
        chunk = slice(start, start + chunk_size)
        points = None if landmarks is None else landmarks[chunk]
        embeddings.append(recognizer(frames[chunk].clamp(-1, 1), points))
    return F.normalize(torch.cat(embeddings), dim=-1)


def embed_clip(
    recognizer: Callable[[Tensor, Tensor | None], Tensor],
    frames: Tensor,
    landmarks: Tensor | None = None,
    chunk_size: int = 32,
) -> Tensor:
    """Return the embedding (D,) of a clip, of unit length; the arguments are those of `embed_frames`."""
    return clip_embedding(embed_frames(recognizer, frames, landmarks, chunk_size))


def cosine_distance(first: Tensor, second: Tensor) -> Tensor:
    """1 - cos between embeddings (..., D), broadcast: 0 is the same direction, 2 the opposite one."""
    return 1.0 - F.cosine_similarity(first, second, dim=-1)


def local_similarity(frame_embeddings: Tensor) -> Tensor:
    """Return the mean cosine similarity of neighbouring frames.

    Args:
        frame_embeddings: (T, D) of any length, T ≥ 2.

    Returns:
        A scalar in [-1, 1].
    """
    unit = _several_unit(frame_embeddings)
    return (unit[1:] * unit[:-1]).sum(dim=-1).mean().float()


def global_similarity(frame_embeddings: Tensor) -> Tensor:
    """Return the mean cosine similarity of all pairs of different frames, in time linear in T.

    Args:
        frame_embeddings: (T, D) of any length, T ≥ 2.

    Returns:
        A scalar in [-1, 1].
    """
    unit = _several_unit(frame_embeddings)
    count = len(unit)
    # |Σ e|² counts every pair twice and every frame with itself once.
    return ((unit.sum(dim=0).square().sum() - count) / (count * (count - 1))).float()


def temporal_identity(edited: Tensor, original: Tensor) -> dict[str, Tensor]:
    """Return TL-ID and TG-ID of one clip as STIT defines them [Tzaban et al. 2022, arXiv 2201.08361].

    Both divide the edited clip's mean similarity by the original's own, so that 1 means as steady as the
    original. Above 1 the recognizer finds the edit steadier, as a face that moves less. (Code that goes round
    for these measures divides pair by pair and then takes the mean, in which one pair that the recognizer
    hardly takes for one person in the original outweighs all others.)

    Args:
        edited: (T, D) embeddings of the edited frames, T ≥ 2.
        original: (T, D) embeddings of the original frames.

    Returns:
        Two scalars: `tl_id` from neighbouring frames, `tg_id` from all pairs of frames.

    Raises:
        ValueError: There is one frame only, or the recognizer does not find one person in the original.
    """
    scores = {}
    for name, similarity in (("tl_id", local_similarity), ("tg_id", global_similarity)):
        own = similarity(original)
        if own <= 0:
            raise ValueError(
                f"the original's own frames have a mean similarity of {float(own):.3f}: "
                "this recognizer does not see one person in it"
            )
        scores[name] = similarity(edited) / own
    return scores


class TemporalIdentity(Metric):
    """`temporal_identity` of each clip, averaged over clips."""

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    tl_id: Tensor
    tg_id: Tensor
    clips: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("tl_id", "tg_id"):
            self.add_state(name, default=torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("clips", default=torch.zeros((), dtype=torch.long), dist_reduce_fx="sum")

    def update(self, edited: Tensor, original: Tensor) -> None:
        """Add one clip; the arguments are those of `temporal_identity`."""
        scores = temporal_identity(edited, original)
        self.tl_id += scores["tl_id"].double()
        self.tg_id += scores["tg_id"].double()
        self.clips += 1

    def compute(self) -> dict[str, Tensor]:
        """`tl_id` and `tg_id`, means over clips."""
        return {"tl_id": (self.tl_id / self.clips).float(), "tg_id": (self.tg_id / self.clips).float()}


def _several_unit(frame_embeddings: Tensor) -> Tensor:
    if len(frame_embeddings) < 2:
        raise ValueError("identity over time needs at least 2 frames, the clip has 1")
    return F.normalize(frame_embeddings.double(), dim=-1)
