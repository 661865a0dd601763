"""Time: which stage gets how much of it, and how many faces can be rendered in it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from keyface.configuration import did_you_mean
from keyface.miniature_training.stages import BY_NAME, SHARDS_SHARE, Stage

SHORTEST = 1.0
"""Seconds that each stage gets, whatever the others took."""

DRY_RUN = {"cpu": 300.0, "cuda": 60.0}
"""By device: a run of fewer seconds shows that all works. Its batches are small, its networks good for
nothing."""

OVERHEAD = 2.0
"""Seconds beside the training that a stage is thought to take (reading, rendering, validation, export) until
the first one has shown how many it were."""


def shares_of(
    stages: Sequence[Stage], changed: Mapping[str, float] | None = None, render: bool = True
) -> dict[str, float]:
    """Return each stage's part of the whole time; they add up to 1. Shards come before what reads them.

    Args:
        stages: In their order.
        changed: Stage → share in place of its own; only the ratios count.
        render: Whether shards are rendered.

    Raises:
        ValueError: A share is not above 0, or of no stage that is trained.
    """
    changed = changed or {}
    known = tuple(stage.name for stage in stages)
    for name, share in changed.items():
        if name not in BY_NAME:
            raise ValueError(f"--shares: {name!r} is no stage{did_you_mean(name, tuple(BY_NAME))}")
        if name not in known:
            raise ValueError(f"--shares: {name} is not among the --stages ({', '.join(known)})")
        if not 0 < share < float("inf"):
            raise ValueError(f"--shares: {name} is {share}, it must be above 0")
    found: dict[str, float] = {}
    for stage in stages:
        if stage.shards and render:
            found.setdefault("shards", SHARDS_SHARE)
        found[stage.name] = changed.get(stage.name, stage.share)
    whole = sum(found.values())
    return {name: share / whole for name, share in found.items()}


def next_seconds(
    name: str,
    shares: Mapping[str, float],
    total: float,
    used: Mapping[str, float],
    overheads: Sequence[float],
) -> float:
    """Return how long the next stage may train, from what is left of the time.

    What a stage took too long is taken from all that follow, what it left is given to them, so that the whole
    takes as long as it was asked to. The time that each stage needs beside its training is set aside.

    Args:
        name: The stage.
        shares: Of all stages.
        total: Seconds of the whole run.
        used: Finished stage → seconds that it took in all.
        overheads: Seconds that finished stages took beside their training.
    """
    left = {each: share for each, share in shares.items() if each not in used}
    beside = sum(overheads) / len(overheads) if overheads else OVERHEAD
    training = total - sum(used.values()) - beside * len(left)
    return max(SHORTEST, training * left[name] / sum(left.values()))


@dataclass(frozen=True)
class Sizes:
    """How much is rendered, decided once for a run, so that it goes on with the same data.

    Attributes:
        held_out: People in the pictures that networks are validated on.
        component_images: Pictures for the principal components of the autoencoder.
        sprites: People in the scenes of the face finder.
        shards: Faces in the shards of the branches.
        compiled: Whether the renderer is compiled.
        batch_size: Samples a batch at most; None: as the configs say.
        val_batches: Batches of a validation at most; None: as the configs say.
    """

    held_out: int
    component_images: int
    sprites: int
    shards: int
    compiled: bool
    batch_size: int | None
    val_batches: int | None

    @classmethod
    def of(cls, seconds: float, pictures_a_second: float, device: str = "cpu") -> "Sizes":
        """Return what can be rendered in a small part of the time.

        Args:
            seconds: Of the whole run.
            pictures_a_second: Of the renderer, not compiled, on this machine's device.
            device: cpu or cuda.
        """
        compiled = seconds * pictures_a_second * RENDER_SHARE > COMPILING_PAYS[device]
        speed = pictures_a_second * (COMPILED_SPEED if compiled else 1)

        def pictures(share: float, least: int, most: int, multiple: int = 1) -> int:
            return max(least, min(most, int(share * RENDER_SHARE * seconds * speed))) // multiple * multiple

        dry = seconds < DRY_RUN[device]
        # The renderer is compiled for each size of a batch: full ones of 32 pictures, 4 of each person.
        whole = 8 if compiled else 1
        return cls(
            held_out=pictures(0.1 / 8, 2, 64, whole),
            component_images=pictures(0.1, 32, 1024),
            sprites=pictures(0.1, 8, 1200),
            shards=pictures(0.2, 24, 10_000 if device == "cpu" else 4000),
            compiled=compiled,
            batch_size=4 if dry else None,
            val_batches=2 if dry else None,
        )


RENDER_SHARE = 0.15
"""Part of a run's time in which pictures are rendered that are not those of a training step."""

COMPILED_SPEED = 4.0
"""How many times as fast the compiled renderer is, at least."""

COMPILING_PAYS = {"cpu": 4000.0, "cuda": 400_000.0}
"""From so many pictures on, compiling the renderer pays: one to two minutes on a processor, more than
three on an H100."""
