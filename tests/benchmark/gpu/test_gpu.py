"""`keyface benchmark gpu` without a GPU: sections, time, what is saved, and where it goes on."""

import json
import time
from pathlib import Path

import pytest
import torch

from keyface.benchmark.gpu.bench import Bench
from keyface.benchmark.gpu.clips import expected_seconds, full_steps
from keyface.benchmark.gpu.runner import FILE, run, slowness
from keyface.benchmark.gpu.sections import SECTIONS, Section
from keyface.cli.main import main

SHORT = {"seconds": 40.0, "seconds_encode": 4.0, "seconds_decode": 6.0, "steps": 5}


def bench(seconds: float, dry: bool = False) -> Bench:
    return Bench(torch.device("cpu"), dry, time.monotonic() + seconds)


def test_a_dry_run_runs_every_section(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["benchmark", "gpu", "--dry-run", "-o", str(out), "--json"]) == 0
    found = json.loads((out / FILE).read_text())
    assert json.loads(capsys.readouterr().out).keys() <= found.keys() | {"dry"}
    for section in SECTIONS:
        assert "failed" not in found[section.name], found[section.name]
    assert found["correct: attention processors"]["float32"] == [0.0, 0.0, 0.0], "the CPU against itself"
    assert set(found["correct: small edits"].values()) == {0.0}
    assert found["correct: alignment under autocast"]["tf32"] > 100
    assert found["clip tokens, short"]["frames"] == 16
    assert found["training: identity"]["images_per_second"] > 0


def test_a_gpu_gets_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.cuda.set_device and set_per_process_memory_fraction refuse a device without one."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert Bench(torch.device("cuda"), False, 0.0).device == torch.device("cuda", 1)
    assert Bench(torch.device("cuda", 0), False, 0.0).device.index == 0


def test_without_a_gpu_it_says_how_to_try_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    assert main(["benchmark", "gpu", "-o", str(tmp_path / "out")]) == 1
    assert "--dry-run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_does_not_fit_is_left_out_and_done_by_the_next_call(tmp_path: Path) -> None:
    ran: list[str] = []

    def note(name: str) -> Section:
        return Section(name, lambda _: ran.append(name) or {"value": len(ran)}, 100.0 if name == "b" else 1.0)

    def fail(_: Bench) -> dict[str, object]:
        ran.append("broken")
        raise RuntimeError("no kernel")

    sections = [note("a"), note("b"), Section("broken", fail, 1.0), note("c")]
    told: list[str] = []
    run(bench(30), tmp_path, told.append, sections)
    assert ran == ["a", "broken", "c"], "what is worth less and fits is done, and a failure ends nothing"
    found = json.loads((tmp_path / FILE).read_text())
    assert "left_out" in found["b"]
    assert "RuntimeError: no kernel" in found["broken"]["failed"]
    run(bench(300), tmp_path, told.append, sections)
    assert ran == ["a", "broken", "c", "b", "broken"], "what was done is not done again, a failure is"
    assert json.loads((tmp_path / FILE).read_text())["b"] == {"value": 4}
    with pytest.raises(ValueError, match="choose another folder"):
        run(bench(30, dry=True), tmp_path, told.append, sections)


def test_results_are_saved_after_each_section(tmp_path: Path) -> None:
    def stop(_: Bench) -> dict[str, object]:
        raise KeyboardInterrupt

    sections = [Section("a", lambda _: {"value": 1}, 1.0), Section("b", stop, 1.0)]
    with pytest.raises(KeyboardInterrupt):
        run(bench(30), tmp_path, lambda _: None, sections)
    assert json.loads((tmp_path / FILE).read_text())["a"] == {"value": 1}


def test_longer_edits_are_expected_from_a_short_one() -> None:
    """10 s of coding, and 30 s for 5 steps."""
    assert expected_seconds(SHORT, 5) == 40.0
    assert expected_seconds(SHORT, 50) == 310.0
    enough, tight, short = bench(400), bench(200), bench(60)
    for each in (enough, tight, short):
        each.found["x"] = SHORT
    assert full_steps(enough, "x") == 50
    assert full_steps(tight, "x") == 25, "160 s by the estimate, a tenth and 10 s more to be sure"
    assert full_steps(short, "x") == 0
    assert full_steps(enough, "missing") == 0


def test_a_slower_machine_is_expected_to_take_longer() -> None:
    assert slowness({"machine": {"tflops_bf16": 77.9}}) == pytest.approx(10.0)
    assert slowness({"machine": {"tflops_bf16": 2000.0}}) == 1.0
    assert slowness({}) == 1.0
