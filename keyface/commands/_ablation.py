"""The paper's ablation: every clip edited with every variant of the method, scored by the same judges."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from keyface.commands._report import mean
from keyface.commands._scoring import EditedClip, Networks, edit_clip, edit_success
from keyface.diffusion.editor import VideoEditor
from keyface.diffusion.settings import EditSettings
from keyface.metrics.identity import RetrievalIdentity, cosine_distance, embed_clip
from keyface.metrics.locality import outside_change
from keyface.metrics.temporal import temporal_loss
from keyface.miniature.trials import Trial
from keyface.pictures import sheet

RETRIEVED = ("r_at_1", "mrr", "cosine_distance")
SCORED = ("edit_success", "temporal_loss", "outside_change")


@dataclass(frozen=True)
class Variant:
    """A way to edit that leaves out one part of the method.

    Attributes:
        name: Its row's name.
        tuned_identity: ε1 is the fine-tuned U-Net; otherwise the base.
        tuned_direction: ε2 is the fine-tuned U-Net; otherwise the base.
        settings: How to edit.
    """

    name: str
    tuned_identity: bool
    tuned_direction: bool
    settings: EditSettings


def variants(steps: int = 20, guidance_scale: float = 7.5, seed: int = 0) -> list[Variant]:
    """The full method, and the method without each of its parts."""
    full = EditSettings(steps=steps, guidance_scale=guidance_scale, seed=seed)
    without_injection = replace(full, injection=replace(full.injection, enabled=False))
    return [
        Variant("full", True, True, full),
        Variant("without_injection", True, True, without_injection),
        Variant("untuned_direction", True, False, full),
        Variant("frame_by_frame", True, True, replace(full, interval=1, joint_attention=False)),
        Variant("untuned", False, False, full),
    ]


class Ablation:
    """Edits clip after clip with every variant and keeps the scores.

    Args:
        networks: What edits and judges.
        compared: The variants.
    """

    def __init__(self, networks: Networks, compared: Sequence[Variant]) -> None:
        self.networks = networks
        self.editors = {
            variant.name: VideoEditor(
                networks.backbone,
                identity=networks.identity if variant.tuned_identity else None,
                direction=networks.direction if variant.tuned_direction else None,
                settings=variant.settings,
            )
            for variant in compared
        }
        self.retrieval = {
            (variant, recognizer): RetrievalIdentity()
            for variant in self.editors
            for recognizer in networks.recognizers
        }
        self.clips: list[dict[str, Any]] = []
        self._shown: list[tuple[str, Tensor]] = []

    def add(self, trial: Trial) -> None:
        """Edit one clip with every variant and score it."""
        originals = {name: embed_clip(each, trial.frames) for name, each in self.networks.recognizers.items()}
        self._show("source", trial, trial.frames)
        for variant, editor in self.editors.items():
            clip = edit_clip(editor, trial.frames, trial.prompts)
            self._score(variant, trial, clip, originals)
            self._show(variant, trial, clip.frames)

    def add_to_gallery(self, identity: int, frames: Tensor) -> None:
        """Add the original of somebody who is not edited, for the queries to be mistaken for."""
        for name, recognizer in self.networks.recognizers.items():
            embedding = embed_clip(recognizer, frames)[None]
            for variant in self.editors:
                self.retrieval[variant, name].update(
                    embedding[:0], embedding, torch.tensor([], dtype=torch.long), torch.tensor([identity])
                )

    def rows(self) -> list[dict[str, Any]]:
        """One row a variant, averaged over clips and, for identity, over recognizers."""
        rows = []
        for variant in self.editors:
            scores = [self.retrieval[variant, name].compute() for name in self.networks.recognizers]
            clips = [clip for clip in self.clips if clip["variant"] == variant]
            rows.append(
                {"variant": variant, "n": len(clips)}
                | {key: mean([float(each[key]) for each in scores]) for key in RETRIEVED}
                | {key: mean([clip[key] for clip in clips]) for key in SCORED}
            )
        return rows

    def sheet(self) -> Image:
        """The middle frame of every clip: sources above, a row a variant below."""
        return sheet(
            [
                (label, torch.stack([frame for name, frame in self._shown if name == label]))
                for label in ("source", *self.editors)
            ]
        )

    def _score(self, variant: str, trial: Trial, clip: EditedClip, originals: dict[str, Tensor]) -> None:

        identity = torch.tensor([trial.identity])
        distances = {}
        for name, recognizer in self.networks.recognizers.items():
            embedding, original = embed_clip(recognizer, clip.frames), originals[name]
            self.retrieval[variant, name].update(embedding[None], original[None], identity, identity)
            distances[name] = float(cosine_distance(embedding, original))
        self.clips.append(
            {
                "variant": variant,
                "identity": trial.identity,
                "category": trial.categories[0].name,
                "source": trial.prompts.source,
                "target": trial.prompts.target,
                "distance": distances,
                "edit_success": edit_success(self.networks.classifier, clip.frames, trial.categories[0]),
                "temporal_loss": float(temporal_loss(clip.frames, trial.flow, trial.valid)),
                "temporal_loss_of_source": float(temporal_loss(trial.frames, trial.flow, trial.valid)),
                "outside_change": float(outside_change(clip.frames, clip.reconstruction, trial.region)),
                "reconstruction_psnr": clip.report.reconstruction_psnr,
                "seconds": sum(clip.report.seconds.values()),
            }
        )

    def _show(self, label: str, trial: Trial, frames: Tensor) -> None:
        self._shown.append((label, frames[len(frames) // 2]))
