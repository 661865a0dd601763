"""The run itself: each stage as an ordinary fit, one after the other, from wherever it was left."""

import gc
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from keyface.callbacks.time_limit import FILE as TIME_FILE
from keyface.datamodules.shard_files.index import ShardIndex
from keyface.datamodules.shard_files.render import RenderSettings, render_shards
from keyface.ending import end_as
from keyface.files import require_folder, write_text
from keyface.miniature import zoo
from keyface.miniature.population import world
from keyface.miniature.rendering import renderer
from keyface.miniature_training import output as places
from keyface.miniature_training.overlay import Machine, overlay, shipped
from keyface.miniature_training.record import FILE, Record
from keyface.miniature_training.shares import Sizes, next_seconds, shares_of
from keyface.miniature_training.stages import BY_NAME, Stage, choose
from keyface.miniature_training.tables import result_of
from keyface.progress import bar, say
from keyface.untrusted import read_json_object

Lightning = Callable[[Sequence[str]], int]


@dataclass(frozen=True)
class Request:
    """What is to be trained; see `keyface.commands.miniature.train.train`.

    Raises:
        ValueError: It does not fit together.
    """

    output: Path
    minutes: float
    stages: Sequence[str] | None
    shares: Mapping[str, float] | None
    from_packaged: bool
    shards: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.minutes < float("inf"):
            raise ValueError(f"--minutes is {self.minutes}, it must be above 0")
        require_folder(self.output)
        if self.shards is not None:
            ShardIndex.read(self.shards)
        foreign = self.output.is_dir() and any(self.output.iterdir())
        if foreign and not (self.output / FILE).is_file():
            raise ValueError(
                f"{self.output}: holds other files and no run ({FILE}); give another -o/--output"
            )

    def settings(self) -> dict[str, Any]:
        """Return what makes it the same run when it goes on, as JSON holds it."""
        shares = shares_of(choose(self.stages), self.shares, render=self.shards is None)
        return {
            "minutes": self.minutes,
            "shares": {name: round(share, 6) for name, share in shares.items()},
            "from_packaged": self.from_packaged,
            "shards": None if self.shards is None else str(self.shards.absolute()),
        }


def open_record(request: Request, restart: bool, device: torch.device) -> Record:
    """Return the record of the run that goes on, or of a new one.

    A run that is finished makes room for one with other settings, which takes the networks that are there.

    Args:
        request: What is asked for.
        restart: Begin anew whatever is there.
        device: On which it is trained.

    Raises:
        ValueError: An unfinished run has other settings.
    """
    settings = request.settings()
    found = None if restart else Record.read(request.output)
    if found is not None:
        differing = found.differences(settings)
        if not differing:
            return found
        if not found.finished():
            raise ValueError(
                f"{request.output}: an unfinished run has {'; '.join(differing)}. Finish it by its own "
                "command, give another -o/--output, or begin anew with --restart"
            )
    for name in settings["shares"]:
        shutil.rmtree(places.work_of(request.output, name), ignore_errors=True)
    sizes = Sizes.of(60 * request.minutes, pictures_a_second(device), device.type)
    record = Record(request.output / FILE, settings, sizes)
    record.write()
    return record


def pictures_a_second(device: torch.device, count: int = 8, size: int = 128) -> float:
    """Return how many pictures the renderer makes on a device, without being compiled."""
    faces = world.draw_faces(torch.arange(count), seed=0).to(device)
    renderer.render_images(faces[:1], size)  # the first call on a GPU loads its kernels
    began = time.perf_counter()
    renderer.render_images(faces, size).cpu()
    return count / (time.perf_counter() - began)


def run(record: Record, output: Path, machine: Machine, lightning: Lightning) -> None:
    """Train what is not trained yet, and note it in the record.

    Args:
        record: Of the run.
        output: Its folder.
        machine: Where it runs.
        lightning: Runs a `lightning` command line and returns its exit status.

    Raises:
        ValueError: A stage failed; its own message was told before.
    """
    shares, weights = record.settings["shares"], places.weights_of(output)
    trained = [name for name in shares if name in BY_NAME]
    places.fill(weights, trained)
    if old := places.left_behind(weights, trained):
        say(f"{weights}: {', '.join(old)} stay as they are, made for networks that are replaced now")
    overheads = [record.used[name] - record.results[name]["seconds"] for name in record.used]
    for number, name in enumerate(shares, start=1):
        if name in record.used:
            places.restore(output, weights, name)
            continue
        total = 60 * record.settings["minutes"]
        if name not in record.seconds:
            record.seconds[name] = next_seconds(name, shares, total, record.used, overheads)
            record.write()
        seconds = record.seconds[name]
        print(f"\n[{number}/{len(shares)}] {name}: {seconds / 60:.2f} minutes", flush=True)
        began = time.perf_counter()
        if name == "shards":
            result = _render(output, record.sizes, machine)
        else:
            result = _fit(BY_NAME[name], output, seconds, record.sizes, machine, lightning)
        record.results[name] = result
        record.used[name] = max(time.perf_counter() - began, result["seconds"])
        record.write()
        overheads.append(record.used[name] - result["seconds"])
        gc.collect()
        if machine.gpu:
            torch.cuda.empty_cache()


def _fit(
    stage: Stage, output: Path, seconds: float, sizes: Sizes, machine: Machine, lightning: Lightning
) -> dict[str, Any]:
    """Fit one stage, from its newest checkpoint if there is one, and put its network among the weights."""
    folder = places.work_of(output, stage.name)
    config = folder / "stage.yaml"
    # One file: the command line would import the shipped callbacks, of which the stage has none.
    whole = OmegaConf.merge(OmegaConf.load(shipped(stage)), overlay(stage, output, seconds, sizes, machine))
    write_text(config, OmegaConf.to_yaml(whole))
    words = ["fit", "-c", str(config)]
    words += ["--runs", str(folder.parent), "--experiment", stage.name]
    checkpoint = places.newest_checkpoint(output, stage)
    if checkpoint is not None:
        print(f"      goes on from {checkpoint}", flush=True)
        words += ["--ckpt_path", str(checkpoint)]
    status = lightning(words)
    end_as(status)
    if status != 0:
        raise ValueError(
            f"the stage {stage.name} failed, its message is above; the same command goes on from there"
        )
    weights = places.weights_of(output)
    export = places.newest_export(output, stage)
    places.install(export, weights, stage)
    trained = read_json_object(places.newest(folder.glob(f"*/{TIME_FILE}")))["seconds"]
    card, size = places.read_card(export), places.megabytes(export)
    return result_of(stage, card, trained, size)


def _render(output: Path, sizes: Sizes, machine: Machine) -> dict[str, Any]:
    """Render the shards that ε1 and ε2 read, in the size of the base's pictures."""
    began = time.perf_counter()
    size = zoo.backbone(places.weights_of(output)).image_size
    settings = RenderSettings(sizes.shards, size, samples_per_shard=max(8, sizes.shards // 8))
    folder = places.work_of(output, "shards")
    with bar("render shards", sizes.shards, "face") as advance:
        device = torch.device("cuda" if machine.gpu else "cpu")
        index = render_shards(folder, settings, progress=advance, device=device)
    seconds = round(time.perf_counter() - began, 1)
    return {
        "pictures": index.samples,
        "seconds": seconds,
        "MB": round(places.megabytes(folder), 2),
        "figures": {},
    }
