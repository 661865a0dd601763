"""`keyface benchmark gpu`: what a GPU has to tell within minutes."""

from __future__ import annotations

from pathlib import Path


def gpu(
    minutes: float = 10.0,
    output: Path = Path("gpu"),
    json: bool = False,
    dry_run: bool = False,
    device: str | None = None,
) -> None:
    """Measure on a GPU what nothing else can tell: correctness, speed and memory at full size.

    Against the CPU: attention processors, alignment, small edits, smaller batches when memory runs out. At
    Stable Diffusion 2.1's shapes, with random weights: clips of 300 frames in each way (the paper's Table 2),
    a training step of each branch, U-Net, autoencoder and attention by precision. Then the tests that are
    marked gpu, from a checkout. What is worth most comes first, and what no longer fits is left out. Results
    are saved after each section; the same command goes on where it stopped.

    Args:
        minutes: Nothing is begun that would not be done by then.
        output: Folder of the results, gpu.json.
        json: Print the results as JSON, and nothing else on stdout.
        dry_run: Run all of it on the CPU with shrunk shapes, in about a minute.
        device: Where; the first GPU if not given.

    Raises:
        ValueError: There is no GPU, or the folder has the results of another one.
    """
    import time

    import torch

    from keyface.benchmark.gpu.bench import Bench
    from keyface.benchmark.gpu.runner import FILE, rows_of, run
    from keyface.commands.console import print_json, table
    from keyface.diffusion.device import choose_device
    from keyface.progress import say

    if minutes <= 0:
        raise ValueError(f"--minutes {minutes:g}: more than 0, please")
    place = choose_device("cpu" if dry_run else device)
    if place.type != "cuda" and not dry_run:
        raise ValueError("there is no GPU here; --dry-run tries all of it on the CPU, with shrunk shapes")
    bench = Bench(place, dry_run, time.monotonic() + 60 * minutes)
    if bench.on_gpu:
        torch.cuda.set_device(bench.device)
    found = run(bench, output, say)
    if json:
        print_json(found)
    else:
        print(table(rows_of(found)))
    say(f"written: {output / FILE}")
