"""Learning-rate schedules that a config can name."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Linear warm-up, a flat part, then half a cosine; one step of it is one step of the optimizer.

    Args:
        optimizer: Its learning rate is the flat part's.
        total_steps: Step at which the end is reached.
        warmup_steps: Length of the rise from 0.
        flat: Fraction of the run, warm-up included, before the decay begins; 0: right after the warm-up.
        final: Fraction of the learning rate that is left at the end.

    Example:
        In a config, ``lr_scheduler: {class_path: keyface.lightning_modules.optim.WarmupCosine, …}``.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup_steps: int = 0,
        flat: float = 0.0,
        final: float = 0.0,
    ) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(
                f"warmup_steps is {warmup_steps}; it must be less than total_steps, {total_steps}"
            )
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.decay_from = max(warmup_steps, round(flat * total_steps))
        self.final = final
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Multiple of the learning rate that the step ``step`` (from 0) is taken with."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if step < self.decay_from:
            return 1.0
        progress = min(1.0, (step - self.decay_from) / max(1, self.total_steps - self.decay_from))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
