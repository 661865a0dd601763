"""Memory of a fit or a prediction, found from shapes and told in a line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from keyface.cli.messages import LESS_MEMORY_TO_TRAIN
from keyface.lightning_modules.protocols import ForecastsMemory, KnowsItsBatches

SINGLE = 4
"""Bytes of a number in single precision."""


@dataclass(frozen=True)
class Memory:
    """Bytes that a training takes on a device.

    Attributes:
        weights: Of all networks, with buffers and moving average.
        gradients: Of what is trained; with DDP also the copies that it sends.
        optimizer: What it keeps between steps.
        images: Of a batch; None where module or data cannot tell what a step takes.
        side: Rows and columns of the images.
        activations: The most that a step takes beside all these.
    """

    weights: int
    gradients: int
    optimizer: int
    images: int | None = None
    side: int = 0
    activations: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations

    @classmethod
    def held(cls, trainer: Trainer, module: LightningModule) -> Self:
        """Find what a fit takes beside activations.

        Args:
            trainer: Its strategy and optimizers.
            module: With its optimizers made.
        """
        held = (*module.parameters(), *module.buffers())
        weights = sum(value.numel() * value.element_size() for value in held)
        own = trained(module) * SINGLE
        sent = own if isinstance(trainer.strategy, DDPStrategy) and trainer.world_size > 1 else 0
        return cls(weights, own + sent, own * moments(trainer))

    @classmethod
    def of(cls, trainer: Trainer, module: LightningModule, images: int | None = None) -> Self:
        """Find what a fit takes, by a rehearsal of a step, which takes seconds.

        Args:
            trainer: Its strategy, optimizers and precision.
            module: On its device, with its optimizers made.
            images: Of a batch; None: as the data say.
        """
        known, own = cls.held(trainer, module), trained(module) * SINGLE
        data = getattr(trainer, "datamodule", None)
        if not (isinstance(module, ForecastsMemory) and isinstance(data, KnowsItsBatches)):
            return known
        if isinstance(trainer.strategy, ModelParallelStrategy):  # weights are gathered as they are needed
            return known
        batch, side = data.batch_shape()
        images = batch if images is None else images
        try:
            step = module.step_memory(images, side, trainer.precision_plugin.forward_context)
        except RuntimeError:  # a network of the user's own may look at values
            return known
        # On a GPU an optimizer takes all parameters at once and needs as much as one of its moments for that.
        least = own if module.device.type == "cuda" else 0
        return replace(known, images=images, side=side, activations=max(step.peak - own, least))


def opening_line(module: LightningModule, memory: Memory, saved: int, kept: int | None) -> str:
    """Return parameters, memory and disk in one line.

    Args:
        module: What is trained.
        memory: What it takes.
        saved: Bytes of a checkpoint.
        kept: How many are kept; None where nobody can say.
    """
    total = sum(parameter.numel() for parameter in module.parameters())
    disk = f"a checkpoint is {in_bytes(saved)}"
    if kept:
        disk += f", {kept} are kept"
    if memory.images is None:
        takes = f"memory from {in_bytes(memory.total)} on, activations on top"
    else:
        takes = (
            f"memory about {in_bytes(memory.total)}: weights {in_bytes(memory.weights)}, gradients "
            f"{in_bytes(memory.gradients)}, optimizer {in_bytes(memory.optimizer)}, activations "
            f"{in_bytes(memory.activations)} for {memory.images} images of {memory.side} pixels"
        )
    return f"trains {_count(trained(module))} of {_count(total)} parameters; {takes}; {disk}"


def prediction_line(module: LightningModule, memory: Memory) -> str:
    """Return parameters and memory in one line.

    Args:
        module: What predicts.
        memory: What it takes.
    """
    precisions = {str(value.dtype).removeprefix("torch.") for value in module.parameters()}
    total = sum(parameter.numel() for parameter in module.parameters())
    weights = f"{_count(total)} parameters in {', '.join(sorted(precisions)) or 'none'}"
    if memory.images is None:
        return f"{weights}; memory from {in_bytes(memory.total)} on, what a batch takes on top"
    return (
        f"{weights}; memory about {in_bytes(memory.total)}: weights {in_bytes(memory.weights)}, activations "
        f"{in_bytes(memory.activations)} for {memory.images} images of {memory.side} pixels"
    )


def memory_doubt(memory: Memory, available: int, smaller: Callable[[int], Memory]) -> str | None:
    """Return in one line that a batch does not fit, and the ways out; None where it does.

    Args:
        memory: What the fit takes.
        available: Bytes of the device.
        smaller: Gives what it takes with so many images in a batch.
    """
    if memory.total <= available:
        return None
    needed, there = in_bytes(memory.total), in_bytes(available)
    line = f"memory: about {needed} where there are {there}. {LESS_MEMORY_TO_TRAIN}"
    images, parts = memory.images or 1, 1
    while images % 2 == 0:
        images, parts = images // 2, parts * 2
        taken = smaller(images)
        if taken.total <= available:
            return (
                f"{line} With data.batch_size {images} and trainer.accumulate_grad_batches {parts}: about "
                f"{in_bytes(taken.total)}."
            )
    return line


def trained(module: LightningModule) -> int:
    """Return how many parameters are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def moments(trainer: Trainer) -> int:
    """Return how many values an optimizer keeps for each parameter: Adam and its kin keep two."""
    return max((2 if "betas" in optimizer.defaults else 1 for optimizer in trainer.optimizers), default=0)


def _count(number: int) -> str:
    return f"{number / 1e6:,.1f} M" if number >= 1e5 else f"{number:,}"


def in_bytes(number: float) -> str:
    """Return a number of bytes in words."""
    return f"{number / 1e9:,.1f} GB" if number >= 1e9 else f"{number / 1e6:,.1f} MB"
