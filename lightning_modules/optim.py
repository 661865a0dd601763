"""Learning-rate schedules that a config can name."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class WarmupCosine(LambdaLR):
    """Linear warm-up, a flat part, then half a cosine; one step of it is one step of the optimizer.

    Args:
        optimizer: Its learning rate is the flat part's.
        total_steps: Step at which the end is reached; `${trainer.max_steps}` in a config.
        warmup: Fraction of the run in which the rate rises from 0.
        flat: Fraction of the run, warm-up included, before the decay begins; 0: right after the warm-up.
        final: Fraction of the learning rate that is left at the end.

    Example:
        In a config, `lr_scheduler: {class_path: keyface.lightning_modules.optim.WarmupCosine, …}`.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        warmup: float = 0.0,
        flat: float = 0.0,
        final: float = 0.0,
    ) -> None:
        if total_steps < 1 or not 0 <= warmup <= 1 or not 0 <= flat <= 1:
            raise ValueError(
                f"a schedule needs at least one step and fractions in [0, 1]; total_steps is {total_steps}, "
                f"warmup {warmup}, flat {flat}"
            )
        self.total_steps = total_steps
        self.warmup_steps = round(warmup * total_steps)
        self.decay_from = max(self.warmup_steps, round(flat * total_steps))
        self.final = final
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Return the multiple of the learning rate that the step `step` (from 0) is taken with."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if step < self.decay_from:
            return 1.0
        progress = min(1.0, (step - self.decay_from) / max(1, self.total_steps - self.decay_from))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))
