"""The report for W&B, which is made without W&B's network and not sent."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from dashboard_runs import MakeRun

from keyface.cli.main import main
from keyface.dashboard.runs import Run, find_runs
from keyface.dashboard.workspace import Account, report

pytestmark = pytest.mark.filterwarnings("ignore:.*Pydantic V1 style")  # wandb-workspaces 0.4 has some

LOGGER = {
    "class_path": "lightning.pytorch.loggers.WandbLogger",
    "init_args": {"project": "faces", "save_dir": "runs"},
}
needs_workspaces = pytest.mark.skipif(
    find_spec("wandb_workspaces") is None, reason="the extra `dashboard` is not installed"
)


@pytest.fixture
def runs(tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """One run that W&B has and one that it has not, of an account that is logged in."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    first = make_run(tmp_path / "exp" / "a", started="1", trainer={"logger": LOGGER})
    (first / "wandb.json").write_text(json.dumps({"id": "8smnx83j", "name": "exp/a"}))
    make_run(tmp_path / "exp" / "b", started="2")
    return find_runs([tmp_path / "exp"])


@needs_workspaces
def test_a_report_has_the_runs_and_every_section(runs: list[Run]) -> None:
    made = report(Account("team", "faces"), runs, "exp")
    assert (made.entity, made.project, made.title) == ("team", "faces", "exp")
    runsets = [runset for block in made.blocks for runset in getattr(block, "runsets", ())]
    assert {(runset.entity, runset.project) for runset in runsets} == {("team", "faces")}
    for runset in runsets:
        runset.entity = ""  # the server is asked for the number of a team's project
    content: dict[str, Any] = json.loads(made._to_model().spec.model_dump_json(by_alias=True))
    grids = [block for block in content["blocks"] if block["type"] == "panel-grid"]
    panels = [panel for grid in grids for panel in grid["metadata"]["panelBankSectionConfig"]["panels"]]
    kinds = [panel["viewType"] for panel in panels]
    assert kinds[0] == "Scatter Plot"
    assert panels[0]["config"]["xAxis"].endswith("edit/identity_distance")
    assert panels[0]["config"]["yAxis"].endswith("edit/edit_success")
    media = [panel["config"]["mediaKeys"] for panel in panels if panel["viewType"] == "Media Browser"]
    assert media == [["edit/sheet"], ["edit/videos"]]
    drawn = [key for panel in panels for key in panel["config"].get("metrics") or []]
    assert set(drawn) >= {"train/loss", "train/loss_by_timestep/000-199", "edit/edit_success/glasses"}
    assert "edit/table" in json.dumps(panels[-1])
    for grid in grids:
        (runset,) = grid["metadata"]["runSets"]
        (chosen,) = runset["filters"]["filters"]
        assert (chosen["key"]["name"], chosen["value"]) == ("name", ["8smnx83j"]), "W&B's name is the id"


@needs_workspaces
def test_where_a_report_goes(runs: list[Run]) -> None:
    assert Account.of(None, runs) == Account("", "faces"), "as the config says"
    assert Account.of("team/other", runs) == Account("team", "other")
    assert Account.of("other", runs) == Account("", "other")


def test_what_is_missing_for_a_report_is_told_before_anything_is_written(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run", trainer={"logger": LOGGER})
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_IDENTITY_TOKEN_FILE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))

    def said() -> str:
        assert main(["dashboard", str(run), "--wandb"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        return line

    if find_spec("wandb_workspaces") is not None:
        assert "none of these runs was logged to W&B" in said()
        (run / "wandb.json").write_text('{"id": "8smnx83j", "name": "exp/a"}')
        assert "nobody is logged in" in said()
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    assert "pip install 'keyface[dashboard]'" in said()
    assert not list(run.glob("*.html"))
