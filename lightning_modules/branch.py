"""What the two branches share: a tuned U-Net between frozen networks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from diffusers import UNet2DConditionModel
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.tuning.checkpoint import (
    arguments_of,
    last_saved,
    nonfinite_parts,
    plain,
    refuse_differing,
    refuse_other_branch,
    refuse_unshared,
    save_only,
)
from keyface.lightning_modules.tuning.ema import ExponentialMovingAverage
from keyface.lightning_modules.tuning.lora import TunedUNet, Tuning
from keyface.lightning_modules.tuning.model_card import write_card
from keyface.lightning_modules.tuning.seeding import seeded
from keyface.lightning_modules.tuning.sharding import is_sharded, shard
from keyface.models.judges import Judges

Batch = dict[str, Any]
"""See `keyface.datamodules`."""


class Losses(NamedTuple):
    """What one batch gives.

    Attributes:
        values: Scalars: ``loss``, which is minimized, its parts, and in validation the judges' scores.
        images: How many took part.
    """

    values: dict[str, Tensor]
    images: int


class BranchModule(LightningModule):
    """Base of ε1 and ε2: optimizer, what is tuned, the moving average, checkpoints and export.

    A subclass says in ``losses`` what is learned. Only what is trained and its average are checkpointed;
    the frozen networks are not.

    Args:
        backbone: The frozen base model.
        frozen: Further frozen networks that the loss uses; what is no PyTorch module is left alone.
        judges: Networks for validation only.
        tuning: What is trained and how.
        optimizer: Makes the optimizer from the trained parameters.
        lr_scheduler: Makes the learning-rate schedule, stepped after every optimizer step; None: constant.
        seed: Decides noise levels, categories and phrases.
        hyperparameters: The subclass's arguments; the plain ones are kept in checkpoints.
    """

    title: str
    monitor = "val/loss"

    def __init__(
        self,
        backbone: Backbone,
        frozen: Sequence[object],
        judges: Judges,
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
        self._tuned = TunedUNet.prepare(backbone.unet, self.tuning)
        self.unet = self._tuned.unet
        networks = [backbone.vae, backbone.text_encoder, backbone.unet, *frozen]
        networks += [*judges.recognizers.values(), judges.classifier]
        self.frozen = nn.ModuleList(each for each in networks if isinstance(each, nn.Module))
        self.frozen.requires_grad_(False).eval()
        save_only(self, self._is_saved, self.title)
        decay = self.tuning.ema_decay
        self.ema = None if decay is None else ExponentialMovingAverage(self.trained_parameters(), decay)
        self.samples_seen = 0
        self._nonfinite_in_a_row = 0

    def losses(self, batch: Batch, generator: torch.Generator) -> Losses | None:
        """The loss of one batch and its parts; None where the batch holds nothing to learn from.

        Args:
            batch: See `keyface.datamodules`.
            generator: On the CPU; the same for the same step of the same run.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it learns")

    def clean_latents(self, batch: Batch) -> Tensor:
        """The batch's cached latents, or its images encoded now: (B, C, h, w), fp32, without gradient."""
        if "latent" in batch:
            return cast(Tensor, batch["latent"]).float()
        with torch.no_grad():
            return self.backbone.encode_images(batch["image"]).float()

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) of latents, with gradient; recomputed in the backward pass if so tuned."""
        if self.tuning.gradient_checkpointing:
            return checkpoint(self.backbone.decode_latents, latents, use_reentrant=False)
        return self.backbone.decode_latents(latents)

    def identity_scores(self, images: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Cosine distance between images (B, 3, H, W) and the batch's, by each evaluation network."""
        scores = {}
        for name, recognizer in self.judges.recognizers.items():
            ours, theirs = (recognizer(faces, batch["landmarks"]) for faces in (images, batch["image"]))
            scores[f"distance_{name}"] = 1 - (ours * theirs).sum(dim=-1).mean()
        return scores

    def trained_parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained, in a fixed order."""
        return [parameter for parameter in self.unet.parameters() if parameter.requires_grad]

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
        if self.tuning.ema_decay is not None:
            self.ema = ExponentialMovingAverage(self.trained_parameters(), self.tuning.ema_decay)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The configured optimizer over what is trained, and its schedule by steps."""
        optimizer = self._optimizer(self.trained_parameters())
        if self._lr_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self._lr_scheduler(optimizer), "interval": "step"},
        }

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """The loss of one batch; None skips the step where there is nothing (finite) to learn from."""
        # What was seen, unlike the batch's number, goes on where it stood when a run is resumed.
        draw = self.seed * 1_000_003 + self.samples_seen * 4_099 + self.global_rank
        with seeded(draw, self.device):
            losses = self.losses(batch, torch.Generator().manual_seed(draw))
        self.samples_seen += len(batch["image"]) * self.trainer.world_size
        # Every process takes part in both decisions, or the others would wait for its gradients forever.
        if not self._all_processes(losses is not None):
            return None
        assert losses is not None
        loss = losses.values["loss"]
        if not self._all_processes(bool(loss.detach().isfinite())):
            self._count_nonfinite()
            return None
        self._nonfinite_in_a_row = 0
        logged = {f"train/{name}": value.detach() for name, value in losses.values.items()}
        self.log_dict(logged, prog_bar=True, batch_size=losses.images)
        return loss

    def _all_processes(self, decision: bool) -> bool:
        return bool(self.trainer.strategy.reduce_boolean_decision(decision, all=True))

    def _count_nonfinite(self) -> None:
        self._nonfinite_in_a_row += 1
        if self._nonfinite_in_a_row >= self.tuning.max_nonfinite:
            raise FloatingPointError(
                f"{self.title}: {self._nonfinite_in_a_row} losses in a row were not finite, up to step "
                f"{self.global_step}; {self._way_out()}"
            )

    def _way_out(self) -> str:
        """Say what to do about a diverged run; every checkpoint that it saved is finite."""
        saved = last_saved(self.trainer)
        return "lower the learning rate, clip gradients or use fp32, and " + (
            "begin anew: this run has saved no checkpoint"
            if saved is None
            else f"go on from its last finite checkpoint, --ckpt_path {saved}"
        )

    def on_train_start(self) -> None:
        """Begin counting."""
        self._nonfinite_in_a_row = 0

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Take the step into the moving average, before any callback writes a checkpoint of it."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update(self.trained_parameters())

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the U-Net its averaged weights for a with block, if there are any."""
        if self.ema is None:
            yield
        else:
            with self.ema.applied(self.trained_parameters()):
                yield

    def whole_unet(self) -> UNet2DConditionModel | None:
        """The U-Net as one process can run it: itself, or where it is sharded a whole copy on the CPU.

        Of a sharded network every process must ask, and all but the first get None.
        """
        if not is_sharded(self.unet):
            return self.unet
        return self._tuned.whole(self.backbone.unet, self.tuning, keep=self.global_rank == 0)

    def on_validation_epoch_start(self) -> None:
        """Validate, and let callbacks edit, with the averaged weights."""
        if self.ema is not None:
            self.ema.swap(self.trained_parameters())

    def on_validation_epoch_end(self) -> None:
        """Go back to the weights in training."""
        if self.ema is not None:
            self.ema.swap(self.trained_parameters())

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log the losses with the same noise levels, categories and phrases every time."""
        losses = self.losses(batch, torch.Generator().manual_seed(self.seed + batch_idx))
        if losses is not None:
            logged = {f"val/{name}": value for name, value in losses.values.items()}
            self.log_dict(logged, batch_size=losses.images, sync_dist=True)

    def _is_saved(self, name: str) -> bool:
        """Say whether a checkpoint holds this value: what is trained and its average, no frozen network."""
        if name.startswith("unet."):
            return bool(self.unet.get_parameter(name.removeprefix("unet.")).requires_grad)
        return name.startswith("ema.")

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember whose it is and how much was seen.

        Raises:
            FloatingPointError: Weights, their average or the optimizer's state are not finite: nothing is
                written, and the checkpoint before stays.
        """
        checkpoint["branch"] = self.title
        checkpoint["samples_seen"] = self.samples_seen
        broken = nonfinite_parts(checkpoint)
        # Where processes share the weights, each may look at a part alone; else all hold the same values.
        all_finite = self._all_processes(not broken) if is_sharded(self.unet) else not broken
        if not all_finite:
            what = ", ".join(broken) or "another process' part of them"
            raise FloatingPointError(
                f"{self.title}: diverged by step {self.global_step}, nothing saved (not finite: {what}); "
                + self._way_out()
            )

    def check_checkpoint(self, checkpoint: Path, sharded: bool) -> None:
        """Refuse a checkpoint that training cannot go on from; the command line asks before it begins.

        Where processes share the weights, Lightning fills them past the hooks of `save_only`: what the
        checkpoint lacks would stay as it was made, or fail later in the optimizer's state. What a folder
        holds, the checkpoint of many processes, is left to torch, which names what it misses.

        Args:
            checkpoint: A file or folder.
            sharded: Whether processes will share the weights.

        Raises:
            ValueError: It is another branch's, its values have other names than those that this module
                saves, its optimizer is that of an unshared network, or it is in parts, which only processes
                that share the weights read.
        """
        if checkpoint.is_dir():
            if not sharded:
                raise ValueError(
                    f"{checkpoint} is a folder with the parts of a run whose processes shared the weights: "
                    "go on with ModelParallelStrategy, which also takes data_parallel_size: 1"
                )
            return
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        refuse_other_branch(content, self, self.title)
        refuse_differing(set(self.state_dict()) ^ set(content["state_dict"]), self.title)
        if sharded:
            refuse_unshared(content["optimizer_states"], self)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting; refuse what another branch saved, also in parts and without the command line."""
        refuse_other_branch(checkpoint, self, self.title)
        self.samples_seen = int(checkpoint["samples_seen"])

    def on_fit_end(self) -> None:
        """Export the tuned U-Net to the run's folder."""
        folder = self.trainer.log_dir  # asked on every process, since they agree on it together
        if self.tuning.export and (self.trainer.is_global_zero or is_sharded(self.unet)):
            self.export(Path(folder or self.trainer.default_root_dir) / "export")

    def export(self, folder: Path | str) -> Path:
        """Write the averaged U-Net, whole or its adapter, as safetensors with a model card.

        `keyface.diffusion.backbone.load_unet` reads it again. Of a sharded network every process must ask.
        """
        folder = Path(folder)
        with self.averaged():
            state = self._tuned.state(self.tuning.export_half, keep=self.global_rank == 0)
        if self.global_rank > 0:
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        self._tuned.save(folder, state)
        write_card(folder, self.title, self._facts())
        return folder

    def _facts(self) -> dict[str, Any]:
        trainer = self._trainer
        data = None if trainer is None else getattr(trainer, "datamodule", None)
        metrics = {} if trainer is None else {k: float(v) for k, v in trainer.callback_metrics.items()}
        return {
            "configuration": dict(self.hparams),
            "data": {} if data is None else {"class": type(data).__name__, **plain(arguments_of(data))},
            "samples_seen": self.samples_seen,
            "steps": 0 if trainer is None else self.global_step,
            "trained_parameters": sum(parameter.numel() for parameter in self.trained_parameters()),
            "metrics": {name: round(value, 6) for name, value in metrics.items()},
        }
