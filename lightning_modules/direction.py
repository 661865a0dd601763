"""ε2, the editing branch: a U-Net that makes localized edits (Eq. 6)."""

from collections.abc import Collection
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torch.optim import AdamW

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.guidance import Guidance
from keyface.diffusion.sampling import ImagePath, sample
from keyface.diffusion.schedule import even_timesteps, grid_timesteps
from keyface.faces.regions import dilate, region_mask
from keyface.lightning_modules.branch import Batch, BranchModule, Losses, StepInputs
from keyface.lightning_modules.clip_crops import CroppedEncoder
from keyface.lightning_modules.objectives.pairs import Pairs, PairsLoss
from keyface.lightning_modules.objectives.regional import Regional, RegionalLoss, cells_of
from keyface.lightning_modules.objectives.targets import (
    Edit,
    choose_categories,
    draw_edits,
    take_rows,
    trainable_on,
)
from keyface.lightning_modules.protocols import HoldsOut, KnowsItsBatches, KnowsItsLabels
from keyface.lightning_modules.sampling import NoisyInput, noisy_latents
from keyface.lightning_modules.tuning.hyperparameters import plain
from keyface.lightning_modules.tuning.lora import EVERYTHING, Tuning
from keyface.losses import DirectionLoss, DirectionTerms
from keyface.models.backbones import find_backbone
from keyface.models.encoders import find_encoder
from keyface.models.judges import Judges, find_judges, successes
from keyface.models.requirements import require_weights
from keyface.plugins import Category
from keyface.plugins.masks import free_masks


class Texts(NamedTuple):
    """Text embeddings (B, L, D) of the prompts of edits.

    Attributes:
        source: Captions before the edit.
        target: Captions after it.
        negative: What guidance moves away from; the captions before the edit, where a category adds nothing.
    """

    source: Tensor
    target: Tensor
    negative: Tensor


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
        categories: Names of the edit categories to train with; None: all that are installed and that the text
            encoder has words for.
        noisy_input: Where z_t comes from.
        generation_steps: DDIM steps from z_t to y_gen in even strides, for `cached` and `noise`; latents
            that are `inverted` here go back on the inversion's own grid.
        gradient_steps: So many of the last steps keep their gradient.
        guidance_scale: Classifier-free guidance with the source caption, and what categories add to it, as
            the negative prompt; 1 is none.
        content_weight: λ1.
        direction_weight: λ2.
        normalize_directions: False: Eq. 6 with plain inner products, see `keyface.losses.direction_loss`.
        reference: y_ref: `source` is y0 (the paper), `reconstruction` is y0 after the autoencoder.
        prompts: p_tar and p_ref: `caption` (the paper), or `category`: the category's phrases alone.
        locality_weight: Weight of an L1 term between y_gen and the autoencoder's y0 outside the category's
            regions, for batches with masks. It is keyface's addition, not the paper's; 0 leaves it out.
        locality_margin: The regions grow by this fraction of the image's side first.
        category_weight: Weight of what categories have ε2 learn beside Eq. 6 (`Category.loss`); 0 leaves it
            out.
        regional: Teaches ε2 to guide inside the category's regions alone, for batches with masks; keyface's
            addition, see `keyface.lightning_modules.objectives.regional`. None leaves it out.
        paired: Teaches ε2 what edits make of a face, for batches with twins; keyface's addition, see
            `keyface.lightning_modules.objectives.pairs`. None leaves it out.
        tuning: What is trained and how.
        optimizer: By class_path.
        lr_scheduler: By class_path; None: constant.
        seed: Decides categories, phrases and noise levels.

    Example:
        `lightning fit -c configs/miniature/direction.yaml`
    """

    title = "Editing branch (ε2)"
    may_lack_losses = True

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
        category_weight: float = 1.0,
        regional: Regional | None = None,
        paired: Pairs | None = None,
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
        if paired is not None and Tuning.of(tuning).gradient_checkpointing:
            raise ValueError(
                "paired: gradient checkpointing would run blocks again without ε1's features; set "
                "tuning.gradient_checkpointing: false"
            )
        hyperparameters = plain(locals())
        require_weights(backbone, encoder, evaluators)
        base, found, noise = find_backbone(backbone), find_encoder(encoder), NoisyInput.of(noisy_input)
        tokenizers = {"the text encoder": base.tokenizer}
        learned = Pairs.of(paired)
        teacher = None if learned is None else PairsLoss(learned, base)
        if hasattr(found, "tokenizer"):
            tokenizers["the encoder of the loss"] = found.tokenizer
        if crops:
            found = CroppedEncoder(found, crops)
        super().__init__(
            base,
            [found, teacher.identity if teacher else None],
            find_judges(evaluators),
            noise.source == "inverted" or regional is not None or teacher is not None,
            tuning,
            optimizer,
            lr_scheduler,
            seed,
            hyperparameters,
        )
        self.categories = choose_categories(categories, tokenizers)
        self._names_categories = categories is not None
        self.category_weight = category_weight
        self.noisy_input = noise
        self.generation_steps = generation_steps
        self.gradient_steps = gradient_steps
        self.guidance_scale = guidance_scale
        self.reference = reference
        self.prompts = prompts
        self.locality_weight = locality_weight
        self.locality_margin = locality_margin
        self.regional = Regional.of(regional)
        self.paired = teacher
        if teacher is not None or guidance_scale != 1.0:  # it learned to be guided so much
            self.edits_with = {"guidance_scale": guidance_scale}
        self.loss = DirectionLoss(found, content_weight, direction_weight, normalize_directions)

    def setup(self, stage: str) -> None:
        """Refuse categories whose labels the data lack, before anything is trained; called by Lightning."""
        data = getattr(self.trainer, "datamodule", None)
        if stage == "fit" and isinstance(data, KnowsItsLabels):
            self.categories = trainable_on(self.categories, data.labels(), named=self._names_categories)
        if stage == "fit" and isinstance(data, HoldsOut):
            self._require_held_out(data)

    def _require_held_out(self, data: HoldsOut) -> None:
        """Refuse held-out pictures none of which can be edited: there would be no loss to validate with.

        Raises:
            ValueError: There are some, and each is so.
        """
        batches = self.trainer.limit_val_batches
        if batches == 0:
            return
        most = None
        if isinstance(batches, int) and isinstance(data, KnowsItsBatches):
            most = batches * data.batch_shape()[0] * self.trainer.world_size
        count = 0
        for batch in islice(data.held_out(), most):
            if draw_edits(batch, self.categories, torch.Generator().manual_seed(self.seed)):
                return
            count += 1
        if count:
            names = ", ".join(category.name for category in self.categories)
            raise ValueError(
                f"none of {count} held-out pictures can be edited by {names}: by their labels they look so "
                "already or may not, or the caption stays the same; raise data.val_fraction, name other "
                "categories, or validate with nothing, trainer.limit_val_batches 0"
            )

    def generate(self, batch: Batch, texts: Texts, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Return y_gen (B, 3, H, W): the batch's images edited by ε2, with gradient in the last steps.

        Args:
            batch: Only the rows that are edited.
            texts: Prompts of the edits, encoded.
            latents: Their clean latents (B, C, h, w).
            generator: Draws the noise levels.
        """
        with torch.no_grad():
            noisy, start = noisy_latents(
                self.noisy_input, self.backbone, batch, latents, texts.source, generator
            )
        self.timesteps = start
        scheduler = self.backbone.scheduler
        timesteps = (
            grid_timesteps(scheduler, start, self.noisy_input.steps)
            if self.noisy_input.source == "inverted"
            else even_timesteps(start, self.generation_steps)
        )
        return self._edit(noisy, timesteps, texts)

    def _edit(self, noisy: Tensor, timesteps: list[Tensor], texts: Texts) -> Tensor:
        guidance = Guidance.of(texts.target, texts.negative, self.guidance_scale)
        edited = sample(
            partial(guidance.predict_learning, self.unet),
            noisy,
            ImagePath(self.backbone.scheduler, timesteps),
            gradient_steps=self.gradient_steps,
        )
        return self.decode(edited)

    def rehearse(self, inputs: StepInputs) -> Tensor:
        """Return Eq. 6, and what `regional` adds: the step that takes most."""
        latents, text, count = inputs.latents, inputs.text, len(inputs.images)
        # Steps without gradient take less than those with.
        timesteps = even_timesteps(inputs.timesteps, self.gradient_steps)
        generated = self._edit(latents, timesteps, Texts(text, text, text))
        terms: DirectionTerms = self.loss(generated, inputs.images, ["after"] * count, ["before"] * count)
        loss = terms.total
        if self.regional is not None:
            teacher = RegionalLoss(self.regional, self.backbone, self.guidance_scale)
            regions = torch.zeros_like(latents[:, :1])
            loss = (
                loss
                + teacher.compare(
                    self.unet, latents, inputs.timesteps, Guidance(text, text, self.guidance_scale), regions
                ).total
            )
        return loss

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses | None:
        """Return Eq. 6 of the images that have an edit, and its parts; None where no image has one.

        With `regional` or `paired` their losses are added, and most training steps have them alone.
        """
        if self.paired is None or "twin" not in batch:
            return self._edit_losses(batch, generator)
        settings = self.paired.settings
        terms = self.paired.on_twins(self.unet, batch, self.categories, generator)
        values = {"pairs_changed": terms.changed, "pairs_outside": terms.outside}
        loss, images = settings.weight * terms.total, len(batch["image"])
        if self.training and self.global_step % (settings.steps_between + 1):
            return Losses({**values, "loss": loss}, images)
        edited = self._edit_losses(batch, generator)
        if edited is None:
            return Losses({**values, "loss": loss}, images)
        return Losses({**edited.values, **values, "loss": loss + edited.values["loss"]}, images)

    def _edit_losses(self, batch: Batch, generator: torch.Generator) -> Losses | None:
        """Return Eq. 6 and what `regional` adds; None where no image has an edit."""
        chosen = draw_edits(batch, self.categories, generator)
        if not chosen:
            return None
        if isinstance(self.loss.encoder, CroppedEncoder):
            self.loss.encoder.draw(generator)
        batch = take_rows(batch, [edit.row for edit in chosen])
        latents = self.clean_latents(batch)
        texts = self._encode(chosen)
        regional = self.regional if "mask" in batch else None
        values: dict[str, Tensor] = {}
        each: Tensor | None = None
        if not (regional and self.training and self.global_step % (regional.steps_between + 1)):
            values, each = self._direction_values(batch, chosen, texts, latents, generator)
        if regional is not None:
            loss = RegionalLoss(regional, self.backbone, self.guidance_scale)
            regions = cells_of(self.regions(batch, chosen), (latents.shape[-2], latents.shape[-1]))
            source, target, negative = texts
            terms = loss(self.unet, latents, source, target, regions, generator, negative)
            values["regional_outside"], values["regional_inside"] = terms.outside, terms.inside
            values["loss"] = values.get("loss", 0) + regional.weight * terms.total
        return Losses(values, len(chosen), each)

    def _direction_values(
        self,
        batch: Batch,
        chosen: list[Edit],
        texts: Texts,
        latents: Tensor,
        generator: torch.Generator,
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Return Eq. 6 with its parts and what the judges say in validation, and Eq. 6 of each image (B,)."""
        images = batch["image"]
        generated = self.generate(batch, texts, latents, generator)
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
            held = (~self.regions(batch, chosen))[:, None]
            values["locality"] = mean_change(generated, reconstruction, held)
            values["loss"] = values["loss"] + self.locality_weight * values["locality"]
        if self.category_weight > 0 and any(category.loss is not None for category in self.categories):
            values["category"] = category_loss(generated, images, chosen)
            values["loss"] = values["loss"] + self.category_weight * values["category"]
        if not torch.is_grad_enabled():
            values |= self.identity_scores(generated, batch) | self._edit_success(generated, chosen)
        return values, terms.each

    def _encode(self, chosen: list[Edit]) -> Texts:
        """Encode the prompts of the edits."""
        with torch.no_grad():
            source = self.backbone.encode_prompts([edit.prompts.source for edit in chosen])
            target = self.backbone.encode_prompts([edit.prompts.target for edit in chosen])
            if all(edit.prompts.negative is None for edit in chosen):
                return Texts(source, target, source)
            avoided = [edit.prompts.negative or edit.prompts.source for edit in chosen]
            return Texts(source, target, self.backbone.encode_prompts(avoided))

    def regions(self, batch: Batch, chosen: list[Edit]) -> Tensor:
        """Return where each edit may change something, (B, H, W) bool: its mask, grown by the margin.

        Args:
            batch: `image` and `mask` (B, H, W), CelebAMask-HQ classes of the source images.
            chosen: The edits; one with neither mask nor regions may change everything.
        """
        images, labels = batch["image"], batch["mask"]
        rows = zip(images.split(1), labels.split(1), chosen, strict=True)
        masks = [_free(edit.category, image, label) for image, label, edit in rows]
        radius = round(self.locality_margin * labels.shape[-1])
        return dilate(torch.cat(masks)[:, 0] > 0.5, radius)

    def _edit_success(self, generated: Tensor, chosen: list[Edit]) -> dict[str, Tensor]:
        """Return the mean success of those edits that a category's judge or the classifier can tell."""
        hits = []
        for category, rows in rows_by_category(chosen).items():
            (seen,) = successes(self.judges.classifier, generated[rows], [category])
            hits += [] if seen is None else [seen]
        return {"edit_success": torch.cat(hits).mean()} if hits else {}


def _free(category: Category, image: Tensor, label: Tensor) -> Tensor:
    """Return the mask (1, 1, H, W) of one image (1, 3, H, W) with labels (1, H, W)."""

    def find(names: Collection[str]) -> Tensor:
        found = region_mask(label, names) if names else torch.ones_like(label, dtype=torch.bool)
        return found[:, None].float()

    with torch.no_grad():
        return free_masks([category], image, find)


def rows_by_category(chosen: list[Edit]) -> dict[Category, list[int]]:
    """Return which rows of a batch get which edit."""
    found: dict[Category, list[int]] = {}
    for row, edit in enumerate(chosen):
        found.setdefault(edit.category, []).append(row)
    return found


def category_loss(generated: Tensor, images: Tensor, chosen: list[Edit]) -> Tensor:
    """Return what the edits' categories have ε2 learn beside Eq. 6: the mean over images, scalar.

    Images whose category has no `loss` count as 0.

    Args:
        generated: y_gen, (B, 3, H, W), with gradient.
        images: y0, (B, 3, H, W) in [-1, 1].
        chosen: B edits.

    Raises:
        ValueError: A category's loss gives something else than one number for each image.
    """
    total = generated.new_zeros(())
    for category, rows in rows_by_category(chosen).items():
        if category.loss is None:
            continue
        terms = category.loss(generated[rows], images[rows])
        if tuple(terms.shape) != (len(rows),):
            raise ValueError(
                f"edit {category.name!r}: its loss gave {tuple(terms.shape)} for {len(rows)} images; it must "
                "be one number for each"
            )
        total = total + terms.sum()
    return total / len(chosen)


def mean_change(generated: Tensor, reference: Tensor, held: Tensor) -> Tensor:
    """Return the mean absolute difference of images (B, 3, H, W) where `held` (B, 1, H, W) is true."""
    weights = held.expand_as(generated).float()
    return ((generated - reference).abs() * weights).sum() / weights.sum().clamp(min=1.0)
