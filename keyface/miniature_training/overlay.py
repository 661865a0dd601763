"""The config that is laid over a stage's shipped one: how long, with how much data, on which device."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

from keyface.miniature import zoo
from keyface.miniature_training.output import export_of, weights_of, work_of
from keyface.miniature_training.shares import Sizes
from keyface.miniature_training.stages import Stage
from keyface.untrusted import read_yaml

VALIDATE_EVERY = 300.0
"""Seconds between validations at least; the last one is at the end, whatever the length."""

COMPILED_FROM = 120.0
"""Seconds of a stage from which compiling its networks on a GPU may pay."""

WORKERS = 8
"""Processes that draw faces and write captions for a GPU."""

SHOWN_ON_GPU = {"reuse": 12, "pool": 96}
"""How often faces are shown on a GPU. An H100 renders about 900 pictures a second, not compiled, and
trains on several times as many; compiling the renderer took it more than three minutes."""

SCENES, RENDERED = "ScenesDataModule", "RenderedDataModule"
"""Classes of data whose sizes are set."""


@dataclass(frozen=True)
class Machine:
    """Where and how a run is trained.

    Attributes:
        gpu: Whether on a GPU.
        checkpoint_seconds: Time between checkpoints.
        compiled: Whether networks may be compiled, which needs a C compiler.
        from_packaged: Whether training begins with the packaged weights.
        shards: Faces for the branches; None: those that the run renders.
    """

    gpu: bool
    checkpoint_seconds: float
    compiled: bool = False
    from_packaged: bool = False
    shards: Path | None = None


def shipped(stage: Stage) -> Path:
    """Return the path of a stage's shipped config."""
    return Path(str(files("keyface.configs.miniature"))) / stage.config


def overlay(stage: Stage, output: Path, seconds: float, sizes: Sizes, machine: Machine) -> dict[str, Any]:
    """Return what is laid over a stage's shipped config, as YAML holds it.

    Args:
        stage: Which.
        output: Folder of the run.
        seconds: Length of its training.
        sizes: How much data.
        machine: Where it runs.
    """
    config = read_yaml(shipped(stage))
    trainer: dict[str, Any] = {
        "accelerator": "gpu" if machine.gpu else "cpu",
        "max_steps": -1,
        "max_epochs": -1,
        "val_check_interval": _clock(max(VALIDATE_EVERY, seconds / 4)),
        "check_val_every_n_epoch": None,
        "enable_model_summary": False,
        "callbacks": _callbacks(stage, output, seconds, machine),
    }
    if sizes.val_batches is not None:
        trainer |= {"limit_val_batches": sizes.val_batches, "log_every_n_steps": 1}
    if machine.gpu and stage.on_gpu.precision is not None:
        trainer["precision"] = stage.on_gpu.precision
    return {
        "model": {"init_args": _model(stage, output, sizes)},
        "data": {"init_args": _data(stage, config["data"], output, sizes, machine)},
        "trainer": trainer,
    }


def _model(stage: Stage, output: Path, sizes: Sizes) -> dict[str, Any]:
    weights = weights_of(output)
    if stage.name == "autoencoder":
        return {"component_images": sizes.component_images}
    if stage.name == "base":
        return {"autoencoder": str(weights / "base" / "vae")}
    if stage.name == "decoder":
        return {"base": str(weights / "base")}
    if not stage.branch:
        return {}
    name = f"miniature:{weights}"
    if stage.name == "identity":
        return {"backbone": name, "identity_network": name, "evaluators": name}
    return {
        "backbone": name,
        "encoder": name,
        "evaluators": name,
        "paired": {"identity": str(weights / "identity")},
    }


def _data(
    stage: Stage, data: Mapping[str, Any], output: Path, sizes: Sizes, machine: Machine
) -> dict[str, Any]:
    """Return the arguments of the data that differ from the shipped config's."""
    kind = data["class_path"].rpartition(".")[2]
    found: dict[str, Any] = {}
    gpu, shards = machine.gpu, machine.shards
    if stage.shards:
        found["shards"] = str(shards or work_of(output, "shards"))
        if sizes.shards < 1000:  # a tenth of few faces may be none
            found["val_fraction"] = 0.3
    elif kind == SCENES:
        found |= {"identities": sizes.sprites, "held_out": max(4, sizes.sprites // 12)}
    elif kind == RENDERED:
        found |= {"held_out": sizes.held_out, "compiled": sizes.compiled}
    batch_size = stage.on_gpu.batch_size if gpu else None
    if sizes.batch_size is not None:
        batch_size = sizes.batch_size
    if kind == RENDERED and gpu and batch_size is not None:
        sides = 1 + bool(data["init_args"].get("pairs", False))
        found |= {"chunk": sides * batch_size, "workers": WORKERS, "tokens": True, **SHOWN_ON_GPU}
    if gpu:
        found |= stage.on_gpu.data
    return found if batch_size is None else {**found, "batch_size": batch_size}


def _callbacks(stage: Stage, output: Path, seconds: float, machine: Machine) -> list[dict[str, Any]]:
    """Return the callbacks of a stage; they stand in for those of its shipped config."""
    found = [_callback("keyface.callbacks.time_limit.TimeLimit", seconds=seconds)]
    found.append(_callback("keyface.callbacks.random_state.RandomState"))
    goes_on = stage.name == "decoder"  # with the autoencoder of this very run
    if stage.networks and (machine.from_packaged or goes_on):
        place = weights_of(output) if goes_on else zoo.WEIGHTS
        folders = {name: str(place / folder) for name, folder in stage.networks.items()}
        found.append(_callback("keyface.callbacks.initial.InitialWeights", weights=folders))
    if stage.average is not None:
        found.append(_callback("keyface.callbacks.averaging.MovingAverage", decay=stage.average))
    if machine.gpu:
        pays = machine.compiled and seconds >= COMPILED_FROM
        found.append(
            _callback(
                "keyface.callbacks.acceleration.Accelerate",
                channels_last=stage.on_gpu.channels_last,
                compiled=list(stage.on_gpu.compiled) if pays else [],
            )
        )
    if not stage.branch:  # a branch exports by itself
        export = str(export_of(output, stage))
        found.append(_callback("keyface.callbacks.export.ExportNetwork", folder=export))
    interval = str(timedelta(seconds=machine.checkpoint_seconds))
    saved = {"train_time_interval": interval, "save_top_k": 1, "save_on_exception": True}
    found.append(_callback("keyface.cli.runs.RunCheckpoint", **saved))
    return found


def _callback(class_path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": class_path, "init_args": init_args}


def _clock(seconds: float) -> str:
    """Return a length of time as Lightning reads it.

    Example:
        >>> _clock(90061)
        '01:01:01:01'
    """
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    return f"{days:02d}:{hours:02d}:{minutes:02d}:{seconds:02d}"
