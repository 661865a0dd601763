"""A training on several processes, as a user meets it."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

MODEL = """
from lightning.pytorch.demos.boring_classes import BoringModel

class Diverging(BoringModel):
    def training_step(self, batch, batch_idx):
        own = f" on process {self.global_rank}" if SEVERAL else ""
        raise FloatingPointError("10 losses in a row were not finite" + own)
"""

CONFIG = """
model: {class_path: diverging.Diverging}
data: {class_path: lightning.pytorch.demos.boring_classes.BoringDataModule}
trainer:
  accelerator: cpu
  devices: 2
  strategy: ddp
  max_steps: 2
  enable_model_summary: false
"""


@pytest.mark.parametrize(
    ("several", "told"),
    [
        (False, ["10 losses in a row were not finite"]),
        (True, [f"10 losses in a row were not finite on process {rank}" for rank in (0, 1)]),
    ],
    ids=["the same on all", "each another"],
)
def test_an_error_is_told_once(several: bool, told: list[str], tmp_path: Path) -> None:
    (tmp_path / "diverging.py").write_text(f"SEVERAL = {several}\n{MODEL}")
    (tmp_path / "two.yaml").write_text(CONFIG)
    ended = subprocess.run(
        [Path(sysconfig.get_path("scripts")) / "keyface", "fit", "-c", "two.yaml"],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "KEYFACE_TRUST": "diverging"},
    )
    assert ended.returncode == 1
    # Two processes may write into one line.
    assert sorted(re.findall(r"keyface: error: (.*?)(?=keyface: |$)", ended.stderr, re.M)) == told
    (run,) = (tmp_path / "runs" / "two").iterdir()
    assert {file.name for file in run.glob("error*")} == {"error.txt"}
