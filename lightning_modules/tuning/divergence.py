"""Losses, weights and checkpoints that are not finite: skipped, counted and never saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from keyface.lightning_modules.tuning.base import TunedModule
from keyface.lightning_modules.tuning.sharding import is_sharded
from keyface.weights.states import read_pickle

MOST_REWINDS = 3


class Arriving:
    """A truth value on its way from a device: nothing waits for it until it is read.

    Args:
        flag: Scalar, bool.
    """

    def __init__(self, flag: Tensor) -> None:
        self._value = flag.detach().to("cpu", non_blocking=flag.is_cuda)
        self._sent = torch.cuda.current_stream(flag.device).record_event() if flag.is_cuda else None

    def read(self) -> bool:
        """Wait until the device has computed it, not for what it was given to do afterwards."""
        if self._sent is not None:
            self._sent.synchronize()
        return bool(self._value)


class FiniteModule(TunedModule):
    """Skips steps whose loss is not finite, stops or rewinds after too many, and saves finite weights alone.

    Attributes:
        rewinds: How often the run went back to a checkpoint at half the learning rate.
        nonfinite_in_a_row: How many of the latest losses in a row were not finite.
    """

    rewinds = 0
    nonfinite_in_a_row = 0
    _drops_gradients = False

    def can_step(self, finite: bool) -> bool:
        """Say whether the loss is finite on every process; each must ask, with its own.

        Raises:
            FloatingPointError: It was not for `tuning.max_nonfinite` steps in a row, and `tuning` says to
                stop, or there is nothing to rewind to, or no rewind helped.
        """
        if self.on_all_processes(finite):
            self.nonfinite_in_a_row = 0
            return True
        self.nonfinite_in_a_row += 1
        if self.nonfinite_in_a_row < self.tuning.max_nonfinite or self.tuning.on_nonfinite == "skip":
            return False
        if self.tuning.on_nonfinite == "rewind" and self.rewinds < MOST_REWINDS:
            self._rewind()
            return False
        tried = f", after {self.rewinds} rewinds" if self.rewinds else ""
        raise FloatingPointError(
            f"{self.title}: {self.nonfinite_in_a_row} losses in a row were not finite, up to step "
            f"{self.global_step}{tried}; {self._way_out()}"
        )

    def _rewind(self) -> None:
        """Take weights and optimizer from the newest checkpoint, and go on at half the learning rate.

        The steps and the data go on where they are: the same ones again could only diverge again.

        Raises:
            FloatingPointError: The run has saved no checkpoint yet.
        """
        path = last_saved(self.trainer)
        if path is None:
            raise FloatingPointError(
                f"{self.title}: {self.nonfinite_in_a_row} losses in a row were not finite, up to step "
                f"{self.global_step}, and there is no checkpoint yet to rewind to; {self._way_out()}"
            )
        content = read_pickle(path, "checkpoint", mapped=True)
        self.rewinds += 1
        self.nonfinite_in_a_row = 0
        self.load_state_dict(content["state_dict"])
        # A checkpoint from before an earlier rewind still has the rate from before it.
        lower = 0.5 ** (self.rewinds - int(content.get("rewinds", 0)))
        for optimizer, state in zip(self.trainer.optimizers, content["optimizer_states"], strict=True):
            optimizer.load_state_dict(state)
            for group in optimizer.param_groups:
                group["lr"] *= lower
        schedulers = [config.scheduler for config in self.trainer.lr_scheduler_configs]
        for scheduler, state in zip(schedulers, content["lr_schedulers"], strict=True):
            scheduler.base_lrs = [rate * lower for rate in state["base_lrs"]]
        rank_zero_warn(
            f"{self.title}: losses were not finite up to step {self.global_step}; back to {path} (step "
            f"{content['global_step']}) at half the learning rate, {self.rewinds} of {MOST_REWINDS} times"
        )

    def skip_step(self, loss: Tensor | None = None) -> Tensor | None:
        """Return what `training_step` returns to leave a step out; every process must.

        Of several processes Lightning takes no None: they return a loss whose gradients are dropped before
        the optimizer sees them.

        Args:
            loss: This process' scalar; None: it has none.
        """
        if self.trainer.world_size == 1:
            return None
        self.drop_gradients()
        if loss is not None:
            return loss
        return 0 * torch.stack([parameter.sum() for parameter in self.trained_parameters()]).sum()

    def drop_gradients(self) -> None:
        """Let the optimizer see no gradients at its next step, and so change nothing."""
        self._drops_gradients = True

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Drop the gradients of a step that is left out."""
        if self._drops_gradients:
            optimizer.zero_grad(set_to_none=True)
            self._drops_gradients = False

    def on_train_start(self) -> None:
        """Begin counting, from weights and optimizer state that are finite.

        Raises:
            ValueError: The checkpoint that the run goes on from holds values that are not, or a rewind is
                asked for where processes share the weights.
        """
        self.nonfinite_in_a_row = 0
        if self.tuning.on_nonfinite == "rewind" and is_sharded(self.unet):
            raise ValueError(
                "tuning.on_nonfinite rewind is not for weights that processes share; take stop or skip"
            )
        loaded = {
            "state_dict": self.state_dict(),
            "optimizer_states": [optimizer.state_dict() for optimizer in self.trainer.optimizers],
        }
        broken = self._broken_parts(loaded)
        if broken:
            raise ValueError(damaged(self.title, broken))

    def refuse_diverged(self, checkpoint: Mapping[str, Any]) -> None:
        """Refuse to save what is not finite, so that the checkpoint before stays.

        Raises:
            FloatingPointError: Weights, their average or the optimizer's state are not finite.
        """
        broken = self._broken_parts(checkpoint)
        if broken:
            raise FloatingPointError(
                f"{self.title}: diverged by step {self.global_step}, nothing saved (not finite: {broken}); "
                + self._way_out()
            )

    def _broken_parts(self, checkpoint: Mapping[str, Any]) -> str:
        broken = ", ".join(nonfinite_parts(checkpoint))
        # Where processes share the weights, each may look at a part alone; else all hold the same values.
        if is_sharded(self.unet) and not self.on_all_processes(not broken):
            return broken or "another process' part of them"
        return broken

    def _way_out(self) -> str:
        """Say what to do about a diverged run; every checkpoint that it saved is finite."""
        saved = last_saved(self.trainer)
        return "lower the learning rate, clip gradients or use fp32, and " + (
            "begin anew: this run has saved no checkpoint"
            if saved is None
            else f"go on from its last finite checkpoint, --ckpt_path {saved}"
        )


def damaged(title: str, broken: str) -> str:
    """Word the refusal of a checkpoint whose values are not finite."""
    return (
        f"{title}: the checkpoint is of a run that diverged (not finite: {broken}); go on from an earlier "
        "one by --ckpt_path, or begin anew"
    )


def nonfinite_parts(checkpoint: Mapping[str, Any]) -> list[str]:
    """Name the parts of a checkpoint that hold NaN or infinity: weights, their average, optimizer state."""
    weights: Mapping[str, Any] = checkpoint.get("state_dict", {})
    parts = {
        "weights": [value for name, value in weights.items() if not name.startswith("ema.")],
        "their average": [value for name, value in weights.items() if name.startswith("ema.")],
        "optimizer state": checkpoint.get("optimizer_states", []),
    }
    return [name for name, values in parts.items() if not all(map(_is_finite, tree_leaves(values)))]


def _is_finite(value: object) -> bool:
    if isinstance(value, DTensor):
        value = value.to_local()
    return not isinstance(value, Tensor) or bool(torch.isfinite(value).all())


def last_saved(trainer: Trainer) -> Path | None:
    """Return the newest checkpoint that a run's callbacks have saved; None where there is none."""
    # Lightning notes a path before it writes there.
    paths = [
        Path(path)
        for callback in trainer.checkpoint_callbacks
        if isinstance(callback, ModelCheckpoint)
        for path in (*callback.best_k_models, callback.best_model_path, callback.last_model_path)
        if path and Path(path).exists()
    ]
    return max(paths, key=lambda path: (path.stat().st_mtime, path.stem == "last"), default=None)
