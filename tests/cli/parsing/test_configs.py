"""Configs found by name."""

from importlib.resources import files
from pathlib import Path

import pytest

from keyface.cli.parsing.configs import find_config, with_found_configs

SHIPPED = Path(str(files("keyface.configs")))


@pytest.mark.parametrize("name", ["identity.yaml", "configs/identity.yaml", "miniature/identity.yaml"])
def test_shipped_configs_are_found_from_any_folder(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config(name) == SHIPPED / name.removeprefix("configs/")
    assert with_found_configs(["fit", "-c", name, f"--config={name}"])[2:] == [
        str(find_config(name)),
        f"--config={find_config(name)}",
    ]


def test_a_file_here_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "identity.yaml").write_text("model: null")
    assert find_config("identity.yaml").resolve() == tmp_path / "identity.yaml"


@pytest.mark.parametrize("name", ["idenity.yaml", "../setup.cfg", "/identity.yaml", "configs/../../a.yaml"])
def test_what_is_neither_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        find_config(name)
    assert str(caught.value).startswith(f"-c/--config {name}: no such file")
    assert ("did you mean 'identity.yaml'" in str(caught.value)) or name != "idenity.yaml"
