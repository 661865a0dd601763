"""What the branches share: the step that is measured, clipping, steps left out, and what is logged."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh

from keyface.diffusion.backbone import Backbone
from keyface.lightning_modules.branch import Losses, StepInputs
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.tuning.lora import Tuning
from keyface.lightning_modules.tuning.sharding import is_sharded


class Noting(IdentityModule):
    """Gives the losses that it is told, and notes what it hands on."""

    may_lack_losses = True
    given: Losses | None = None
    noted: Any

    def losses(self, batch: dict[str, Any], generator: torch.Generator) -> Losses | None:
        return self.given

    def rehearse(self, inputs: StepInputs) -> Tensor:
        self.noted = [(tuple(value.shape), value.dtype) for value in inputs]
        return super().rehearse(inputs)

    def clip_gradients(self, *words: Any, **_: Any) -> None:
        self.noted = words

    def skip_step(self, loss: Tensor | None = None) -> None:
        self.noted = loss

    def log_dict(self, *words: Any, **options: Any) -> None:
        (values,) = words
        self.noted = ({name: float(value) for name, value in values.items()}, options)


def noting(backbone: Backbone, recognizer: nn.Module, agree: bool = True, scaler: object = None) -> Any:
    """Return a module in a training of two processes, of which the other one agrees or does not."""
    module: Any = Noting(backbone, recognizer, tuning=Tuning(ema_decay=None))

    def decide(decision: bool, all: bool) -> bool:
        assert isinstance(decision, bool)
        return decision and agree

    module._trainer = SimpleNamespace(
        precision_plugin=SimpleNamespace(scaler=scaler),
        strategy=SimpleNamespace(reduce_boolean_decision=decide),
        world_size=2,
        global_rank=0,
    )
    return module


def test_the_measured_step_has_the_shapes_of_a_batch(backbone: Backbone, recognizer: nn.Module) -> None:
    module: Any = Noting(backbone, recognizer, tuning=Tuning(ema_decay=None))
    module.step_memory(3, 32)
    shapes = [(3, 3, 32, 32), (3, 4, 16, 16), (3,), (3, 12, 16), (3, 5, 2)]
    types = [torch.float32, torch.float32, torch.int64, torch.float32, torch.float32]
    assert module.noted == list(zip(shapes, types, strict=True))


def test_no_buffer_of_a_frozen_network_is_sent_at_every_step(backbone: Backbone) -> None:
    class Normalized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.normalize = nn.BatchNorm1d(2)

    module: Any = IdentityModule(backbone, Normalized())
    frozen = {name for name, _ in module.named_buffers() if name.startswith("frozen.")}
    assert sum("normalize" in name for name in frozen) == 3
    assert set(module._ddp_params_and_buffers_to_ignore) == frozen


def test_decoding_image_by_image_has_the_same_gradient(backbone: Backbone, recognizer: nn.Module) -> None:
    latents = torch.randn(3, 4, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for checkpointing in (False, True):
        tuning = Tuning(ema_decay=None, gradient_checkpointing=checkpointing)
        decoded = IdentityModule(backbone, recognizer, tuning=tuning).decode(latents)
        found.append((decoded, *torch.autograd.grad(decoded.square().sum(), latents)))
    for whole, singly in zip(*found, strict=True):
        torch.testing.assert_close(singly, whole, rtol=1e-4, atol=1e-4)


@pytest.fixture
def process() -> Iterator[None]:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process")
def test_what_is_trained_is_spread_over_the_processes_of_the_data(
    backbone: Backbone, recognizer: nn.Module
) -> None:
    module: Any = IdentityModule(backbone, recognizer, tuning=Tuning(ema_decay=None))
    module.configure_model()
    assert not is_sharded(module.unet)
    assert module.strict_loading
    mesh = init_device_mesh("cpu", (1, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    module._device_mesh = mesh
    module.configure_model()
    assert is_sharded(module.unet)
    assert not module.strict_loading
    (weight, *_) = module.trained_parameters()
    assert weight.device_mesh.mesh_dim_names == ("data_parallel",)


@pytest.mark.parametrize(
    ("fused", "scaler", "value", "algorithm", "here"),
    [
        (True, None, 0.5, None, True),
        (True, None, 0.5, "norm", True),
        (True, None, 0.5, "value", False),
        (True, None, None, None, False),
        (True, object(), 0.5, None, False),
        (False, None, 0.5, None, False),
    ],
)
def test_a_fused_optimizer_is_clipped_here_where_nothing_scales_gradients(
    backbone: Backbone,
    recognizer: nn.Module,
    fused: bool,
    scaler: object,
    value: float | None,
    algorithm: str | None,
    here: bool,
) -> None:
    module = noting(backbone, recognizer, scaler=scaler)
    parameters = module.trained_parameters()
    optimizer = torch.optim.AdamW(parameters, fused=fused)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    module.configure_gradient_clipping(optimizer, value, algorithm)
    total = sum(parameter.numel() for parameter in parameters)
    norm = float(torch.stack([parameter.grad.norm() for parameter in parameters]).norm())
    assert norm == pytest.approx(0.5 if here else total**0.5, rel=1e-3)
    if not here:
        assert module.noted == (optimizer, value, algorithm)


@pytest.mark.parametrize("loss", [None, 2.0])
def test_a_step_that_another_process_lacks_is_left_out(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any], loss: float | None
) -> None:
    module = noting(backbone, recognizer, agree=False)
    module.given = None if loss is None else Losses({"loss": torch.tensor(loss)}, 2)
    assert module.training_step(batch, 0) is None
    assert module.noted == loss
    assert module.losses_by_image is None
    assert module.samples_seen == 4  # two images in each of two processes
    del module.noted
    module.on_after_backward()
    assert not hasattr(module, "noted")


def test_steps_and_validations_are_logged_by_the_images_that_took_part(
    backbone: Backbone, recognizer: nn.Module, batch: dict[str, Any]
) -> None:
    module = noting(backbone, recognizer)
    module.timesteps = torch.tensor([7])
    module.given = Losses({"loss": torch.tensor(2.0), "part": torch.tensor(3.0)}, 1, torch.tensor([5.0]))
    loss = module.training_step(batch, 0)
    assert loss == 2
    module.on_before_backward(loss)
    module.on_after_backward()
    assert module.noted == ({"train/loss": 2, "train/part": 3}, {"prog_bar": True, "batch_size": 1})
    found = module.losses_by_image
    assert (found.timesteps.tolist(), found.losses.tolist(), found.total) == ([7], [5.0], 1000)
    module.validation_step(batch, 0)
    assert module.noted == ({"val/loss": 2, "val/part": 3}, {"batch_size": 1, "sync_dist": True})
