"""NaN and infinity: in files of weights, and in what networks compute during an edit."""

import copy
import dataclasses

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from keyface.diffusion.backbone import Backbone, load_unet
from keyface.diffusion.checks import NotFiniteError
from keyface.editing.editor import EditSettings, Injection, Prompts, Propagation, TensorFrames, VideoEditor
from keyface.resume.session import Session

PROMPTS = Prompts("a face", "a face with glasses")
SMALL = EditSettings(steps=4, interval=2, window=1, anchors=1, chunk_size=3, guidance_scale=3.0)
DENOISERS = {
    "tokens": SMALL,
    "latent": dataclasses.replace(SMALL, propagation=Propagation(mode="latent")),
    "second order": dataclasses.replace(SMALL, solver="dpmpp_2m"),
    "tokenflow": dataclasses.replace(
        SMALL, propagation=Propagation.tokenflow(), injection=Injection.tokenflow()
    ),
}


def change(file, function):
    weights = function(load_file(file))
    save_file({name: value.contiguous() for name, value in weights.items()}, file, {"format": "pt"})


def spoil(file, value):
    """Writes one number of the last weight by name, and returns its name."""
    weights = load_file(file)
    name = max(weights)
    weights[name].view(-1)[0] = value
    save_file(weights, file, {"format": "pt"})
    return name


@pytest.fixture
def folder(backbone, tmp_path):
    for part in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(backbone, part).save_pretrained(tmp_path / "base" / part)
    return tmp_path / "base"


@pytest.fixture
def lora(make_unet, tmp_path):
    torch.manual_seed(3)
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    get_peft_model(make_unet(), config).save_pretrained(tmp_path / "lora")
    return tmp_path / "lora"


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
@pytest.mark.parametrize("part", ["vae", "unet", "text_encoder"])
def test_weights_that_are_not_finite_are_named_with_their_file(folder, part, value):
    file = next((folder / part).glob("*.safetensors"))
    name = spoil(file, value)
    with pytest.raises(ValueError, match=f"{file}: 1 of .* weights hold NaN or infinity: {name};"):
        Backbone.from_folder(folder)


def test_branches_that_are_not_finite_are_named_with_their_file(folder, lora, make_unet):
    for branch, file in (
        (folder / "unet", folder / "unet" / "diffusion_pytorch_model.safetensors"),
        (lora, lora / "adapter_model.safetensors"),
    ):
        name = spoil(file, float("nan"))
        with pytest.raises(ValueError, match=f"{file}: 1 of .* weights hold NaN or infinity: {name};"):
            load_unet(branch, make_unet())


def test_foreign_and_missing_lora_weights_are_counted_and_named(lora, make_unet):
    file = lora / "adapter_model.safetensors"
    whole, start = load_file(file), "base_model.model."
    # two attentions in each of 7 blocks, a query and a value in each, two matrices each
    assert len(whole) == 7 * 2 * 2 * 2
    change(file, lambda w: {**w, f"{start}nowhere.lora_A.weight": torch.zeros(2, 16)})
    with pytest.raises(
        ValueError, match=rf"{file}: not .* LoRA adapter: 1 are foreign .*{start}nowhere.lora_A.weight\)$"
    ):
        load_unet(lora, make_unet())
    change(file, lambda _: dict(sorted(whole.items())[3:]))
    with pytest.raises(ValueError, match=f"LoRA adapter: 3 of its weights are missing .{min(whole)}, "):
        load_unet(lora, make_unet())
    change(file, lambda _: {f"unet.{name}": value for name, value in whole.items()})
    with pytest.raises(
        ValueError, match=r"56 of its .* and 53 more\); 56 are foreign to it .unet.base_model"
    ):
        load_unet(lora, make_unet())


def test_lora_weights_of_another_network_or_cut_off_are_refused(lora, make_unet):
    with pytest.raises(
        ValueError, match=r"shapes of another network: .*lora_A.weight is \(2, 16\) instead of"
    ):
        load_unet(lora, make_unet(block_out_channels=(8, 16)))
    file = lora / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ValueError, match=f"{file}: damaged"):
        load_unet(lora, make_unet())


def test_whole_networks_have_all_their_weights_and_no_others(folder, make_unet):
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    whole = load_file(file)
    for function, told in (
        (lambda _: dict(sorted(whole.items())[1:]), r"1 of its weights are missing \(conv_in.bias\)$"),
        (lambda _: {**whole, "nowhere.weight": torch.zeros(1)}, r"1 are foreign to it \(nowhere.weight\)$"),
        (lambda _: {**whole, "conv_in.bias": torch.zeros(3)}, "conv_in.bias expected shape"),
    ):
        change(file, function)
        for load in (lambda: load_unet(folder / "unet", make_unet()), lambda: Backbone.from_folder(folder)):
            with pytest.raises(ValueError, match=f"{file}: .*{told}"):
                load()


def test_a_text_encoder_needs_its_weights_and_may_bring_clips_others(folder):
    file = folder / "text_encoder" / "model.safetensors"
    change(file, lambda weights: {**weights, "text_projection.weight": torch.zeros(16, 16)})
    Backbone.from_folder(folder)
    change(file, lambda weights: {n: v for n, v in weights.items() if "final_layer_norm" not in n})
    with pytest.raises(ValueError, match=f"{file}: .* 2 of its weights are missing"):
        Backbone.from_folder(folder)


@pytest.fixture
def own(backbone):
    """A backbone that a test may break."""
    return copy.deepcopy(backbone)


def break_after(module, calls, value=float("nan")):
    """Lets a network give one NaN or infinity from some call on; the handle mends it."""
    seen = 0

    def hook(_, __, output):
        nonlocal seen
        seen += 1
        values = getattr(output, "sample", output)
        if seen > calls:
            values[(-1,) * values.ndim] = value

    return module.register_forward_hook(hook)


@pytest.mark.parametrize("settings", DENOISERS.values(), ids=DENOISERS)
def test_a_window_that_is_not_finite_is_not_counted(own, make_unet, frames, tmp_path, settings):
    """It is done again when the same edit goes on with sound networks."""
    direction, frames, edited = make_unet(1), frames[:7], []
    editor = VideoEditor(own, None, direction, settings)
    whole, _ = editor.edit_frames(frames, PROMPTS)
    calls = []
    counter = direction.register_forward_hook(lambda *_: calls.append(1))
    editor.edit_frames(frames, PROMPTS)
    counter.remove()
    broken = break_after(direction, len(calls) // 2)

    def edit():
        with Session.open(tmp_path / "state", {}) as session:
            editor.edit(TensorFrames(frames), PROMPTS, edited.append, session=session)

    with pytest.raises(NotFiniteError, match=r"^edit: latents of frames . to . after timestep .* NaN or inf"):
        edit()
    assert not edited
    broken.remove()
    edit()
    assert torch.equal(torch.cat(edited), whole)


@pytest.mark.parametrize(
    ("part", "calls", "stage"),
    [
        ("text_encoder", 0, "encode: the text encoder's embeddings"),
        ("vae.encoder", 1, "encode: the autoencoder's latents of frames"),
        ("unet", 3, "invert: inverted latents of frames"),
        ("vae.decoder", 0, "reconstruct: the autoencoder's images"),
        ("vae.decoder", 2, "decode: the autoencoder's images"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_stage_is_named(own, make_unet, frames, part, calls, stage, value):
    """Clamping would make white pixels of infinity."""
    module = own.text_encoder.final_layer_norm if part == "text_encoder" else own
    for name in part.split(".") if module is own else ():
        module = getattr(module, name)
    editor, edited = VideoEditor(own, None, make_unet(1), SMALL), []
    break_after(module, calls, value)
    with pytest.raises(NotFiniteError, match=f"^{stage} .*hold NaN or infinity"):
        editor.edit(TensorFrames(frames[:6]), PROMPTS, edited.append)
    assert not edited


def test_a_reconstruction_that_is_not_finite_stops_the_edit(own, make_unet, frames):
    editor = VideoEditor(own, None, make_unet(1), SMALL)
    inverting = []
    counter = own.unet.register_forward_hook(lambda *_: inverting.append(1))
    with pytest.raises(InterruptedError):
        editor.edit(TensorFrames(frames), PROMPTS, lambda _: None, progress=stop_at("reconstruct"))
    counter.remove()
    break_after(own.unet, len(inverting))
    with pytest.raises(NotFiniteError, match=r"^reconstruct: reconstructed latents of frames 0 to "):
        editor.edit_frames(frames, PROMPTS)


def stop_at(stage):
    def progress(name, *_):
        if name == stage:
            raise InterruptedError

    return progress


@pytest.mark.parametrize("scale", [1e38, 100.5, -0.5, float("nan"), float("inf")])
def test_absurd_numbers_are_refused(scale):
    with pytest.raises(ValueError, match=r"guidance_scale is .* a number from 1 to 100"):
        EditSettings(guidance_scale=scale)
    with pytest.raises(ValueError, match=r"propagation.locality is .* a number from 0 to 100"):
        Propagation(locality=scale)
    assert EditSettings(guidance_scale=100.0).guidance_scale == 100.0
