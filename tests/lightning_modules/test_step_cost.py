"""What a training step costs beside its arithmetic: memory, recomputation, waiting, sending."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from diffusers.models.resnet import ResnetBlock2D
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch._guards import detect_fake_mode
from torch.nn.parallel import DistributedDataParallel
from torch.optim import AdamW
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from keyface.benchmark.training.networks import build_module
from keyface.benchmark.training.request import TrainRequest
from keyface.diffusion.backbone import Backbone
from keyface.diffusion.device import placed
from keyface.lightning_modules.branch import BranchModule
from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.objectives.regional import Regional
from keyface.lightning_modules.objectives.targets import draw_edits
from keyface.lightning_modules.sampling import NoisyInput
from keyface.lightning_modules.tuning.lora import Lora, Tuning
from keyface.lightning_modules.tuning.memory import without_values

pytestmark = [
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
    pytest.mark.filterwarnings("ignore:`training_step` returned `None`"),
]

BRANCHES = ("identity", "direction")
CACHED = NoisyInput("cached")


def branch(name: str, backbone: Backbone, network: nn.Module, **tuning: Any) -> BranchModule:
    """A branch that learns from cached latents, in two steps with gradient."""
    if name == "identity":
        return IdentityModule(backbone, network, noisy_input=CACHED, unroll_steps=2, tuning=Tuning(**tuning))
    return DirectionModule(
        backbone,
        network,
        categories=["glasses"],
        noisy_input=CACHED,
        generation_steps=2,
        gradient_steps=2,
        tuning=Tuning(**tuning),
    )


@pytest.fixture(params=BRANCHES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def network(name: str, recognizer: nn.Module, encoder: nn.Module) -> nn.Module:
    return recognizer if name == "identity" else encoder


def gradients(module: BranchModule, batch: dict[str, Any]) -> dict[str, Tensor]:
    losses = module.train().losses(batch, torch.Generator().manual_seed(0))
    assert losses is not None
    losses.values["loss"].backward()  # type: ignore[no-untyped-call]
    return {n: p.grad for n, p in module.unet.named_parameters() if p.grad is not None}


def test_recomputing_changes_no_gradient(
    name: str, backbone: Backbone, network: nn.Module, cached: dict[str, Any]
) -> None:
    plain = gradients(branch(name, backbone, network), cached)
    again = gradients(branch(name, backbone, network, gradient_checkpointing=True), cached)
    assert plain.keys() == again.keys()
    largest = max(float(each.abs().max()) for each in plain.values())
    for key, value in plain.items():
        torch.testing.assert_close(again[key], value, rtol=1e-4, atol=1e-6 * largest)


def test_what_is_recomputed_is_computed_twice_and_not_three_times(
    name: str, backbone: Backbone, network: nn.Module, cached: dict[str, Any]
) -> None:
    counts: dict[str, int] = {}
    module = branch(name, backbone, network, gradient_checkpointing=True)
    for place, part in module.unet.named_modules():
        if isinstance(part, ResnetBlock2D):
            part.register_forward_pre_hook(
                lambda _, __, place=place: counts.update({place: counts.get(place, 0) + 1})
            )
    gradients(module, cached)
    assert max(counts.values()) == 2 * 2, "two steps, each computed once and once again"


class Largest:
    """Notes how many images a network is given at once."""

    def __init__(self) -> None:
        self.images: list[int] = []

    def __call__(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.images.append(len(inputs[0]))


def test_the_decoder_holds_one_image_at_a_time(
    name: str, backbone: Backbone, network: nn.Module, cached: dict[str, Any]
) -> None:
    module = branch(name, backbone, network, gradient_checkpointing=True)
    noted = Largest()
    backbone.vae.decoder.register_forward_pre_hook(noted)
    gradients(module, cached)
    assert noted.images == [1] * 4, "two images, each decoded once and once again"


def test_lora_stores_the_base_once(name: str, backbone: Backbone, network: nn.Module) -> None:
    module = branch(name, backbone, network, lora=Lora(rank=2))
    base = {each.data_ptr() for each in backbone.unet.parameters()}
    frozen = {each.data_ptr() for each in module.unet.parameters() if not each.requires_grad}
    assert frozen == base
    own = sum(each.numel() for each in module.trained_parameters())
    held = sum(each.numel() for each in module.parameters())
    others = (backbone.vae, backbone.text_encoder, backbone.unet, network)
    assert held == 2 * own + sum(each.numel() for part in others for each in part.parameters())


def test_a_base_that_no_step_runs_stays_where_it_is(
    name: str, backbone: Backbone, network: nn.Module
) -> None:
    """`meta` stands for the GPU: what a module holds is moved there."""
    module = branch(name, backbone, network).to("meta")
    assert {each.device.type for each in backbone.unet.parameters()} == {"cpu"}
    assert {each.device.type for each in module.parameters()} == {"meta"}


def test_a_base_that_steps_run_goes_along(
    backbone: Backbone, recognizer: nn.Module, encoder: nn.Module
) -> None:
    inverted = NoisyInput("inverted", steps=2)
    IdentityModule(backbone, recognizer, noisy_input=inverted).to("meta")
    assert backbone.unet.device.type == "meta"
    other = build_module(TrainRequest("direction", "full", "miniature", 1, 128, 1, "cpu"))
    DirectionModule(
        other.backbone, encoder, categories=["glasses"], noisy_input=CACHED, regional=Regional()
    ).to("meta")
    assert other.backbone.unet.device.type == "meta"


def test_a_network_is_lent_to_a_device_and_comes_back() -> None:
    network = nn.Linear(3, 3)
    with placed(network, torch.device("meta")):
        assert network.weight.device.type == "meta"


class Waits(TorchDispatchMode):
    """Notes copies between CPU and GPU that a program waits for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        result = func(*args, **given)
        name = str(func)
        if name in ("aten._to_copy.default", "aten.copy_.default"):
            source, target = (args[0], result) if "_to_copy" in name else (args[1], args[0])
            waits = not (given.get("non_blocking") or args[2:3] == (True,))
            if waits and source.device.type != target.device.type:
                self.found.append(f"{name} {tuple(source.shape)} to {target.device}")
        return result


def test_a_step_looks_at_no_value_on_the_gpu_and_waits_for_no_copy(
    name: str, backbone: Backbone, network: nn.Module, cached: dict[str, Any]
) -> None:
    """Forward and average run on tensors without values that say they are on a GPU.

    A look at a value, such as `.item()`, raises an error there.
    """
    module = branch(name, backbone, network, gradient_checkpointing=True).train()
    generator = torch.Generator().manual_seed(0)
    # Which edits are drawn, on the CPU, has values.
    chosen = draw_edits(cached, module.categories, generator) if isinstance(module, DirectionModule) else []
    without_values(module, "cuda")
    mode = detect_fake_mode([*module.parameters(), *module.buffers()])
    assert mode is not None
    # cuDNN's grid_sample is not known for tensors without values, torch's own is.
    with mode, torch.backends.cudnn.flags(enabled=False):
        there = {
            key: torch.empty_like(value, device="cuda") if isinstance(value, Tensor) else value
            for key, value in cached.items()
        }
        with Waits() as waits:
            if isinstance(module, DirectionModule):
                texts = module._encode(chosen)
                values, _ = module._direction_values(there, chosen, texts, there["latent"], generator)
            else:
                losses = module.losses(there, generator)
                assert losses is not None
                values = losses.values
            assert values["loss"].is_cuda
            assert values["loss"].requires_grad
            assert module.ema is not None
            for _ in range(2):
                module.ema.update(module.trained_parameters())
    assert waits.found == []


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[None]:
    """A group of one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meeting'}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_processes_send_no_frozen_buffers(backbone: Backbone, recognizer: nn.Module) -> None:
    """Batch norm's statistics of a frozen network never change; the average's count alone is sent."""
    with_statistics = nn.Sequential(recognizer, nn.BatchNorm1d(8))
    module = IdentityModule(backbone, with_statistics, noisy_input=CACHED)
    assert len(list(module.frozen.buffers())) >= 3
    wrapped = DistributedDataParallel(module)
    assert sum(each.numel() for each in wrapped.modules_buffers) <= 1


def trained(module: BranchModule, batch: dict[str, Any], folder: Path, **options: Any) -> list[Tensor]:
    fitted = Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        max_steps=3,
        gradient_clip_val=0.1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    batches: Any = [batch] * 3
    fitted.fit(module, DataLoader(batches, batch_size=None))
    return [each.detach().clone() for each in module.trained_parameters()]


def test_a_compiled_network_is_validated_as_written(
    backbone: Backbone, recognizer: nn.Module, cached: dict[str, Any], tmp_path: Path
) -> None:
    """What is compiled meets dynamo in training alone; the compiler itself is spared here."""
    module = IdentityModule(
        backbone, recognizer, noisy_input=CACHED, tuning=Tuning(compiled=True, export=False)
    )
    names = set(module.state_dict())
    graphs: list[bool] = []

    def note(graph: torch.fx.GraphModule, _: list[Tensor]) -> Any:
        graphs.append(module.training)
        return graph.forward

    torch._dynamo.reset()
    compile_with, module.unet.compile = module.unet.compile, lambda: compile_with(backend=note)  # type: ignore[method-assign]
    batches: Any = [cached] * 2
    fitted = Trainer(
        accelerator="cpu",
        default_root_dir=tmp_path,
        max_steps=2,
        val_check_interval=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    loader: Any = DataLoader(batches, batch_size=None)
    fitted.fit(module, loader, loader)
    assert graphs
    assert all(graphs), "none was made in validation"
    assert set(module.state_dict()) == names


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_fused_optimizer_learns_the_same_and_is_clipped(
    backbone: Backbone, recognizer: nn.Module, cached: dict[str, Any], tmp_path: Path, precision: str
) -> None:
    ends = []
    for fused in (False, True):
        module = IdentityModule(
            backbone,
            recognizer,
            noisy_input=CACHED,
            tuning=Tuning(export=False),
            optimizer=lambda parameters, fused=fused: AdamW(parameters, lr=1e-3, fused=fused),
        )
        ends.append(trained(module, cached, tmp_path, precision=precision))
    for plain, fused_end in zip(*ends, strict=True):
        torch.testing.assert_close(fused_end, plain, rtol=1e-3, atol=1e-5)
