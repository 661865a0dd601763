"""The paper's ablation: every clip edited with every variant of the method, scored by the same judges."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from keyface.commands._report import mean
from keyface.commands._scoring import Networks, edit_clip
from keyface.diffusion.editor import VideoEditor
from keyface.diffusion.settings import EditSettings
from keyface.evaluation.judges import edit_success
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


def variants(steps: int, guidance_scale: float, seed: int, strength: float = 1.0) -> list[Variant]:
    """The full method, and the method without each of its parts."""
    full = EditSettings(steps=steps, guidance_scale=guidance_scale, strength=strength, seed=seed)
    without_injection = replace(full, injection=replace(full.injection, enabled=False))
    return [
        Variant("full", True, True, full),
        Variant("without_injection", True, True, without_injection),
        Variant("untuned_direction", True, False, full),
        Variant("frame_by_frame", True, True, replace(full, interval=1, joint_attention=False)),
        Variant("inverted_by_identity", True, True, replace(full, inversion="identity")),
        Variant("untuned", False, False, full),
    ]


class Ablation:
    """Edits clip after clip with every variant and keeps the scores.

    Two rows beside the variants tell how to read theirs: `(reconstruction)` is no edit at all, inverted and
    denoised again; `(rendered)` is the answer of the renderer, an edit without fault.

    Args:
        networks: What edits and judges.
        compared: The variants.
    """

    def __init__(self, networks: Networks, compared: Sequence[Variant]) -> None:
        self.networks = networks
        self.variants = {variant.name: variant for variant in compared}
        self.clips: list[dict[str, Any]] = []
        self._retrieval: dict[tuple[str, str], RetrievalIdentity] = {}
        self._gallery: list[tuple[int, Mapping[str, Tensor]]] = []
        self._shown: dict[str, list[Tensor]] = {}

    def add(self, trial: Trial) -> None:
        """Edit one clip with every variant and score it."""
        originals = self._embed(trial.frames)
        self._gallery.append((trial.identity, originals))
        self._show("source", trial.frames)
        # What the inversion alone makes of the clip depends on who inverts: once for each is enough.
        reconstructions: dict[bool, Tensor] = {}
        for name, variant in self.variants.items():
            editor = self._editor(variant, trial.categories[0].strength)
            by_tuned = variant.tuned_identity and variant.settings.inversion == "identity"
            first = by_tuned not in reconstructions
            clip = edit_clip(editor, trial.frames, trial.prompts, with_reconstruction=first)
            if clip.reconstruction is not None:
                reconstructions[by_tuned] = clip.reconstruction
            kept = reconstructions[by_tuned]
            report = {
                "reconstruction_psnr": clip.report.reconstruction_psnr,
                "seconds": sum(clip.report.seconds.values()),
            }
            self._score(name, trial, clip.frames, kept, originals, report)
            self._show(name, clip.frames)
        kept = next(iter(reconstructions.values()))
        self._score("(reconstruction)", trial, kept, kept, originals, {})
        self._score("(rendered)", trial, trial.target, trial.frames, originals, {})

    def add_to_gallery(self, identity: int, frames: Tensor) -> None:
        """Add the original of somebody who is not edited, for the queries to be mistaken for."""
        self._gallery.append((identity, self._embed(frames)))

    def rows(self, controls: bool = False) -> list[dict[str, Any]]:
        """One row a variant, averaged over clips and, for identity, over recognizers.

        Args:
            controls: Add the two rows that are not variants.
        """
        names = dict.fromkeys(clip["variant"] for clip in self.clips)
        return [self._row(name) for name in names if controls or name in self.variants]

    def sheet(self) -> Image:
        """The middle frame of every clip: sources above, a row a variant below."""
        return sheet([(label, torch.stack(frames)) for label, frames in self._shown.items()])

    def _editor(self, variant: Variant, strength: float) -> VideoEditor:
        return VideoEditor(
            self.networks.backbone,
            identity=self.networks.identity if variant.tuned_identity else None,
            direction=self.networks.direction if variant.tuned_direction else None,
            settings=replace(variant.settings, strength=strength),
        )

    def _embed(self, frames: Tensor) -> dict[str, Tensor]:
        return {name: embed_clip(each, frames) for name, each in self.networks.recognizers.items()}

    def _score(
        self,
        name: str,
        trial: Trial,
        frames: Tensor,
        reference: Tensor,
        originals: Mapping[str, Tensor],
        further: Mapping[str, float],
    ) -> None:
        distances = {}
        for recognizer, embedding in self._embed(frames).items():
            query, identity = embedding[None], torch.tensor([trial.identity])
            metric = self._retrieval.setdefault((name, recognizer), RetrievalIdentity())
            metric.update(query, query[:0], identity, identity[:0])
            distances[recognizer] = float(cosine_distance(embedding, originals[recognizer]))
        category = trial.categories[0]
        self.clips.append(
            {
                "variant": name,
                "identity": trial.identity,
                "category": category.name,
                "source": trial.prompts.source,
                "target": trial.prompts.target,
                "distance": distances,
                "edit_success": edit_success(self.networks.classifier, frames, category),
                "temporal_loss": float(temporal_loss(frames, trial.flow, trial.valid)),
                "outside_change": float(outside_change(frames, reference, trial.region)),
                **further,
            }
        )

    def _row(self, name: str) -> dict[str, Any]:
        clips = [clip for clip in self.clips if clip["variant"] == name]
        scores = [self._retrieved(name, recognizer) for recognizer in self.networks.recognizers]
        return (
            {"variant": name, "n": len(clips)}
            | {key: mean([score[key] for score in scores]) for key in RETRIEVED}
            | {key: mean([clip[key] for clip in clips]) for key in SCORED}
        )

    def _retrieved(self, name: str, recognizer: str) -> dict[str, float]:
        """The retrieval scores of a variant's clips against the whole gallery."""
        metric = self._retrieval[name, recognizer].clone()
        people = torch.tensor([identity for identity, _ in self._gallery])
        originals = torch.stack([embeddings[recognizer] for _, embeddings in self._gallery])
        metric.update(originals[:0], originals, people[:0], people)
        return {key: float(value) for key, value in metric.compute().items()}

    def _show(self, label: str, frames: Tensor) -> None:
        self._shown.setdefault(label, []).append(frames[len(frames) // 2])
