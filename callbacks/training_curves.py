"""How a training goes: gradients, learning rate, speed, memory, and which noise levels are hard."""

import resource
import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.nn.utils import get_total_norm
from torch.optim import Optimizer

TIMESTEP_BINS = 5
_WINDOW = 20
_GIB = 2**30


class TrainingCurves(Callback):
    """Logs how a training goes, to every logger; the command line adds it to each `fit`.

    `optim/gradient_norm` (before clipping), `optim/learning_rate`, `speed/images_per_second` (of all
    processes, over the last 20 steps, without validation) and `speed/peak_memory_gib` (of the GPU, else of
    the process) at every logged step. `train/loss_by_timestep/<first>-<last>`, the mean loss of the images
    at these noise levels since it was last logged, before each validation and at the end.

    Example:
        >>> TrainingCurves().bins
        5

    Args:
        bins: How many ranges of noise levels.
    """

    def __init__(self, bins: int = TIMESTEP_BINS) -> None:
        if bins < 1:
            raise ValueError(f"TrainingCurves: bins is {bins}, it must be at least 1")
        self.bins = bins
        self._times: deque[tuple[float, int]] = deque(maxlen=_WINDOW + 1)
        self._sums: Tensor | None = None
        self._timesteps = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin counting."""
        self._sums = None
        self._begin_window()
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trainer.strategy.root_device)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Log the rate that the step is taken with."""
        if trainer.optimizers:
            pl_module.log("optim/learning_rate", float(trainer.optimizers[0].param_groups[0]["lr"]))

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        """Log the norm of all gradients, of all processes where they share the weights."""
        gradients = [
            parameter.grad
            for group in optimizer.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if gradients:
            norm = get_total_norm(gradients)
            pl_module.log("optim/gradient_norm", norm.full_tensor() if isinstance(norm, DTensor) else norm)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log speed and memory; note the losses of single images."""
        images = images_in(batch)
        self._times.append((time.monotonic(), images * trainer.world_size))
        seconds = self._times[-1][0] - self._times[0][0]
        seen = sum(count for _, count in list(self._times)[1:])
        if seen and seconds > 0:
            # As tensors on the CPU: Lightning would send plain numbers to the device, and wait for it.
            pl_module.log("speed/images_per_second", torch.tensor(seen / seconds))
        peak = peak_memory(trainer.strategy.root_device) / _GIB
        pl_module.log("speed/peak_memory_gib", torch.tensor(peak))
        self._note_losses(getattr(pl_module, "losses_by_image", None))

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the losses by timestep beside those of validation."""
        if not trainer.sanity_checking:
            self._log_losses(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the time of validation out of the speed."""
        self._begin_window()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the losses since the last validation."""
        self._log_losses(trainer)

    def _begin_window(self) -> None:
        self._times.clear()
        self._times.append((time.monotonic(), 0))

    def _note_losses(self, noted: tuple[Tensor, Tensor, int] | None) -> None:
        """Add losses (B,) at timesteps (B,) of so many; on their device, so that nothing waits for it."""
        if noted is None:
            return
        timesteps, losses, total = noted
        self._timesteps = total
        if self._sums is None:
            self._sums = torch.zeros(2, self.bins, dtype=torch.float64, device=losses.device)
        places = (timesteps.to(losses.device) * self.bins // total).clamp(0, self.bins - 1)
        finite = losses.isfinite()
        weights = torch.stack((losses.detach().nan_to_num(0.0, 0.0, 0.0), finite)).double()
        self._sums.index_add_(1, places, weights * finite)

    def _log_losses(self, trainer: Trainer) -> None:
        if self._sums is None:
            return
        sums, counts = self._sums.cpu().unbind()
        self._sums = None
        means = {
            f"train/loss_by_timestep/{name}": float(sums[place] / counts[place])
            for place, name in enumerate(bin_names(self.bins, self._timesteps))
            if counts[place] > 0
        }
        for logger in trainer.loggers if means else []:
            logger.log_metrics(means, step=trainer.global_step)


def bin_names(bins: int, total: int) -> list[str]:
    """Name ranges of timesteps by their first and last, in as many digits as the last has."""
    edges = [-(-place * total // bins) for place in range(bins + 1)]
    digits = len(str(total - 1))
    return [f"{edges[place]:0{digits}}-{edges[place + 1] - 1:0{digits}}" for place in range(bins)]


def images_in(batch: Any) -> int:
    """Return how many images a batch has; 0 where it is no mapping with `image`."""
    return len(batch["image"]) if isinstance(batch, Mapping) and "image" in batch else 0


def peak_memory(device: torch.device) -> int:
    """Return the most bytes that were in use: of the GPU by this process' tensors, else of its memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
