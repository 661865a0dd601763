"""Learning-rate schedules that a config can name, over a number of steps or a length of time."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

BY_TIME = -1
"""`total_steps` of a run that time limits instead; Lightning says so of `trainer.max_steps`."""


class Schedule(LambdaLR):
    """Base of the schedules; a subclass says the rate in `factor`.

    One step of it is one step of the optimizer. Where time limits the run, its clock (the callback
    `keyface.callbacks.time_limit.TimeLimit`) sets `fraction` before each optimizer step. It is part of the
    state that checkpoints hold, so a run that is resumed goes on with the rate that it would have had.

    Attributes:
        total_steps: Step at which the end is reached; `BY_TIME`: when the time is over.
        fraction: Part of the time that is over, in [0, 1]; None until it is set.

    Args:
        optimizer: Its learning rate is the highest.
        total_steps: See above.
    """

    fraction: float | None

    def __init__(self, optimizer: Optimizer, total_steps: int) -> None:
        self.total_steps = total_steps
        self.fraction = None
        super().__init__(optimizer, self.factor)

    def factor(self, step: int) -> float:
        """Return the multiple of the learning rate that the step `step` (from 0) is taken with."""
        raise NotImplementedError(f"{type(self).__name__} must say its rate")

    def over(self, step: int) -> float:
        """Return which part of the time is over before a step of a run that time limits.

        Raises:
            ValueError: Nothing limits the run.
        """
        if self.fraction is None and step > 0:
            raise ValueError(
                "trainer.max_steps is -1 and no time is set; give a number of steps, or add the callback "
                "keyface.callbacks.time_limit.TimeLimit"
            )
        return self.fraction or 0.0


class WarmupCosine(Schedule):
    """Linear warm-up, a flat part, then half a cosine.

    Args:
        optimizer: Its learning rate is the flat part's.
        total_steps: Step at which the end is reached; `${trainer.max_steps}` in a config. With -1 it is
            reached when the time is over, see `Schedule`.
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
        if (total_steps < 1 and total_steps != BY_TIME) or not 0 <= warmup <= 1 or not 0 <= flat <= 1:
            raise ValueError(
                "a schedule needs at least one step (or -1: as long as the time lasts) and fractions in "
                f"[0, 1]; total_steps is {total_steps}, warmup {warmup}, flat {flat}"
            )
        self.warmup, self.flat = warmup, flat
        self.warmup_steps = round(warmup * total_steps)
        self.decay_from = max(self.warmup_steps, round(flat * total_steps))
        self.final = final
        super().__init__(optimizer, total_steps)

    def factor(self, step: int) -> float:
        """Return the multiple of the learning rate that the step `step` (from 0) is taken with."""
        if self.total_steps == BY_TIME:
            over, start = self.over(step), max(self.warmup, self.flat)
            if over < self.warmup:
                return over / self.warmup
            return self._decayed((over - start) / max(1e-9, 1 - start))
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        return self._decayed((step - self.decay_from) / max(1, self.total_steps - self.decay_from))

    def _decayed(self, progress: float) -> float:
        """Return the factor when such a part of the decay is over; before it begins, below 0, it is 1."""
        progress = min(1.0, max(0.0, progress))
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * progress))


class WarmupLinear(Schedule):
    """Linear warm-up, a flat part, then a linear fall to zero.

    Args:
        optimizer: Its learning rate is the flat part's.
        total_steps: Step at which zero is reached; with -1 it is when the time is over, see `Schedule`.
        warmup: Steps of the warm-up; where time limits the run, at most `longest_warmup` of the time.
        flat: Fraction of the run, warm-up included, before the fall begins.
    """

    longest_warmup = 0.05
    """Fraction of a run by time after which the highest rate is reached, however few steps were taken."""

    def __init__(self, optimizer: Optimizer, total_steps: int, warmup: int = 200, flat: float = 0.6) -> None:
        self.warmup, self.flat = warmup, flat
        super().__init__(optimizer, total_steps)

    def factor(self, step: int) -> float:
        """Return the multiple of the learning rate that the step `step` (from 0) is taken with."""
        over = self.over(step) if self.total_steps == BY_TIME else step / self.total_steps
        rise = (step + 1) / max(1, self.warmup)
        if self.total_steps == BY_TIME:
            rise = max(rise, over / self.longest_warmup)
        elif step < self.warmup:
            return rise
        return min(rise, 1.0, max(0.0, (1 - over) / max(1e-9, 1 - self.flat)))
