"""What a training begins with, averages and goes on with."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from keyface.callbacks.acceleration import Accelerate
from keyface.callbacks.averaging import MovingAverage
from keyface.callbacks.export import ExportNetwork
from keyface.callbacks.initial import InitialWeights, copy_matching
from keyface.callbacks.random_state import RandomState
from keyface.lightning_modules.miniature.base import MiniatureModule
from keyface.miniature.networks.text import build_text_encoder, build_tokenizer
from keyface.miniature.storage import load_network, save_network


class Batches(IterableDataset[dict[str, Tensor]]):
    """Batches by step, as the rendered ones are."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        for step in range(self.start, self.start + 100):
            yield {"image": torch.randn(4, 3, generator=torch.Generator().manual_seed(step))}


class Noisy(MiniatureModule):
    """A small network whose loss has noise in it."""

    def __init__(self) -> None:
        super().__init__(lr=0.01, warmup=2, flat=0.5)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.network = nn.Linear(3, 3)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        images = batch["image"]
        loss: Tensor = (self.network(images + torch.randn_like(images)) - images).square().mean()
        return loss

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(Batches(self.trainer.global_step), batch_size=None)


def fit(
    module: LightningModule, folder: Path, steps: int, *callbacks: Callback, checkpoint: Path | None = None
) -> None:
    Trainer(
        accelerator="cpu",
        max_steps=steps,
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=any(isinstance(each, ModelCheckpoint) for each in callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[*callbacks],
    ).fit(module, ckpt_path=checkpoint)


# The last of the runs leaves out the callback whose lack it shows.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
def test_a_resumed_training_is_that_of_a_run_that_was_never_stopped(tmp_path: Path) -> None:
    """Weights, their average and the count of samples, to the last bit; noise and data go on."""

    def callbacks(name: str) -> list[Callback]:
        kept = ModelCheckpoint(tmp_path / name, "{step}", every_n_train_steps=3, save_top_k=-1)
        return [RandomState(), MovingAverage(0.9), kept]

    torch.manual_seed(5)
    whole = Noisy()
    fit(whole, tmp_path, 6, *callbacks("whole"))
    torch.manual_seed(99)
    resumed = Noisy()
    fit(resumed, tmp_path, 6, *callbacks("again"), checkpoint=tmp_path / "whole" / "step=3.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert int(whole.samples_seen) == 24
    apart = Noisy()
    fit(apart, tmp_path, 6, MovingAverage(0.9), checkpoint=tmp_path / "whole" / "step=3.ckpt")
    assert not torch.equal(apart.network.weight, whole.network.weight), "other noise, other weights"


class Steps(LightningModule):
    """A weight that grows by 1 with each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return -self.weight.sum()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=1.0)

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(torch.ones(10, 1).unbind())  # type: ignore[arg-type]


def test_the_average_of_few_steps_by_hand(tmp_path: Path) -> None:
    """The first update copies 1; the decays of the next two are 2/11 and 3/12."""
    module = Steps()
    fit(module, tmp_path, 3, MovingAverage(0.9))
    second = 2 / 11 * 1 + 9 / 11 * 2
    assert module.weight.item() == pytest.approx(3 / 12 * second + 9 / 12 * 3)
    with pytest.raises(ValueError, match=r"in \[0, 1\)"):
        MovingAverage(1.0)


class Two(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, width)


def test_training_begins_with_the_tensors_that_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, later = Two(2), Two(5)
    save_network(earlier, tmp_path / "earlier")
    last = later.last.weight.clone()
    assert copy_matching(later, tmp_path / "earlier") == (2, 4)
    torch.testing.assert_close(later.first.weight, earlier.first.weight, atol=1e-3, rtol=1e-3)
    assert torch.equal(later.last.weight, last)
    with pytest.raises(FileNotFoundError, match="to begin with"):
        copy_matching(later, tmp_path)

    (tmp_path / "earlier" / "card.json").write_text('{"steps": 7, "samples_seen": 70, "configuration": {}}')
    module = Noisy()
    module.network = nn.Linear(3, 3)
    save_network(module.network, tmp_path / "earlier")
    begun = Noisy()
    export = ExportNetwork(str(tmp_path / "export"))
    fit(begun, tmp_path, 1, InitialWeights({"network": str(tmp_path / "earlier")}), export)
    assert "network: begins with 2 of 2 tensors" in capsys.readouterr().err
    # One step of Adam moves a weight by its rate at most, here .01 · 1/2.
    torch.testing.assert_close(begun.network.weight, module.network.weight, atol=0.006, rtol=1e-3)
    load_network(nn.Linear(3, 3), tmp_path / "export")
    assert '"samples_seen": 70' in (tmp_path / "export" / "card.json").read_text(), "the earlier stage"


def test_words_keep_their_embeddings_in_a_larger_vocabulary(tmp_path: Path) -> None:
    known, grown = (build_tokenizer(words, length=8) for words in (["man", "old"], ["bald", "man", "old"]))
    earlier, later = (build_text_encoder(each, width=8, layers=1, heads=2) for each in (known, grown))
    earlier.save_pretrained(tmp_path / "text_encoder")
    known.save_pretrained(tmp_path / "tokenizer")
    tensors = len(later.state_dict())
    assert copy_matching(later, tmp_path / "text_encoder") == (tensors - 1, tensors)
    assert copy_matching(later, tmp_path / "text_encoder", grown.get_vocab()) == (tensors, tensors)
    before, after = (each.get_input_embeddings().weight for each in (earlier, later))
    for word, row in known.get_vocab().items():
        assert torch.equal(after[grown.get_vocab()[word]], before[row]), word
    torch.testing.assert_close(after[grown.get_vocab()["bald"]], before.mean(0))


def test_a_part_has_the_card_of_its_model(tmp_path: Path) -> None:
    module = Noisy()
    module.network = nn.Linear(3, 3)
    for part in ("unet", "text_encoder"):
        save_network(module.network, tmp_path / "base" / part)
    (tmp_path / "base" / "card.json").write_text('{"steps": 7, "samples_seen": 70, "configuration": {}}')
    begun = InitialWeights({"network": str(tmp_path / "base" / "unet")})
    trained = Noisy()
    trained.save_hyperparameters({"emphasis": {"Beard": 2.0, "of": int}, "reader": print})
    fit(trained, tmp_path, 1, begun, ExportNetwork(str(tmp_path / "export")))
    card = json.loads((tmp_path / "export" / "card.json").read_bytes())
    assert [stage["samples_seen"] for stage in card["earlier"]] == [70]
    assert card["configuration"] == {"emphasis": {"Beard": 2.0}}, "what JSON can hold"
    assert card["device"] == "cpu"


def test_training_is_compiled_and_validation_is_not(tmp_path: Path) -> None:
    class Validated(Noisy):
        seen: list[bool]

        def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
            self.seen.append(bool(self.network(batch["image"]).isfinite().all()))

        def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
            return DataLoader(Batches(0), batch_size=None)

    weights = []
    for compiled in (["network"], []):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        torch.manual_seed(3)
        module = Validated()
        module.seen = []
        Trainer(
            accelerator="cpu", max_steps=3, default_root_dir=tmp_path, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            limit_val_batches=2, val_check_interval=2, num_sanity_val_steps=0,
            callbacks=[Accelerate(compiled=compiled)],
        ).fit(module)  # fmt: skip
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == len(compiled)
        assert module.seen == [True, True]
        weights.append(module.network.weight.detach())
    torch.testing.assert_close(weights[0], weights[1])


def test_networks_are_laid_out_for_the_device(tmp_path: Path) -> None:
    class Convolution(Noisy):
        def __init__(self) -> None:
            super().__init__()
            self.unused = nn.Conv2d(8, 8, 3)

    module = Convolution()
    before = module.unused.weight.clone()
    fit(module, tmp_path, 1, Accelerate(channels_last=True))
    assert module.unused.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(module.unused.weight, before)
    with pytest.raises(ValueError, match="Convolution has no 'unet'"):
        fit(Convolution(), tmp_path, 1, Accelerate(compiled=["unet"]))
