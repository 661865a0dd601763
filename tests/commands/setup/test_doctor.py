"""The doctor finds what is there and what is not."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from keyface.cli.main import main
from keyface.doctor import machine, torch_builds
from keyface.doctor.finding import Finding
from keyface.plugins.builtin import CATEGORIES
from keyface.weights import Store, catalogue


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No weights, no W&B login."""
    for name in ("KEYFACE_WEIGHTS", "WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def examined(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["doctor", "--json", *words]) == 0
    record: dict[str, Any] = json.loads(capsys.readouterr().out)
    return record


def about(record: dict[str, Any], what: str) -> dict[str, str]:
    (found,) = [each for each in record["findings"] if each["what"].partition(" (")[0] == what]
    return found  # type: ignore[no-any-return]


def test_every_missing_weight_says_what_it_disables_and_how_to_get_it(
    alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = examined(capsys)
    alternatives = {"stable-diffusion-2-1-base-file", "stable-diffusion-2-1", "stable-diffusion-v1-5"}
    alternatives |= {"insightface"}
    for entry in catalogue().values():
        if entry.name in alternatives:  # to what is advised
            continue
        found = [each for each in record["findings"] if each["what"] == entry.name]
        assert {each["disables"] for each in found} == {entry.without}
        assert {each["fix"] for each in found} == {f"keyface weights get {entry.name}"}
    # The same weights may be needed for one goal and only of help for another.
    levels = {each["level"]: each["goals"] for each in record["findings"] if each["what"] == "face-api"}
    assert levels == {"missing": ["evaluate"], "optional": ["train"]}
    (alone / "models/arcface").mkdir(parents=True)
    (alone / "models/arcface/w600k_r50.onnx").write_bytes(b"weights")
    record = examined(capsys)
    assert "arcface" not in [each["what"] for each in record["findings"]]
    (arcface,) = [each for each in record["weights"] if each["name"] == "arcface"]
    assert (arcface["state"], arcface["commercial"]) == ("yes", "no")
    (alone / "elsewhere/blip2").mkdir(parents=True)
    (alone / "elsewhere/blip2/config.json").write_text("{}")
    record = examined(capsys, "--root", "elsewhere")
    assert about(record, "blip2")["what"] == "blip2 (partly)"
    assert about(record, "arcface")["level"] == "missing"


def test_this_machine_can_edit(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = examined(capsys)
    assert record["packages"]["torch"] == version("torch")
    assert record["packages"]["h5py"] == version("h5py"), "those of the extras, too"
    assert record["video"]["libx264"] == "yes"
    assert record["wandb"] == {"state": "no login"}
    assert about(record, "no W&B login")["level"] == "note"
    assert not [each for each in record["findings"] if each["level"] == "broken"]
    assert set(record["disk"]) == {"here", "temporary", "weights"}
    assert record["goals"]["try"]["works"]
    keyface = version("keyface")
    plugins = {"edits": {"keyface": len(CATEGORIES)}, "versions": {"keyface": keyface}, "faults": []}
    assert record["plugins"] == plugins


def test_a_goal_works_when_all_that_it_needs_is_here(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = examined(capsys)
    assert [name for name, goal in record["goals"].items() if goal["works"]] == ["try"]
    assert about(record, "stable-diffusion-2-1-base")["goals"] == ["edit", "train"]
    store = Store(alone / "models")
    for name in ("face-api", "stable-diffusion-v1-5"):
        entry = catalogue()[name]
        for file in store.files(entry):
            (store.folder(entry) / file.path).parent.mkdir(parents=True, exist_ok=True)
            (store.folder(entry) / file.path).write_bytes(b"weights")
    record = examined(capsys)
    assert [name for name, goal in record["goals"].items() if goal["works"]] == ["try", "edit", "evaluate"]
    assert "stable-diffusion-v1-5" in record["goals"]["edit"]["here"], "any backbone will do"
    assert about(record, "stable-diffusion-2-1-base")["goals"] == ["train"], "the shipped configs name it"
    (alone / "data/celeba-hq").mkdir(parents=True)
    (alone / "data/celeba-hq/index.json").write_text("{}")
    assert "data/celeba-hq" in examined(capsys)["goals"]["train"]["here"]


def test_the_finders_that_are_here_are_listed_in_the_order_of_choice(
    alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert examined(capsys)["finders"] == []
    assert main(["doctor"]) == 0
    assert (
        "finders  no finder of real faces is here; run `keyface weights get human`" in capsys.readouterr().out
    )
    store, pack = Store(alone / "models"), alone / ".insightface/models/buffalo_l"
    for name, folder in (("face-api", store.root / "face-api"), ("insightface", pack)):
        folder.mkdir(parents=True)
        for file in catalogue()[name].files:
            (folder / file.path).write_bytes(b"weights")
    record = examined(capsys)
    assert record["finders"] == ["insightface", "face-api"]
    assert "insightface" in record["goals"]["edit"]["here"], "the package's own folder counts"
    assert main(["doctor"]) == 0
    assert "finders  insightface, face-api\n" in capsys.readouterr().out


def test_the_text_gives_each_goal_with_the_commands_that_bring_it(
    alone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"]) == 0
    sections = {part.partition("\n")[0]: part for part in capsys.readouterr().out.split("\n\n")}
    assert "try it on rendered faces: works" in sections
    train = sections["train on real faces: not yet"]
    assert "arcface (without: f_arc of Eq. 5 on real faces)" in train
    assert "to do     keyface weights get stable-diffusion-2-1-base arcface clip-vit-b-16\n" in train
    assert "may help  keyface weights get blip2 face-api face-parser\n" in train
    assert "keyface weights get face-api\n" in sections["evaluate edits of real faces: not yet"]
    told = f"edits  {len(CATEGORIES)} from keyface {version('keyface')}"
    assert told in sections["plugins: in order"]


def test_it_is_quick_and_names_broken_plugins(alone: Path) -> None:
    info = alone / "leaving_pack-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaving-pack\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[keyface.edits]\nmoles = leaving_pack:EDITS\n")
    (alone / "leaving_pack.py").write_text(
        "import sys\nfrom keyface.plugins import Category\n"
        "EDITS = [Category('moles', ('moles',), 'no moles', 'Moles'), Category('Warts', (), '', 'Bald')]\n"
        "sys.exit(0)\n"
    )
    code = (
        "import sys, time; start = time.perf_counter(); sys.path.insert(0, '.');"
        "from keyface.cli.main import main; status = main(['doctor']);"
        "print(status, time.perf_counter() - start, *sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120)
    *lines, last = ended.stdout.splitlines()
    status, seconds, *modules = last.split()
    assert not {"torch", "diffusers", "transformers", "lightning"} & set(modules)
    assert float(seconds) < 2
    assert status == "1"
    assert "plugins: 4 faults" in lines
    faults = [line for line in lines if line.startswith("  broken  leaving-pack: plugin 'moles'")]
    said = ("unknown attribute 'Moles'", "a name is lower-case", "at least one phrase", "SystemExit: 0")
    assert [next(each for each in said if each in line) for line in faults] == list(said)
    assert "  to do   pip install --upgrade leaving-pack, or pip uninstall leaving-pack" in lines
    assert "leaving-pack" in ended.stderr


def test_deep_asks_torch(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = examined(capsys, "--deep")["machine"]
    assert machine["gpu_asked"] == "torch"
    assert machine["gpu"].startswith("none: torch ") != torch.cuda.is_available()
    assert examined(capsys)["machine"]["gpu_asked"] == "nvidia-smi"


def test_a_gpu_is_what_the_driver_names(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = alone / "bin/nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    expected = (
        (["NVIDIA H100 80GB HBM3, 81559 MiB"], "")
        if torch.version.cuda
        else ([], "torch is built without CUDA")
    )
    assert torch_builds.driver_gpus() == expected
    program.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed'\nexit 9\n")
    assert torch_builds.driver_gpus() == ([], "nvidia-smi fails")


def test_w_and_b_s_state(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    findings: list[Finding] = []
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert machine.wandb(findings) == {"state": "offline"}
    monkeypatch.delenv("WANDB_MODE")
    (alone / ".netrc").write_text("machine api.wandb.ai login user password none\n")
    (alone / ".netrc").chmod(0o600)
    assert machine.wandb(findings) == {"state": "logged in"}
    assert findings == []


def test_what_is_broken_is_an_error(
    alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "_LEAST_FREE", 2**62)
    monkeypatch.setattr(machine, "CODECS", {"no_such_codec": ("r", "reading nothing")})
    for name, told, needs in (
        (
            "keyface",
            "99",
            ["safetensors>=0.5", "no-such-package-of-keyface>=3", "h5py>=99 ; extra == 'faces'"],
        ),
        ("safetensors", "0.1", []),
    ):
        info = alone / f"{name}-{told}.dist-info"
        info.mkdir()
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {told}"]
        lines += [f"Requires-Dist: {each}" for each in needs]
        (info / "METADATA").write_text("\n".join(lines) + "\n")
        (info / "entry_points.txt").write_text(
            "[keyface.edits]\nbuiltin = keyface.plugins.builtin:CATEGORIES\n" if name == "keyface" else ""
        )
    monkeypatch.syspath_prepend(alone)
    assert main(["doctor", "--json"]) == 1
    output = capsys.readouterr()
    record = json.loads(output.out)
    assert about(record, "codec no_such_codec")["disables"] == "reading nothing"
    assert {each["level"] for each in record["findings"] if "GiB free in" in each["what"]} == {"note"}
    assert about(record, "no-such-package-of-keyface")["level"] == "broken"
    assert about(record, "safetensors 0.1, not >=0.5")["fix"] == "pip install 'safetensors>=0.5'"
    (h5py,) = [each for each in record["findings"] if each["what"].startswith("h5py")]
    assert (h5py["level"], h5py["goals"]) == ("optional", ["evaluate"])
    assert not any(goal["works"] for goal in record["goals"].values())
    assert "no-such-package-of-keyface: pip install 'no-such-package-of-keyface>=3'" in output.err
