"""What is installed: every package, every config, and the versions that make them."""

import ast
import configparser
import importlib
import importlib.util
import os
import re
import tomllib
from importlib.metadata import distribution, entry_points
from pathlib import Path

import pytest

import keyface
from keyface.cli import TRAINING, build_parser, main

ROOT = Path(__file__).parents[1]
MAPPED = ("lightning_modules", "datamodules", "callbacks", "plugins", "configs")
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")

# Those of `evaluate` are no configs of a training run; tests/evaluation reads them.
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name != "evaluate")


def folders_of_the_tree() -> set[str]:
    """Every folder with Python files, as the package that it is installed as."""
    found = {"keyface"}
    for top in ("keyface", *MAPPED):
        for file in (ROOT / top).rglob("*.py"):
            parts = file.parent.relative_to(ROOT).parts
            found.add(".".join(parts if parts[0] == "keyface" else ("keyface", *parts)))
    return found


def test_every_folder_is_a_package_of_setup_cfg() -> None:
    listed = set(SETUP["options"]["packages"].split())
    assert listed == folders_of_the_tree()
    assert all(
        (ROOT / name.replace(".", "/") / "__init__.py").exists()
        for name in listed
        if top_of(name) == "keyface"
    )


def top_of(package: str) -> str:
    parts = package.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in MAPPED else "keyface"


@pytest.mark.parametrize("name", sorted(SETUP["options"]["packages"].split()))
def test_every_package_imports(name: str) -> None:
    assert importlib.import_module(name).__doc__ or name.endswith(("configs", "weights", "miniature"))


def test_ci_tests_the_wheel_and_not_the_working_tree() -> None:
    installed = Path(keyface.__file__).parent
    if os.environ.get("KEYFACE_INSTALLED") == "wheel":
        assert ROOT not in installed.parents or ".venv" in installed.parts
        assert "site-packages" in installed.parts
    for name in MAPPED:
        assert importlib.util.find_spec(f"keyface.{name}") is not None


def test_no_generic_name_is_installed() -> None:
    files = distribution("keyface").files or []
    tops = {file.parts[0] for file in files if file.suffix == ".py"}
    assert not tops & set(MAPPED)


def test_console_scripts_and_plugins() -> None:
    scripts = {point.name: point.value for point in entry_points(group="console_scripts")}
    assert scripts["keyface"] == scripts["lightning"] == "keyface.cli:main"
    assert "builtin" in entry_points(group="keyface.edits").names


def test_version_is_said_once() -> None:
    assert SETUP["metadata"]["version"] == keyface.__version__ == distribution("keyface").version


def test_pyproject_has_only_build_system_and_ruff() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(content) == {"build-system", "tool"}
    assert set(content["tool"]) == {"ruff"}


def test_every_requirement_is_pinned_within_its_range() -> None:
    pins = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    normal = {normalized(name): version for name, version in pins.items()}
    requirements = SETUP["options"]["install_requires"].split("\n")
    for extra in SETUP["options.extras_require"].values():
        requirements += extra.split("\n")
    for requirement in filter(None, requirements):
        name, least = re.match(r"([\w.-]+)(?:\[.*?\])?(?:>=([\d.]+))?", requirement).groups()  # type: ignore[union-attr]
        assert normalized(name) in normal, f"{name} has no pin in constraints.txt"
        if least:
            assert numbers(normal[normalized(name)]) >= numbers(least), name


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def test_constraints_name_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.+]+", line), line


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_parses(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = "predict" if f"lightning predict -c configs/{config.name}" in config.read_text() else "fit"
    words = [stage, *base_of(config), "-c", str(config), "--print_config"]
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 0, capsys.readouterr().err
    assert "class_path: keyface." in capsys.readouterr().out


def base_of(config: Path) -> list[str]:
    """A config says in its first lines with which other ones it composes: `-c a.yaml -c itself.yaml`."""
    said = re.search(r"-c (\S+\.yaml) -c \S+\.yaml", config.read_text())
    return ["-c", str(ROOT / said.group(1))] if said else []


def test_top_level_help_lists_lightnings_commands() -> None:
    help_text = build_parser().format_help()
    assert all(f" {name} " in help_text for name in TRAINING)


def test_commands_import_heavy_packages_inside_functions_only() -> None:
    heavy = {"torch", "torchvision", "lightning", "diffusers", "transformers", "numpy", "av", "matplotlib"}
    for file in (ROOT / "keyface" / "commands").glob("*.py"):
        if file.name.startswith("_"):
            continue
        for node in ast.parse(file.read_text()).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & heavy, f"{file.name}: {names}"


def test_weights_and_configs_are_installed() -> None:
    installed = Path(keyface.__file__).parent
    for here, there in (("keyface/miniature/weights", "miniature/weights"), ("configs", "configs")):
        files = [
            file
            for file in (ROOT / here).rglob("*")
            if file.suffix in {".safetensors", ".json", ".yaml", ".txt"}
        ]
        missing = [
            file for file in files if installed_path(installed, there, file.relative_to(ROOT / here)) is None
        ]
        assert not missing, "setup.cfg's package_data leaves these out"


def installed_path(installed: Path, folder: str, name: Path) -> Path | None:
    """Where a file is installed; an editable install keeps the mapped folders where they are."""
    places = (installed / folder / name, installed.parent / folder / name)
    return next((place for place in places if place.is_file()), None)
