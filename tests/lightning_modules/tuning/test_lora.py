from pathlib import Path

import pytest
import torch

from keyface.diffusion.backbone import Backbone, load_unet
from keyface.lightning_modules.tuning.lora import Lora, TunedUNet, Tuning


def output(unet: torch.nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    latents, text = (
        torch.randn(1, 4, 16, 16, generator=generator),
        torch.randn(1, 12, 16, generator=generator),
    )
    with torch.no_grad():
        result: torch.Tensor = unet(latents, 500, encoder_hidden_states=text).sample
    return result


def shake(tuned: TunedUNet) -> None:
    """Change everything that is trained, as training would."""
    for index, parameter in enumerate(tuned.unet.parameters()):
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(index))
            parameter.data.add_(0.1 * noise)


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4.0)])
def test_prepared_network_starts_as_the_base_and_spares_it(backbone: Backbone, lora: Lora | None) -> None:
    before = output(backbone.unet)
    tuned = TunedUNet.prepare(backbone.unet, Tuning(lora=lora))
    torch.testing.assert_close(output(tuned.unet), before)
    shake(tuned)
    assert not torch.allclose(output(tuned.unet), before, atol=1e-3)
    assert torch.equal(output(backbone.unet), before)


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4.0)])
def test_saved_network_loads_as_it_was(backbone: Backbone, lora: Lora | None, tmp_path: Path) -> None:
    tuned = TunedUNet.prepare(backbone.unet, Tuning(lora=lora))
    shake(tuned)
    tuned.save(tmp_path, tuned.state())
    assert {path.suffix for path in tmp_path.iterdir()} <= {".json", ".safetensors", ".md"}
    torch.testing.assert_close(
        output(load_unet(tmp_path, backbone.unet)), output(tuned.unet), atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4.0)])
def test_half_precision_halves_the_files_only(backbone: Backbone, lora: Lora | None, tmp_path: Path) -> None:
    tuned = TunedUNet.prepare(backbone.unet, Tuning(lora=lora))
    shake(tuned)
    before = output(tuned.unet)
    sizes = []
    for half in (False, True):
        tuned.save(tmp_path / str(half), tuned.state(half))
        (file,) = (tmp_path / str(half)).glob("*.safetensors")
        sizes.append(file.stat().st_size)
    assert sizes[1] < 0.8 * sizes[0]  # the names in a small file's header stay
    assert torch.equal(output(tuned.unet), before)
    loaded = load_unet(tmp_path / "True", backbone.unet)
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(output(loaded), before, atol=0.02, rtol=0.02)


def test_adapters_only_are_trained(backbone: Backbone) -> None:
    tuned = TunedUNet.prepare(backbone.unet, Tuning(lora=Lora(rank=2, targets=r".*\.attn1\.to_q")))
    names = [name for name, parameter in tuned.unet.named_parameters() if parameter.requires_grad]
    assert names
    assert all(".attn1.to_q.lora_" in name for name in names)


def test_trainable_selects_by_name(backbone: Backbone) -> None:
    tuned = TunedUNet.prepare(backbone.unet, Tuning(trainable=r"^up_blocks\..*attn1"))
    names = {name for name, parameter in tuned.unet.named_parameters() if parameter.requires_grad}
    assert names == {
        name
        for name, _ in backbone.unet.named_parameters()
        if name.startswith("up_blocks.") and "attn1" in name
    }


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (Tuning(trainable="nothing"), "'nothing' matches no"),
        (Tuning(lora=Lora(targets="x")), "'x' matches no layer"),
    ],
)
def test_patterns_that_match_nothing_are_refused(backbone: Backbone, tuning: Tuning, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TunedUNet.prepare(backbone.unet, tuning)


def test_tuning_comes_back_from_plain_settings() -> None:
    assert Tuning.of({"lora": {"rank": 3}, "ema_decay": None}) == Tuning(lora=Lora(rank=3), ema_decay=None)
    assert Tuning.of({"lora": None}) == Tuning()


def test_without_settings_everything_is_trained_averaged_and_exported() -> None:
    assert Tuning() == Tuning(None, "", 0.999, False, False, 3, "stop", True, False)
    assert Lora() == Lora(16, 16.0, 0.0, r".*\.attn[12]\.(to_q|to_k|to_v|to_out\.0)")
    assert Tuning().compiled is False


@pytest.mark.parametrize(
    ("tuning", "shares"),
    [(Tuning(), False), (Tuning(trainable="attn1"), True), (Tuning(lora=Lora(rank=2)), True)],
)
def test_a_whole_copy_edits_as_the_network_in_training(
    backbone: Backbone, tuning: Tuning, shares: bool
) -> None:
    tuned = TunedUNet.prepare(backbone.unet, tuning)
    assert tuned.shares(backbone.unet) == shares
    shake(tuned)
    whole = tuned.whole(backbone.unet, tuning)
    assert whole is not None
    assert not whole.training
    assert torch.equal(output(whole), output(tuned.unet.eval()))
    assert not {id(each) for each in whole.parameters()} & {id(each) for each in tuned.unet.parameters()}
    assert tuned.whole(backbone.unet, tuning, keep=False) is None


def test_training_goes_on_from_an_export(backbone: Backbone, tmp_path: Path) -> None:
    first = TunedUNet.prepare(backbone.unet, Tuning(lora=Lora(rank=2, alpha=4.0)))
    shake(first)
    first.save(tmp_path, first.state(half=True))
    again = TunedUNet.prepare(backbone.unet, Tuning(lora=Lora(rank=2, alpha=4.0, start=str(tmp_path))))
    torch.testing.assert_close(output(again.unet), output(first.unet), atol=1e-3, rtol=1e-2)
    trained = [parameter for parameter in again.unet.parameters() if parameter.requires_grad]
    assert trained
    assert all(parameter.dtype == torch.float32 for parameter in trained)


def test_adapters_of_another_form_are_no_start(backbone: Backbone, tmp_path: Path) -> None:
    first = TunedUNet.prepare(backbone.unet, Tuning(lora=Lora(rank=2)))
    first.save(tmp_path, first.state())
    with pytest.raises(ValueError, match="adapter_model"):
        TunedUNet.prepare(backbone.unet, Tuning(lora=Lora(rank=4, start=str(tmp_path))))
    with pytest.raises(FileNotFoundError, match="adapter_model"):
        TunedUNet.prepare(backbone.unet, Tuning(lora=Lora(start=str(tmp_path / "none"))))
