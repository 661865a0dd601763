"""What is trained, in which order, and which part of the time each gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from keyface.configuration import did_you_mean


@dataclass(frozen=True)
class OnGpu:
    """Options of a stage that hold on a GPU only.

    Attributes:
        batch_size: Samples a batch; None keeps the config's.
        precision: Lightning's name of it; None keeps the config's.
        channels_last: See `keyface.callbacks.acceleration.Accelerate`.
        compiled: Submodules that are compiled, where the stage is long enough for it to pay.
        data: Further arguments of its data.
    """

    batch_size: int | None = None
    precision: str | None = None
    channels_last: bool = False
    compiled: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One fit, by a shipped config, that ends in one network.

    Attributes:
        name: As `--stages` says it; also its folder in the output, but for those of the autoencoder.
        config: In `configs/miniature`.
        share: Part of the time that it gets; only the ratios count.
        needs: Stages that its network is made for, or from.
        networks: Networks in the module → where their weights lie in the output, for a training that begins
            with earlier ones; a branch begins with the base as it is.
        average: Final decay of the moving average of the weights; None: there is none.
        figures: Validation figures that tell most, as the card names them.
        branch: Whether it is ε1 or ε2, which take their networks by name.
        shards: Whether it reads shards of rendered faces.
        on_gpu: What is different on a GPU.
    """

    name: str
    config: str
    share: float
    needs: tuple[str, ...] = ()
    networks: Mapping[str, str] = field(default_factory=dict)
    average: float | None = None
    figures: tuple[str, ...] = ()
    branch: bool = False
    shards: bool = False
    on_gpu: OnGpu = OnGpu()

    @property
    def folder(self) -> str:
        """Return where the network lies in the output."""
        return "base/vae" if self.name in ("autoencoder", "decoder") else self.name


def _network(name: str, share: float, figures: tuple[str, ...], batch_size: int) -> Stage:
    """Return a stage whose module has one network, by the config of the same name."""
    gpu = OnGpu(batch_size=batch_size, channels_last=True)
    return Stage(
        name,
        f"{name}.yaml",
        share,
        networks={"network": name},
        figures=figures,
        on_gpu=gpu,
    )


STAGES: tuple[Stage, ...] = (
    Stage(
        "autoencoder",
        "autoencoder.yaml",
        0.12,
        networks={"network": "base/vae"},
        figures=("val/psnr",),
        on_gpu=OnGpu(batch_size=128, precision="bf16-mixed", channels_last=True),
    ),
    Stage(
        "base",
        "diffusion.yaml",
        0.3,
        needs=("autoencoder",),
        networks={"unet": "base/unet", "text_encoder": "base/text_encoder"},
        average=0.998,
        figures=("val/loss_t500", "val/loss_t900"),
        on_gpu=OnGpu(batch_size=256, precision="bf16-mixed", channels_last=True, compiled=("unet",)),
    ),
    Stage(
        "decoder",
        "decoder.yaml",
        0.04,
        needs=("base",),
        networks={"network": "base/vae"},
        average=0.99,
        figures=("val/psnr",),
        on_gpu=OnGpu(batch_size=96, precision="bf16-mixed", channels_last=True),
    ),
    Stage(
        "clip",
        "clip.yaml",
        0.08,
        networks={"network": "clip"},
        figures=("val/pair_accuracy",),
        # Pictures and batches as large as the base's: a renderer that is compiled then serves both.
        on_gpu=OnGpu(batch_size=256, channels_last=True, data={"size": 256}),
    ),
    _network("identity_network", 0.06, ("val/auc",), 128),
    _network("recognizer_vgg", 0.04, ("val/auc",), 128),
    _network("recognizer_convnext", 0.04, ("val/auc",), 128),
    _network("recognizer_inception", 0.04, ("val/auc",), 128),
    _network("attributes", 0.04, ("val/worst",), 128),
    _network("face_finder", 0.04, ("val/middles", "val/landmarks"), 24),
    Stage(
        "identity",
        "identity.yaml",
        0.04,
        needs=("base", "identity_network"),
        figures=("val/loss", "val/identity"),
        branch=True,
        shards=True,
        on_gpu=OnGpu(batch_size=64, data={"workers": 6}),
    ),
    Stage(
        "direction",
        "pairs.yaml",
        0.2,
        needs=("base", "clip", "identity"),
        figures=("val/pairs_changed", "val/edit_success"),
        branch=True,
        on_gpu=OnGpu(batch_size=32),
    ),
)
"""All stages in their order: what a stage needs comes before it."""

BY_NAME: Mapping[str, Stage] = {stage.name: stage for stage in STAGES}

SHARDS_SHARE = 0.02
"""Part of the time in which faces are rendered into shards, before the first stage that reads them."""


def choose(names: Sequence[str] | None) -> list[Stage]:
    """Return the named stages in the order of training; all where none is named.

    Raises:
        ValueError: There is no such stage, or one needs a stage that would be left as it is although what
            that one needs is trained anew.
    """
    if names is None:
        return list(STAGES)
    unknown = [name for name in names if name not in BY_NAME]
    if unknown or not names:
        said = (
            f"{unknown[0]!r} is none{did_you_mean(unknown[0], tuple(BY_NAME))}" if unknown else "none named"
        )
        raise ValueError(f"--stages: {said}; there are {', '.join(BY_NAME)}")
    chosen = [stage for stage in STAGES if stage.name in names]
    for stage in chosen:
        for need in stage.needs:
            if need not in names and outdated(BY_NAME[need], names):
                changed = [each for each in all_needs(BY_NAME[need]) if each in names]
                raise ValueError(
                    f"--stages: {stage.name} needs {need}, which does not fit any longer when {changed[0]} "
                    f"is trained anew; add {need}"
                )
    return chosen


def all_needs(stage: Stage) -> list[str]:
    """Return the names of all that a stage needs, and of what those need."""
    return [name for need in stage.needs for name in (need, *all_needs(BY_NAME[need]))]


def outdated(stage: Stage, trained: Sequence[str]) -> bool:
    """Say whether a stage's network does not fit any longer when these are trained anew."""
    return any(need in trained for need in all_needs(stage))
