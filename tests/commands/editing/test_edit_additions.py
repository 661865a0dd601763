"""`keyface edit` with LoRAs, words, a ControlNet and a photo of the person, from file to file."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from peft import LoraConfig, get_peft_model_state_dict
from rendered_footage import place, wall
from safetensors.torch import save_file
from torch import Tensor

from keyface.cli.main import main
from keyface.files import sha256
from keyface.miniature import zoo
from keyface.pictures import save_png, to_image
from keyface.video import VideoReader, open_writer, read_still

FAST = ["--steps", "2", "--settings.interval", "3", "--guidance", "2"]


def run(video: Path, output: Path, weights: Path, *more: str) -> int:
    words = ["edit", str(video), "-o", str(output), "--weights", str(weights), *FAST, *more]
    for option, value in (("--source", "a photo of a man"), ("--crop", "centre")):
        words += [option, value] if option not in more else []
    return main([*words, "--prompt", "a photo of a woman"] if "--prompt" not in more else words)


def frames(path: Path) -> Tensor:
    """All of a video, or a picture alone."""
    if path.suffix == ".png":
        return read_still(path)[None]
    return torch.cat(list(VideoReader(path).chunks(7)))


@pytest.fixture
def lora(weights: Path, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    unet = UNet2DConditionModel.from_pretrained(weights / "unet")
    unet.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v", "proj_in"], init_lora_weights=False))
    layers = {f"unet.{name}": value for name, value in get_peft_model_state_dict(unet).items()}
    save_file(layers, tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


@pytest.fixture
def controlnet(weights: Path, tmp_path: Path) -> Path:
    torch.manual_seed(2)
    unet = UNet2DConditionModel.from_pretrained(weights / "unet")
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 8, 16))
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.3)
    network.save_pretrained(tmp_path / "controlnet")
    return tmp_path / "controlnet"


@pytest.mark.filterwarnings("ignore:.*does not know pat")
def test_loras_and_words(video: Path, weights: Path, lora: Path, tmp_path: Path) -> None:
    word = tmp_path / "pat.safetensors"
    save_file({"pat": torch.randn(2, 16) * 5}, word)
    more = {
        "plain": [],
        "lora": ["--lora", f"{lora}:0.5", "--lora", str(lora)],
        "zero": ["--lora", f"{lora}:0"],
        "word": ["--embedding", str(word), "--prompt", "a photo of pat"],
        "unknown": ["--prompt", "a photo of pat"],
    }
    for name, words in more.items():
        assert run(video, tmp_path / f"{name}.mp4", weights, "--compose", "off", *words) == 0
    found = {name: frames(tmp_path / f"{name}.mp4") for name in more}
    assert torch.equal(found["plain"], found["zero"])
    assert (found["plain"] - found["lora"]).abs().mean() > 1e-3
    assert (found["word"] - found["unknown"]).abs().mean() > 1e-4
    record = json.loads((tmp_path / "lora.json").read_text())
    assert record["additions"]["lora"] == [
        {"name": "style.safetensors", "strength": 0.5},
        {"name": "style.safetensors", "strength": 1.0},
    ]
    assert record["weights"]["lora-2/style.safetensors"] == sha256(lora)
    assert json.loads((tmp_path / "plain.json").read_text())["additions"] == {}


def test_a_controlnet_looks_at_edges_or_at_a_video(
    video: Path, weights: Path, controlnet: Path, tmp_path: Path
) -> None:
    given = ["--compose", "off", "--controlnet", f"{controlnet}:0.9", "--control"]
    assert run(video, tmp_path / "plain.mp4", weights, "--compose", "off") == 0
    assert run(video, tmp_path / "canny.mp4", weights, *given, "canny") == 0
    assert run(video, tmp_path / "depth.mp4", weights, *given, str(video)) == 0
    words = ["edit", str(video), "--preview", str(tmp_path / "a.png"), "--weights", str(weights), *FAST]
    words += ["--prompt", "a woman", "--source", "a man", "--crop", "centre"]
    assert main([*words, *given, str(video)]) == 0
    plain, canny, depth = (frames(tmp_path / f"{name}.mp4") for name in ("plain", "canny", "depth"))
    assert (plain - canny).abs().mean() > 1e-3
    assert (canny - depth).abs().mean() > 1e-3
    record = json.loads((tmp_path / "depth.json").read_text())
    assert record["additions"] == {
        "controlnet": {"name": "controlnet", "strength": 0.9},
        "control": {"name": "in.mp4", "sha256": sha256(video)},
    }
    weight = controlnet / "diffusion_pytorch_model.safetensors"
    assert record["weights"]["controlnet/diffusion_pytorch_model.safetensors"] == sha256(weight)


def write_adapter(unet: UNet2DConditionModel, length: int, path: Path) -> Path:
    torch.manual_seed(3)
    width, tokens = unet.config.cross_attention_dim, 2
    weights = {
        "image_proj.proj.0.weight": torch.randn(2 * length, length),
        "image_proj.proj.0.bias": torch.zeros(2 * length),
        "image_proj.proj.2.weight": torch.randn(tokens * width, 2 * length),
        "image_proj.proj.2.bias": torch.zeros(tokens * width),
        "image_proj.norm.weight": torch.ones(width),
        "image_proj.norm.bias": torch.zeros(width),
    }
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            inner = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features
            for part in ("to_k_ip", "to_v_ip"):
                weights[f"ip_adapter.{number}.{part}.weight"] = torch.randn(inner, width)
    save_file(weights, path)
    return path


def test_a_photo_of_the_person(tmp_path: Path) -> None:
    """On the miniature, whose own recognizer looks at the photo."""
    photos = []
    for person in (0, 1):
        picture = wall(0.1)
        place(picture, person, 0, (160, 90), side=90)
        photos.append(save_png(to_image(picture), tmp_path / f"photo-{person}.png"))
    length = len(zoo.recognizer("recognizer_convnext")(torch.zeros(1, 3, 64, 64), None)[0])
    adapter = write_adapter(zoo.backbone().unet, length, tmp_path / "face.safetensors")
    words = ["edit", str(photos[0]), "--source", "a photo of a man", "--prompt", "a photo of an old man"]
    words += ["--steps", "2", "--settings.propagation.mode", "latent", "--compose", "off"]
    found = {}
    for name, more in {
        "none": [],
        "zero": ["--ip-adapter", f"{adapter}:0", "--reference-face", str(photos[1])],
        "own": ["--ip-adapter", str(adapter), "--reference-face", str(photos[0])],
        "other": ["--ip-adapter", str(adapter), "--reference-face", str(photos[1])],
    }.items():
        assert main([*words, "-o", str(tmp_path / f"{name}.png"), *more]) == 0
        found[name] = frames(tmp_path / f"{name}.png")
    assert (found["none"] - found["zero"]).abs().max() < 0.02, "a picture's rounding"
    assert (found["own"] - found["zero"]).abs().max() > 0.05
    assert (found["own"] - found["other"]).abs().max() > 0.05
    record = json.loads((tmp_path / "other.json").read_text())
    assert record["additions"] == {
        "ip_adapter": {"name": "face.safetensors", "strength": 1.0},
        "reference_face": {"name": "photo-1.png", "sha256": sha256(photos[1])},
    }
    assert record["weights"]["ip_adapter/face.safetensors"] == sha256(adapter)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--lora", "nothing.safetensors"], "--lora nothing.safetensors: no such file or folder"),
        (["--embedding", "nothing.safetensors"], "--embedding nothing.safetensors: no such file"),
        (["--lora", "{lora}:99"], "strength 99 is not from -10 to 10"),
        (["--controlnet", "{lora}"], "--controlnet says nothing without --control; give both"),
        (["--control", "canny"], "--control says nothing without --controlnet"),
        (["--control", "{lora}", "--controlnet", "{lora}"], "style.safetensors"),
        (["--control", "{small}", "--controlnet", "{lora}"], "frames of 30 by 22, the video has"),
        (["--ip-adapter", "{lora}"], "--ip-adapter says nothing without --reference-face"),
        (["--reference-face", "nobody.png", "--ip-adapter", "{lora}"], "nobody.png: no such photo"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_said_at_once(
    more: list[str],
    told: str,
    video: Path,
    weights: Path,
    lora: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small = tmp_path / "small.mp4"
    with open_writer(small, fps=30) as writer:
        writer.write(frames(video)[..., ::2, ::2])
    before = set(tmp_path.iterdir())
    words = [each.format(lora=lora, small=small) for each in more]
    assert run(video, tmp_path / "out.mp4", weights, *words) == 1
    said = capsys.readouterr().err
    (line,) = [each for each in said.splitlines() if "error" in each]
    assert told in line
    assert set(tmp_path.iterdir()) == before
    assert "untuned" not in said, "no network was read"
