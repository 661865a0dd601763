"""What is read from the folders of runs."""

import json
import re
from pathlib import Path

import pytest
from dashboard_runs import MakeRun

from keyface.dashboard.runs import find_runs


def test_a_run_is_read_from_its_own_files(tmp_path: Path, make_run: MakeRun) -> None:
    folder = make_run(tmp_path / "exp" / "one", experiment="mine/exp", trainer={"max_steps": 4})
    (run,) = find_runs([folder])
    assert (run.name, run.steps, run.categories) == ("mine/exp/one", 4, ("glasses",))
    assert run.curves["edit/edit_success"] == [(0, 0.0), (2, 0.5), (4, 1.0)]
    assert run.curves["train/loss"] == [(0, 1.0), (1, 0.9), (2, 0.8), (3, 0.7)]
    assert "train/odd" not in run.curves, "what is not finite is no point"
    assert run.config["trainer.max_steps"] == 4
    (clip,) = run.edits[2]
    assert clip.video == folder / "edits" / "step-000002" / "glasses-0.mp4"
    assert (clip.categories, clip.measures["edit_success"]) == (("glasses",), 0.5)


def test_videos_without_a_record_are_shown_by_their_names(tmp_path: Path, make_run: MakeRun) -> None:
    (run,) = find_runs([make_run(tmp_path / "old", record=False)])
    (clip,) = run.edits[4]
    assert (clip.name, clip.measures, clip.target) == ("glasses-0", {}, "")


def test_runs_of_an_experiment_come_in_order_and_once(tmp_path: Path, make_run: MakeRun) -> None:
    make_run(tmp_path / "exp" / "a", started="2026-01-02")
    make_run(tmp_path / "exp" / "b", started="2026-01-01")
    (tmp_path / "exp" / "latest").symlink_to("a")
    found = find_runs([tmp_path, tmp_path / "exp" / "latest"])
    assert [run.folder.name for run in found] == ["b", "a"]


def test_a_resumed_run_is_one_with_what_it_went_on_from(tmp_path: Path, make_run: MakeRun) -> None:
    """The first part logged steps 0 to 4, the second began at step 2 with other figures."""
    first = make_run(tmp_path / "exp" / "first", started="1")
    second = make_run(
        tmp_path / "exp" / "second",
        started="2",
        steps=(2, 6),
        ckpt_path="exp/first/checkpoints/last.ckpt",
    )
    for places in ([tmp_path / "exp"], [second]):
        (run,) = find_runs(places)
        assert run.parts[-1].name == "second"
        assert run.curves["edit/edit_success"] == [(0, 0.0), (2, 0.5), (6, 1.5)], "step 4 was done again"
        assert list(run.edits) == [0, 2, 6]
    assert [run.folder for run in find_runs([first])] == [first]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("metrics.csv", "a,b\n1,2\n", "metrics.csv: has no column `step`"),
        (
            "metrics.csv",
            "step,train/loss\n0,1.0\nx,2\n",
            r"metrics.csv:3: invalid literal.*is the file whole",
        ),
        ("environment.json", "{", "environment.json: cannot be read as JSON"),
        ("environment.json", "[]", "environment.json: a dict is needed"),
        ("config.yaml", "a: [", "config.yaml"),
        ("edits/step-000002/edits.json", "{}", "edits.json: a list is needed"),
        ("edits/step-000002/edits.json", '[{"nam": 1}]', "edits.json: each edit needs a `name`"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, make_run: MakeRun, name: str, content: str, said: str
) -> None:
    folder = make_run(tmp_path / "run")
    (folder / name).write_text(content)
    with pytest.raises(ValueError, match=said):
        find_runs([folder])


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path}: no run in it; give a run's folder")):
        find_runs([tmp_path])
    with pytest.raises(FileNotFoundError, match="nowhere: no such folder"):
        find_runs([tmp_path / "nowhere"])


def test_the_record_of_the_callback_is_what_is_read(tmp_path: Path, make_run: MakeRun) -> None:
    """The names of folders and fields are those of `keyface.callbacks.edit_record`."""
    from keyface.callbacks.edit_record import RECORD, step_folder

    folder = make_run(tmp_path / "run")
    assert json.loads((step_folder(folder, 2) / RECORD).read_text())[0]["name"] == "glasses-0"
