"""Hostile and damaged config.json beside weights: one line that names it, before memory is taken."""

import json
import shutil
import struct
import time
from pathlib import Path

import pytest

from keyface.cli.main import main
from keyface.diffusion.backbone import Backbone, load_unet

DEEP = 100_000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("[]", "an object with names and values is needed"),
        ("null", "an object with names and values is needed"),
        ("hello", "cannot be read as JSON"),
        ("", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        ("[" * DEEP + "]" * DEEP, "deep inside each other"),
        ('{"a":' * DEEP + "1" + "}" * DEEP, "deep inside each other"),
        ('{"a": "' + "x" * 2**23 + '"}', "larger than"),
        ('{"sample_size": 1' + "0" * 5000 + "}", "a number of 5001 digits"),
        ({"block_out_channels": [2**40, 2**40]}, "and at most 1,000,000 is taken"),
        ({"block_out_channels": [10**6, 10**6]}, "weights, which"),
        ({"block_out_channels": [16] * 10**5}, "block_out_channels lists 100,000 values"),
        ({"layers_per_block": 10**9}, "layers_per_block is 1000000000, and at most 100 is taken"),
        ({"layers_per_block": 100}, "weights, which"),
        ({"norm_eps": float("nan")}, "NaN is no number of JSON"),
        ({"block_out_channels": "abc"}, "no UNet2DConditionModel can be made of it"),
        ({"down_block_types": ["__import__('os')", "X"]}, "no UNet2DConditionModel can be made of it"),
        ({"_class_name": "os.system"}, "describes 'os.system'; a UNet2DConditionModel is needed"),
        ({"_class_name": ["x"] * 50}, "a UNet2DConditionModel is needed"),
        ({"norm_num_groups": 0}, "no UNet2DConditionModel can be made of it"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_hostile_config(change: object, message: str, weights: Path) -> None:
    folder, path = weights / "unet", weights / "unet" / "config.json"
    if isinstance(change, dict):
        change = json.dumps({**json.loads(path.read_text()), **change})
    path.write_bytes(change if isinstance(change, bytes) else str(change).encode())
    began = time.monotonic()
    with pytest.raises(ValueError, match=r"config\.json") as found:
        load_unet(folder)
    assert time.monotonic() - began < 10
    told = str(found.value)
    assert message in told
    assert "\n" not in told
    assert len(told) < 600
    with pytest.raises(ValueError, match=r"unet.config\.json"):
        Backbone.from_folder(weights)


@pytest.mark.parametrize(
    ("part", "name", "content", "message"),
    [
        ("scheduler", "scheduler_config.json", "[]", "an object with names"),
        ("scheduler", "scheduler_config.json", '{"num_train_timesteps": 1000000000000}', "at most 1,000,000"),
        ("scheduler", "scheduler_config.json", '{"beta_schedule": "x"}', "no schedule"),
        ("tokenizer", "tokenizer.json", "[" * DEEP, "no tokenizer that can be read"),
        ("vae", "config.json", "[]", "an object with names"),
        ("text_encoder", "config.json", '{"num_hidden_layers": 1000000000}', "at most 100 is taken"),
        ("text_encoder", "config.json", '{"vocab_size": 1000000, "hidden_size": 4096}', "weights, which"),
    ],
)
def test_other_parts(part: str, name: str, content: str, message: str, weights: Path) -> None:
    (weights / part / name).write_text(content)
    with pytest.raises(ValueError, match=part) as found:
        Backbone.from_folder(weights)
    assert message in str(found.value)
    assert "\n" not in str(found.value)


def spoiled(data: bytes, how: str) -> bytes:
    length = struct.unpack("<Q", data[:8])[0]
    if how == "rank":
        header = json.loads(data[8 : 8 + length])
        for entry in header.values():
            if len(entry.get("shape", ())) == 4:
                entry["shape"] = [int(entry["shape"][0]), -1]
                sizes = entry["data_offsets"]
                entry["shape"][1] = (sizes[1] - sizes[0]) // 4 // entry["shape"][0]
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]
    return {
        "truncated": data[: len(data) // 2],
        "huge header": struct.pack("<Q", 2**60) + data[8:],
        "empty": b"",
        "text": b"hello " * 20,
        "pickle": b"\x80\x02cos\nsystem\n(S'touch canary'\ntR.",
        "zeros": bytes(len(data)),
    }[how]


@pytest.mark.parametrize("how", ["truncated", "huge header", "rank", "empty", "text", "pickle", "zeros"])
def test_weights_that_are_none(
    how: str,
    weights: Path,
    video: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    branch = tmp_path / "branch"
    shutil.copytree(weights / "unet", branch)
    file = branch / "diffusion_pytorch_model.safetensors"
    file.write_bytes(spoiled(file.read_bytes(), how))
    words = ["edit", str(video), "-o", "o.mp4", "--prompt", "a man", "--source", "a", "--crop", "centre"]
    assert main([*words, "--weights", str(weights), "--identity", str(branch)]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith(f"keyface: error: {branch}")
    assert "\n" not in line
    assert not Path("canary").exists()
    assert not list(tmp_path.glob("o.*"))
