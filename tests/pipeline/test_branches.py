"""Folders of fine-tuned branches, as users name them."""

from pathlib import Path

import pytest

from keyface.pipeline.branches import branch_folder


def export(folder: Path, name: str = "adapter_config.json") -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_text("{}")
    return folder


def test_an_export_a_run_and_an_experiment(tmp_path: Path) -> None:
    older = export(tmp_path / "runs" / "20260101-120000-aa" / "export", "config.json")
    newer = export(tmp_path / "runs" / "20260102-120000-aa" / "export")
    (tmp_path / "runs" / "20260103-120000-aa" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "20260104-120000-aa" / "export").mkdir(parents=True)
    (tmp_path / "runs" / "notes.txt").touch()
    assert branch_folder(older) == older
    assert branch_folder(older.parent) == older
    assert branch_folder(tmp_path / "runs") == newer


def test_where_there_is_none_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs" / "20260103-120000-aa").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="no fine-tuned branch"):
        branch_folder(tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such folder"):
        branch_folder(tmp_path / "nowhere")
