"""`keyface miniature train`: the training of the miniature's networks in a given time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path


def train(
    output: Path = Path("runs/miniature-networks"),
    minutes: float = 60.0,
    stages: str | None = None,
    shares: dict[str, float] | None = None,
    from_packaged: bool = False,
    shards: Path | None = None,
    checkpoints: float = 2.0,
    device: str | None = None,
    restart: bool = False,
    *,
    lightning: Callable[[Sequence[str]], int],
) -> None:
    """Train all of the miniature's networks in a given time, one after the other.

    Each stage is a `lightning fit` by its config in configs/miniature, whose learning rate reaches its end
    when its share of the time is over. Killed anywhere, the same command goes on with the stage and the step
    of the last checkpoint. The networks are in `weights` of the output, laid out like those that come with
    keyface; `miniature:FOLDER` names them where a config takes `miniature`.

    Less than 5 minutes, on a GPU less than one, are a dry run: all parts run, and the networks are good for
    nothing.

    Args:
        output: Folder for everything.
        minutes: Time of all stages together, whatever they are interrupted by.
        stages: Only these, separated by commas, as in base,clip; what they need beside each other comes from
            the output, or from the packaged networks.
        shares: Parts of the time that differ, as in '{base: 0.6, clip: 0.1}'; only the ratios count.
        from_packaged: Begin with the packaged networks where names and shapes are the same. A branch always
            begins with the base.
        shards: Folder that `keyface shards render` wrote, of the base's size, for the branches, which
            otherwise get their own.
        checkpoints: Minutes between checkpoints.
        device: cpu, cuda, or auto; on a GPU where there is one if not given.
        restart: Begin anew, and forget what an unfinished run did.
        lightning: Runs a `lightning` command line and returns its exit status.
    """
    import shutil

    import torch

    from keyface.commands.console import table
    from keyface.diffusion.device import choose_device
    from keyface.miniature_training import run, tables
    from keyface.miniature_training.overlay import Machine

    if not 0 < checkpoints < float("inf"):
        raise ValueError(f"--checkpoints is {checkpoints}, it must be above 0")
    names = None if stages is None else [name.strip() for name in stages.split(",") if name.strip()]
    request = run.Request(output, minutes, names, shares, from_packaged, shards)
    request.settings()
    chosen = choose_device(device, "--device")
    gpu, compiler = chosen.type == "cuda", shutil.which("cc") or shutil.which("gcc")
    if gpu:
        torch.set_float32_matmul_precision("high")
    record = run.open_record(request, restart, chosen)
    print(table(tables.plan_rows(record.settings["shares"], 60 * minutes, chosen.type)), flush=True)
    machine = Machine(gpu, 60 * checkpoints, compiler is not None, from_packaged, shards)
    run.run(record, output, machine, lightning)
    print(f"\n{table(tables.result_rows(record.results))}\n\n{output / 'weights'}")
