"""What the two branches share: a tuned U-Net between frozen networks."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, cast

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.checkpoint import checkpoint

from keyface.diffusion.backbone import Backbone
from keyface.faces.alignment import check_landmarks
from keyface.lightning_modules.caption_words import CaptionWords
from keyface.lightning_modules.tuning.checkpoint import ResumableModule
from keyface.lightning_modules.tuning.divergence import Arriving
from keyface.lightning_modules.tuning.exporting import ExportedModule
from keyface.lightning_modules.tuning.hyperparameters import plain
from keyface.lightning_modules.tuning.lora import TunedUNet, Tuning
from keyface.lightning_modules.tuning.memory import StepMemory, measure_step
from keyface.lightning_modules.tuning.seeding import seeded
from keyface.lightning_modules.tuning.sharding import is_sharded, shard
from keyface.models.judges import Judges

Batch = dict[str, Any]
"""See `keyface.datamodules`."""


class Losses(NamedTuple):
    """What one batch gives.

    Attributes:
        values: Scalars: `loss`, which is minimized, its parts, and in validation the judges' scores.
        images: How many took part.
        each: The paper's loss of each image (B,), without gradient; None where the batch had another alone.
    """

    values: dict[str, Tensor]
    images: int
    each: Tensor | None = None


class ImageLosses(NamedTuple):
    """Losses by noise level of one batch.

    Attributes:
        timesteps: Where the images' noisy latents stood, (B,) int64.
        losses: (B,), without gradient.
        total: How many timesteps there are.
    """

    timesteps: Tensor
    losses: Tensor
    total: int


class StepInputs(NamedTuple):
    """What a step learns from, in shapes; values are of no use.

    Attributes:
        images: (B, 3, H, W).
        latents: Noisy ones, (B, C, h, w).
        timesteps: (B,) int64.
        text: (B, L, D).
        landmarks: (B, 5, 2).
    """

    images: Tensor
    latents: Tensor
    timesteps: Tensor
    text: Tensor
    landmarks: Tensor


class BranchModule(ExportedModule, ResumableModule):
    """Base of ε1 and ε2; a subclass says in `losses` what is learned.

    The parts that know nothing of losses stand in `keyface.lightning_modules.tuning`: the moving average
    (`averaging`), what is not finite (`divergence`), checkpoints (`checkpoint`) and the export (`exporting`).

    Args:
        backbone: The frozen base model.
        frozen: Further frozen networks that the loss uses; what is no PyTorch module is left alone.
        judges: Networks for validation only.
        runs_base: Whether a step runs the base's U-Net; one that no step runs is left out of the module, and
            stays on the CPU if it shares no weights with the tuned one.
        tuning: What is trained and how.
        optimizer: Makes the optimizer from the trained parameters.
        lr_scheduler: Makes the learning-rate schedule, stepped after every optimizer step; None: constant.
        seed: Decides noise levels, categories and phrases.
        hyperparameters: The subclass's arguments; the plain ones are kept in checkpoints.

    Attributes:
        timesteps: Where the noisy latents of the latest batch stood, (B,); a subclass notes them.
        losses_by_image: Of the latest training step; None where it had no loss of single images.
        may_lack_losses: Whether `losses` may give None, for which processes then ask each other.
    """

    monitor = "val/loss"
    may_lack_losses = False
    timesteps: Tensor
    losses_by_image: ImageLosses | None = None

    def __init__(
        self,
        backbone: Backbone,
        frozen: Sequence[object],
        judges: Judges,
        runs_base: bool,
        tuning: Tuning | Mapping[str, Any],
        optimizer: OptimizerCallable,
        lr_scheduler: LRSchedulerCallable | None,
        seed: int,
        hyperparameters: dict[str, Any],
    ) -> None:
        super().__init__()
        self.save_hyperparameters(plain(hyperparameters))
        self.tuning = Tuning.of(tuning)
        self.backbone = backbone
        self.judges = judges
        self.seed = seed
        self._optimizer = optimizer
        self._lr_scheduler = lr_scheduler
        self.tuned = TunedUNet.prepare(backbone.unet, self.tuning)
        self.unet = self.tuned.unet
        backbone.unet.requires_grad_(False).eval()
        networks = [backbone.vae, backbone.text_encoder, *frozen]
        networks += [*judges.recognizers.values(), judges.classifier]
        if runs_base or self.tuned.shares(backbone.unet):
            networks.append(backbone.unet)
        self.frozen = nn.ModuleList(each for each in networks if isinstance(each, nn.Module))
        self.frozen.requires_grad_(False).eval()
        # DistributedDataParallel would send these, which never change, at every step; it reads this name.
        self._ddp_params_and_buffers_to_ignore = [f"frozen.{name}" for name, _ in self.frozen.named_buffers()]
        self.caption_words = CaptionWords(backbone.tokenizer)
        self._learned: Losses | None = None
        self._finite: Arriving | None = None
        self.begin_saving()
        self.begin_average()

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses | None:
        """Return the loss of one batch and its parts; None where the batch holds nothing to learn from.

        Args:
            batch: See `keyface.datamodules`.
            generator: On the CPU; the same for the same step of the same run.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it learns")

    def rehearse(self, inputs: StepInputs) -> Tensor:
        """Return the loss of a step, (), without a look at any value: it is run on shapes alone."""
        raise NotImplementedError(f"{type(self).__name__} does not say what a step takes")

    def step_memory(
        self, images: int, side: int, context: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> StepMemory:
        """Return what a training step takes beside weights and optimizer; see `measure_step`.

        Args:
            images: Of a batch on this device.
            side: Rows and columns of the images.
            context: Gives what the step runs in, such as autocast.
        """
        device, cells = self.unet.device, side // self.backbone.downscale
        length, width = self.backbone.text_length, self.unet.config.cross_attention_dim

        def step() -> Tensor:
            return self.rehearse(
                StepInputs(
                    torch.empty(images, 3, side, side, device=device),
                    torch.empty(images, self.backbone.latent_channels, cells, cells, device=device),
                    torch.empty(images, dtype=torch.int64, device=device),
                    torch.empty(images, length, width, device=device),
                    torch.empty(images, 5, 2, device=device),
                )
            )

        return measure_step(step, self, context)

    def clean_latents(self, batch: Batch) -> Tensor:
        """Return the batch's latents (B, C, h, w), fp32, without gradient: cached, or encoded now."""
        if "latent" in batch:
            return cast(Tensor, batch["latent"]).float()
        with torch.no_grad():
            return self.backbone.encode_images(batch["image"]).float()

    def decode(self, latents: Tensor) -> Tensor:
        """Decode latents (B, C, h, w) to images (B, 3, H, W) in [-1, 1], with gradient.

        If `tuning` says so, they are computed again in the backward pass, image by image: the decoder's maps
        have the images' full resolution, and those of one image are held at a time.
        """
        if not self.tuning.gradient_checkpointing:
            return self.backbone.decode_latents(latents)
        decode, singly = self.backbone.decode_latents, latents.chunk(len(latents))
        return torch.cat([checkpoint(decode, each, use_reentrant=False) for each in singly])

    def identity_scores(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Return the cosine distance between images (B, 3, H, W) and the batch's, by each judge's network."""
        scores = {}
        for name, recognizer in self.judges.recognizers.items():
            ours, theirs = (recognizer(faces, batch["landmarks"]) for faces in (images, batch["image"]))
            scores[f"distance_{name}"] = 1 - (ours * theirs).sum(dim=-1).mean()
        return scores

    def train(self, mode: bool = True) -> "BranchModule":
        """Set the mode of the trained U-Net; the frozen networks stay in evaluation mode."""
        super().train(mode)
        self.frozen.eval()
        return self

    def configure_model(self) -> None:
        """Spread what is trained over processes, where the strategy is Lightning's ModelParallelStrategy."""
        if self.device_mesh is None or is_sharded(self.unet):
            return
        shard(self.unet, self.device_mesh["data_parallel"])
        # Lightning asks a whole checkpoint for every single weight, and the frozen ones are in none.
        self.strict_loading = False
        self.begin_average()

    def on_train_start(self) -> None:
        """Compile the U-Net, where `tuning` says so; names of weights stay as they are.

        Callbacks that edit before the first step are done by now.
        """
        super().on_train_start()
        if self.tuning.compiled:
            torch.compiler.set_stance("default")
            self.unet.compile()

    def on_validation_start(self) -> None:
        """Run the U-Net as it was written: validations are short, and their graphs would be others."""
        if self.tuning.compiled:
            torch.compiler.set_stance("force_eager")

    def on_validation_end(self) -> None:
        """Run what was compiled again."""
        if self.tuning.compiled:
            torch.compiler.set_stance("default")

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip, also for a fused optimizer, which Lightning refuses under every mixed precision.

        Only a gradient scaler, which float16 needs and bfloat16 does not, would have the optimizer unscale
        gradients after they are clipped.
        """
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        refused = getattr(optimizer, "_step_supports_amp_scaling", False) and not scaled
        if refused and gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            nn.utils.clip_grad_norm_(self.trained_parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the configured optimizer over what is trained, and its schedule by steps."""
        optimizer = self._optimizer(self.trained_parameters())
        if self._lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._lr_scheduler(optimizer), "interval": "step"},
        }

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Refuse landmarks that make no face while they are on the CPU, where it costs nothing to look."""
        if "landmarks" in batch:
            check_landmarks(batch["landmarks"])
        return batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Return the loss of one batch; the step is left out if there is nothing to learn from.

        Nothing here looks at a value on the device, so that a GPU is given the next work while it computes.
        """
        self.caption_words.look(batch["caption"])
        # What was seen, unlike the batch's number, goes on where it stood when a run is resumed.
        draw = self.seed * 1_000_003 + self.samples_seen * 4_099 + self.global_rank
        with seeded(draw, self.device):
            losses = self.losses(batch, torch.Generator().manual_seed(draw))
        self.samples_seen += len(batch["image"]) * self.trainer.world_size
        self.losses_by_image = self._learned = None
        # Every process takes part in the decision, or the others would wait for its gradients forever.
        if self.may_lack_losses and not self.on_all_processes(losses is not None):
            return self.skip_step(None if losses is None else losses.values["loss"])
        assert losses is not None
        self._learned = losses
        return losses.values["loss"]

    def on_before_backward(self, loss: Tensor) -> None:
        """Have it told whether the loss is finite, before the device is given the backward pass."""
        self._finite = Arriving(loss.isfinite())

    def on_after_backward(self) -> None:
        """Log the step, or leave it out where a loss is not finite."""
        losses, finite = self._learned, self._finite
        if losses is None or finite is None:  # left out already
            return
        if not self.can_step(finite.read()):
            self.drop_gradients()
            return
        self.losses_by_image = self._by_image(losses)
        logged = {f"train/{name}": value.detach() for name, value in losses.values.items()}
        self.log_dict(logged, prog_bar=True, batch_size=losses.images)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the losses with the same noise levels, categories and phrases every time."""
        losses = self.losses(batch, torch.Generator().manual_seed(self.seed + batch_idx))
        if losses is not None:
            logged = {f"val/{name}": value for name, value in losses.values.items()}
            self.log_dict(logged, batch_size=losses.images, sync_dist=True)

    def _by_image(self, losses: Losses) -> ImageLosses | None:
        if losses.each is None:
            return None
        return ImageLosses(
            self.timesteps, losses.each, int(self.backbone.scheduler.config.num_train_timesteps)
        )
