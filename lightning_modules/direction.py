"""ε2, the editing branch: a U-Net that makes localized edits (Eq. 6)."""

from functools import partial
from typing import Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.guidance import Guidance
from keyface.diffusion.sampling import ImagePath, sample
from keyface.diffusion.schedule import even_timesteps, grid_timesteps
from keyface.faces.regions import dilate, region_mask
from keyface.lightning_modules.branch import Batch, BranchModule, Losses
from keyface.lightning_modules.clip_crops import CroppedEncoder
from keyface.lightning_modules.regional import Regional, RegionalLoss, cells_of
from keyface.lightning_modules.sampling import NoisyInput, noisy_latents
from keyface.lightning_modules.targets import Edit, draw_edits, take_rows
from keyface.lightning_modules.tuning.hyperparameters import plain
from keyface.lightning_modules.tuning.lora import EVERYTHING, Tuning
from keyface.losses import DirectionLoss
from keyface.models.backbones import find_backbone
from keyface.models.encoders import find_encoder
from keyface.models.judges import Judges, find_judges
from keyface.models.requirements import require_weights
from keyface.plugins import edits

SourceAndTarget = tuple[Tensor, Tensor]
"""Text embeddings (B, L, D) of the source and of the target prompts."""

FEW_STEPS = NoisyInput(steps=10, lowest=0.5)


class DirectionModule(BranchModule):
    """Trains ε2: from an inverted latent, by a few DDIM steps with an edited caption, judged by Eq. 6.

    Args:
        backbone: `"miniature"` or a folder in diffusers' layout: the base that ε2 starts from.
        encoder: f_I and f_T: `"miniature"`, `"clip-vit-b-16"` or other weights of the catalogue,
            OpenCLIP's `"ViT-B-16:path/to/weights"`, or a class_path of a
            `keyface.losses.ImageTextEncoder`.
        crops: The encoder sees so many random crops beside each whole image, see
            `keyface.lightning_modules.clip_crops`; 0, as in the paper, is none.
        evaluators: `"miniature"` to score validation edits with networks that are not trained against.
        categories: Names of the edit categories to train with; None: all that are installed.
        noisy_input: Where z_t comes from.
        generation_steps: DDIM steps from z_t to y_gen in even strides, for `cached` and `noise`; latents
            that are `inverted` here go back on the inversion's own grid.
        gradient_steps: So many of the last steps keep their gradient.
        guidance_scale: Classifier-free guidance with the source caption as the negative prompt; 1 is none.
        content_weight: λ1.
        direction_weight: λ2.
        normalize_directions: False: Eq. 6 with plain inner products, see `keyface.losses.direction_loss`.
        reference: y_ref: `source` is y0 (the paper), `reconstruction` is y0 after the autoencoder.
        prompts: p_tar and p_ref: `caption` (the paper), or `category`: the category's phrases alone.
        locality_weight: Weight of an L1 term between y_gen and the autoencoder's y0 outside the category's
            regions, for batches with masks. It is keyface's addition, not the paper's; 0 leaves it out.
        locality_margin: The regions grow by this fraction of the image's side first.
        regional: Teaches ε2 to guide inside the category's regions alone, for batches with masks; keyface's
            addition, see `keyface.lightning_modules.regional`. None leaves it out.
        tuning: What is trained and how.
        optimizer: By class_path.
        lr_scheduler: By class_path; None: constant.
        seed: Decides categories, phrases and noise levels.

    Example:
        `lightning fit -c configs/miniature/direction.yaml`
    """

    title = "Editing branch (ε2)"

    def __init__(
        self,
        backbone: str | Backbone = "miniature",
        encoder: str | nn.Module = "miniature",
        crops: int = 0,
        evaluators: str | Judges | None = None,
        categories: list[str] | None = None,
        noisy_input: NoisyInput = FEW_STEPS,
        generation_steps: int = 6,
        gradient_steps: int = 1,
        guidance_scale: float = 1.0,
        content_weight: float = 0.3,
        direction_weight: float = 0.7,
        normalize_directions: bool = True,
        reference: Literal["source", "reconstruction"] = "source",
        prompts: Literal["caption", "category"] = "caption",
        locality_weight: float = 0.0,
        locality_margin: float = 0.03,
        regional: Regional | None = None,
        tuning: Tuning = EVERYTHING,
        optimizer: OptimizerCallable = AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        seed: int = 0,
    ) -> None:
        if gradient_steps < 1 or generation_steps < 1:
            raise ValueError(
                "generation_steps and gradient_steps must be at least 1, "
                f"not {generation_steps} and {gradient_steps}"
            )
        hyperparameters = plain(locals())
        require_weights(backbone, encoder, evaluators)
        base, found, noise = find_backbone(backbone), find_encoder(encoder), NoisyInput.of(noisy_input)
        if crops:
            found = CroppedEncoder(found, crops)
        super().__init__(
            base,
            [found],
            find_judges(evaluators),
            tuning,
            optimizer,
            lr_scheduler,
            seed,
            hyperparameters,
        )
        self.categories = [edits[name] for name in (edits.names() if categories is None else categories)]
        self.noisy_input = noise
        self.generation_steps = generation_steps
        self.gradient_steps = gradient_steps
        self.guidance_scale = guidance_scale
        self.reference = reference
        self.prompts = prompts
        self.locality_weight = locality_weight
        self.locality_margin = locality_margin
        self.regional = Regional.of(regional)
        self.loss = DirectionLoss(found, content_weight, direction_weight, normalize_directions)

    def generate(
        self, batch: Batch, prompts: SourceAndTarget, latents: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Return y_gen (B, 3, H, W): the batch's images edited by ε2, with gradient in the last steps.

        Args:
            batch: Only the rows that are edited.
            prompts: Of the edits, encoded.
            latents: Their clean latents (B, C, h, w).
            generator: Draws the noise levels.
        """
        source, target = prompts
        with torch.no_grad():
            noisy, start = noisy_latents(self.noisy_input, self.backbone, batch, latents, source, generator)
        scheduler = self.backbone.scheduler
        timesteps = (
            grid_timesteps(scheduler, start, self.noisy_input.steps)
            if self.noisy_input.source == "inverted"
            else even_timesteps(start, self.generation_steps)
        )
        guidance = Guidance.of(target, source, self.guidance_scale)
        checkpointed = self.tuning.gradient_checkpointing
        edited = sample(
            partial(guidance.predict_learning, self.unet, checkpointed=checkpointed),
            noisy,
            ImagePath(scheduler, timesteps),
            gradient_steps=self.gradient_steps,
        )
        return self.decode(edited)

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses | None:
        """Return Eq. 6 of the images that have an edit, and its parts; None where no image has one.

        With `regional` its loss is added, and most training steps have it alone.
        """
        chosen = draw_edits(batch, self.categories, generator)
        if not chosen:
            return None
        if isinstance(self.loss.encoder, CroppedEncoder):
            self.loss.encoder.draw(generator)
        batch = take_rows(batch, [edit.row for edit in chosen])
        latents = self.clean_latents(batch)
        with torch.no_grad():
            source = self.backbone.encode_prompts([edit.prompts.source for edit in chosen])
            target = self.backbone.encode_prompts([edit.prompts.target for edit in chosen])
        regional = self.regional if "mask" in batch else None
        values: dict[str, Tensor] = {}
        if not (regional and self.training and self.global_step % (regional.steps_between + 1)):
            values = self._direction_values(batch, chosen, (source, target), latents, generator)
        if regional is not None:
            loss = RegionalLoss(regional, self.backbone, self.guidance_scale)
            regions = cells_of(self.regions(batch["mask"], chosen), (latents.shape[-2], latents.shape[-1]))
            terms = loss(self.unet, latents, source, target, regions, generator)
            values["regional_outside"], values["regional_inside"] = terms.outside, terms.inside
            values["loss"] = values.get("loss", 0) + regional.weight * terms.total
        return Losses(values, len(chosen))

    def _direction_values(
        self,
        batch: Batch,
        chosen: list[Edit],
        prompts: SourceAndTarget,
        latents: Tensor,
        generator: torch.Generator,
    ) -> dict[str, Tensor]:
        """Return Eq. 6 with its parts, and what the judges say in validation."""
        images = batch["image"]
        generated = self.generate(batch, prompts, latents, generator)
        local = self.locality_weight > 0 and "mask" in batch
        reconstruction = None
        if local or self.reference == "reconstruction":
            with torch.no_grad():
                reconstruction = self.backbone.decode_latents(latents)
        pairs = [edit.prompts if self.prompts == "caption" else edit.phrases for edit in chosen]
        terms = self.loss(
            generated,
            images,
            [pair.target for pair in pairs],
            [pair.source for pair in pairs],
            reconstruction if self.reference == "reconstruction" else None,
        )
        values = {"loss": terms.total, "content": terms.content, "direction": terms.direction}
        if local and reconstruction is not None:
            held = (~self.regions(batch["mask"], chosen))[:, None]
            values["locality"] = mean_change(generated, reconstruction, held)
            values["loss"] = terms.total + self.locality_weight * values["locality"]
        if not torch.is_grad_enabled():
            values |= self.identity_scores(generated, batch) | self._edit_success(generated, chosen)
        return values

    def regions(self, labels: Tensor, chosen: list[Edit]) -> Tensor:
        """Return where each edit may change something, (B, H, W) bool: its regions, grown by the margin.

        Args:
            labels: (B, H, W), CelebAMask-HQ classes of the source images.
            chosen: The edits; one without regions may change everything.
        """
        radius = round(self.locality_margin * labels.shape[-1])
        return torch.stack(
            [
                dilate(region_mask(label[None], edit.category.regions), radius)[0]
                if edit.category.regions
                else torch.ones_like(label, dtype=torch.bool)
                for label, edit in zip(labels, chosen, strict=True)
            ]
        )

    def _edit_success(self, generated: Tensor, chosen: list[Edit]) -> dict[str, Tensor]:
        """Return the fraction of the edits that the attribute classifier sees, among those that it knows."""
        if self.judges.classifier is None:
            return {}
        seen = self.judges.classifier.predict(generated)
        hits = [
            seen[edit.category.attribute][row] == edit.category.present
            for row, edit in enumerate(chosen)
            if edit.category.attribute in seen
        ]
        return {"edit_success": torch.stack(hits).float().mean()} if hits else {}


def mean_change(generated: Tensor, reference: Tensor, held: Tensor) -> Tensor:
    """Return the mean absolute difference of images (B, 3, H, W) where `held` (B, 1, H, W) is true."""
    weights = held.expand_as(generated).float()
    return ((generated - reference).abs() * weights).sum() / weights.sum().clamp(min=1.0)
