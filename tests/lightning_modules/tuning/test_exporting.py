"""The folder that a training leaves: whose weights stand in it, and what its card says."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from keyface.diffusion.backbone import Backbone, load_unet
from keyface.lightning_modules.identity import IdentityModule
from keyface.lightning_modules.tuning.lora import Tuning
from keyface.models.cards import read_card


class Data:
    def __init__(self, rows: int = 3, pictures: object = None) -> None:
        self.rows, self.pictures = rows, pictures


def trained(backbone: Backbone, recognizer: nn.Module, **tuning: Any) -> Any:
    """Return a module whose average is 0.5 above its weights."""
    module: Any = IdentityModule(backbone, recognizer, tuning=Tuning(ema_decay=0.9, **tuning))
    for average in module.ema.module.parameters():
        average.add_(0.5)
    return module


def training(folder: Path, rank: int = 0, log_dir: Path | None = None) -> Any:
    """Return what a module asks of its trainer when training ends."""
    return SimpleNamespace(
        log_dir=None if log_dir is None else str(log_dir),
        default_root_dir=str(folder),
        is_global_zero=rank == 0,
        global_rank=rank,
        global_step=7,
        datamodule=Data(rows=4, pictures=nn.Identity()),
        callback_metrics={
            "train/loss": torch.tensor(0.12345678),
            "val/loss": torch.tensor(2.0),
            "edit/clip": torch.tensor(3.0),
            "speed/images": torch.tensor(4.0),
        },
    )


def test_the_average_is_exported_and_its_network_goes_on(
    backbone: Backbone, recognizer: nn.Module, tmp_path: Path
) -> None:
    module = trained(backbone, recognizer)
    before = {name: value.clone() for name, value in module.unet.state_dict().items()}
    assert module.export(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    loaded = load_unet(tmp_path / "a" / "b", backbone.unet).state_dict()
    assert loaded.keys() == before.keys()
    for name, value in before.items():
        torch.testing.assert_close(loaded[name], value + 0.5)
        assert torch.equal(module.unet.state_dict()[name], value)
    assert module.export(tmp_path / "a" / "b") == tmp_path / "a" / "b", "again into the same folder"


def test_a_card_without_a_training_says_what_is_known(
    backbone: Backbone, recognizer: nn.Module, tmp_path: Path
) -> None:
    module = trained(backbone, recognizer)
    module.samples_seen = 11
    card = read_card(module.export(tmp_path))
    count = sum(parameter.numel() for parameter in backbone.unet.parameters())
    told = {"title": module.title, "data": {}, "samples_seen": 11, "steps": 0, "metrics": {}}
    assert {name: card[name] for name in told} == told
    assert card["trained_parameters"] == count
    assert card["configuration"]["tuning"]["ema_decay"] == 0.9


def test_a_card_names_data_steps_and_measures_of_quality(
    backbone: Backbone, recognizer: nn.Module, tmp_path: Path
) -> None:
    module = trained(backbone, recognizer)
    module._trainer = training(tmp_path)
    module.on_fit_end()
    card = read_card(tmp_path / "export")
    assert card["data"] == {"class": "Data", "rows": 4}
    assert card["steps"] == 7
    assert card["metrics"] == {"train/loss": 0.123457, "val/loss": 2.0, "edit/clip": 3.0}


@pytest.mark.parametrize(("export", "rank"), [(False, 0), (True, 1)])
def test_nothing_is_exported_unasked_or_by_another_process(
    backbone: Backbone, recognizer: nn.Module, tmp_path: Path, export: bool, rank: int
) -> None:
    module = trained(backbone, recognizer, export=export)
    module._trainer = training(tmp_path, rank)
    module.on_fit_end()
    if rank:
        assert module.export(tmp_path / "export") == tmp_path / "export"
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_a_folder_of_its_own_has_the_export_there_in_half_precision_if_asked(
    backbone: Backbone, recognizer: nn.Module, tmp_path: Path
) -> None:
    module = trained(backbone, recognizer, export_half=True)
    module._trainer = training(tmp_path / "root", log_dir=tmp_path / "run")
    module.on_fit_end()
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    size = (tmp_path / "run" / "export" / "diffusion_pytorch_model.safetensors").stat().st_size
    values = sum(parameter.numel() for parameter in backbone.unet.parameters())
    assert 2 * values < size < 4 * values
    assert module.whole_unet() is module.unet
