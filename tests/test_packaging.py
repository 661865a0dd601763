"""What is installed: every package, every config, and the versions that make them."""

import ast
import configparser
import importlib
import importlib.util
import os
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distribution, entry_points, packages_distributions
from pathlib import Path

import pytest
import yaml
from fsspec.registry import known_implementations
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args, make_launch_sweep_entrypoint

import keyface
from keyface.cli.commands import TRAINING
from keyface.cli.main import main
from keyface.cli.parsing.parser import build_parser
from keyface.datamodules.shard_sources.places import SCHEMES

ROOT = Path(__file__).parents[1]
MAPPED = ("lightning_modules", "datamodules", "callbacks", "plugins", "configs")
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")

# Those of `evaluate` are no configs of a training run, tests/evaluation reads them; nor are sweeps.
CONFIGS = sorted(
    path for path in (ROOT / "configs").rglob("*.yaml") if path.parent.name not in ("evaluate", "sweeps")
)
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


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
    assert scripts["keyface"] == scripts["lightning"] == "keyface.cli.main:main"
    assert "builtin" in entry_points(group="keyface.edits").names


def test_version_is_said_once() -> None:
    assert SETUP["metadata"]["version"] == keyface.__version__ == distribution("keyface").version


def test_pyproject_has_only_build_system_and_ruff() -> None:
    content = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(content) == {"build-system", "tool"}
    assert set(content["tool"]) == {"ruff"}


def requirements(*extras: str) -> dict[str, Requirement]:
    """What setup.cfg requires, by normalized name; "" stands for `install_requires`."""
    texts = [
        SETUP["options.extras_require"][extra] if extra else SETUP["options"]["install_requires"]
        for extra in extras
    ]
    parsed = [Requirement(line) for text in texts for line in text.splitlines() if line]
    return {canonicalize_name(each.name): each for each in parsed}


BUCKETS = {"s3": "s3fs", "gs": "gcsfs"}
"""Extras that `make setup` leaves out, and what fsspec, which calls it by name, imports for each."""

LEFT_OUT = (*BUCKETS, "dashboard")
"""Extras that `make setup` leaves out, with W&B's reports, which are of use to whoever is logged in there."""

EXTRAS = ("", *(extra for extra in SETUP["options.extras_require"] if extra not in LEFT_OUT))

TOOLS = {
    "ruff": "$(BIN)/ruff",
    "mypy": "$(BIN)/mypy",
    "import-linter": "$(BIN)/lint-imports",
    "pytest-xdist": "--numprocesses",
    "pytest-rerunfailures": "pytest.mark.flaky(reruns=1",
    "pre-commit": "$(BIN)/pre-commit",
    "pre-commit-hooks": ".venv/bin/end-of-file-fixer",
    "setuptools": "import setuptools",
    "mutmut": "scripts/mutants.py",
    "cyclonedx-bom": "$(BIN)/cyclonedx-py",
    "pip-audit": "scripts/audit.py",
    "sphinx": "$(BIN)/sphinx-build",
    "myst-parser": 'extensions = ["myst_parser"]',
    "furo": 'html_theme = "furo"',
}
"""How the Makefile, a hook, the site's settings or a mark call those requirements that nothing imports."""


def imported(*folders: str) -> dict[str, str]:
    """Modules outside the standard library that folders import, each with a file that does."""
    found: dict[str, str] = {}
    for folder in folders:
        for file in (ROOT / folder).rglob("*.py"):
            for name in imports_of(file):
                top = name.split(".")[0]
                if top not in sys.stdlib_module_names and top != "keyface":
                    found[name] = str(file.relative_to(ROOT))
    return found


def imports_of(file: Path) -> Iterator[str]:
    """Every module of an import statement, or of `import_module` or `importorskip` with a literal name."""
    folders = {file.parent}
    if ROOT / "tests" in file.parents:  # as pytest's `pythonpath` has it
        folders |= {ROOT / "tests", ROOT / "tests" / "lightning_modules"}
    local = {path.stem for folder in folders for path in folder.glob("*.py")}
    local |= {f"{path.parent.name}.{path.stem}" for path in (ROOT / "tests").glob("*/*.py")}
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "importorskip")
        ):
            names = [each.value for each in node.args if isinstance(each, ast.Constant)]
        yield from (name for name in names if file.parts[-2] == "keyface" or name not in local)


owners_of_modules = cache(packages_distributions)
"""Top-level modules with their distributions; each call reads the records of every installed package."""


@cache
def providers(module: str) -> frozenset[str]:
    """Normalized names of the installed distributions that a module comes from."""
    owners = owners_of_modules().get(module.split(".")[0], [])
    if len(owners) > 1:  # a namespace, such as google: those that have this very module
        path = module.replace(".", "/")
        owners = [
            owner
            for owner in owners
            if {f"{path}.py", f"{path}/__init__.py"} & {str(file) for file in distribution(owner).files or []}
        ]
    return frozenset(canonicalize_name(owner) for owner in owners)


def test_every_import_of_the_product_is_declared() -> None:
    declared = set(requirements(*(extra for extra in EXTRAS if extra != "dev")))
    left_out = {name.replace("-", "_") for name in requirements("dashboard")}
    missing = {
        module: file
        for module, file in imported("keyface", *MAPPED).items()
        if not providers(module) & declared and module.partition(".")[0] not in left_out
    }
    assert not missing, "neither install_requires nor an extra names the package of these"


def test_every_import_of_the_tests_is_declared() -> None:
    declared = set(requirements(*EXTRAS))
    missing = {module: file for module, file in imported("tests").items() if not providers(module) & declared}
    assert not missing


def test_every_requirement_is_used() -> None:
    product = {name for module in imported("keyface", *MAPPED) for name in providers(module)}
    extras = [extra for extra in EXTRAS if extra not in ("dev", "docs")]
    assert not set(requirements(*extras)) - product, "required, and imported nowhere"
    tests = {name for module in imported("tests") for name in providers(module)}
    files = (
        "Makefile",
        ".pre-commit-config.yaml",
        "docs/conf.py",
        "tests/lightning_modules/training_runs.py",
    )
    calls = "".join((ROOT / name).read_text() for name in files)
    called = {name for name, call in TOOLS.items() if call in calls}
    unused = set(requirements("dev", "docs")) - product - tests - called
    assert not unused, "neither imported nor called"


def test_buckets_come_with_what_fsspec_asks_for() -> None:
    for scheme, package in BUCKETS.items():
        (requirement,) = requirements(scheme).values()
        assert (requirement.name, requirement.extras) == ("fsspec", {scheme})
        assert scheme in SCHEMES
        assert known_implementations[scheme]["class"].startswith(f"{package}.")


def test_constraints_have_what_setup_installs() -> None:
    left_out = re.search(r"^EXTRAS := (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert left_out is not None
    assert ("", *left_out[1].split()) == EXTRAS


def test_the_malicious_releases_of_lightning_are_refused() -> None:
    allowed = requirements("")["lightning"].specifier
    assert not any(allowed.contains(version) for version in ("2.6.2", "2.6.3", "3.0.0"))
    assert all(allowed.contains(version) for version in ("2.6.1", "2.6.4"))


PIN = re.compile(
    r"(?P<name>[\w.-]+)==(?P<version>[\w.+]+)(?: ; (?P<marker>[^\\\n]+?))? \\\n"
    r"(?:    --hash=sha256:[0-9a-f]{64} \\\n)*    --hash=sha256:[0-9a-f]{64}\n"
)
CONSTRAINTS = (ROOT / "constraints.txt").read_text()
PINS = {canonicalize_name(pin["name"]): pin["version"] for pin in PIN.finditer(CONSTRAINTS)}


def test_constraints_are_pins_with_hashes_and_nothing_else() -> None:
    left = PIN.sub("", CONSTRAINTS)
    assert all(re.fullmatch(r"( *#.*)?", line) for line in left.splitlines()), "not a pin with its hashes"
    assert len(PINS) == len(PIN.findall(CONSTRAINTS)), "pinned twice"


def test_every_requirement_is_pinned_within_its_range() -> None:
    for name, requirement in requirements(*EXTRAS).items():
        assert name in PINS, f"{name} has no pin in constraints.txt: make constraints"
        assert requirement.specifier.contains(PINS[name], prereleases=True), f"{name}: make constraints"


def test_every_pin_is_needed_and_every_need_is_pinned() -> None:
    """Followed through the installed packages' own requirements, as they are on each platform."""
    needed: set[str] = set()
    for platform, machine in (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")):
        for python in ("3.11", "3.12", "3.13"):
            system = {"linux": "Linux", "darwin": "Darwin"}[platform]
            needed |= closure(
                default_environment()
                | {"sys_platform": platform, "platform_system": system, "platform_machine": machine}
                | {"python_version": python, "python_full_version": f"{python}.0"}
            )
    assert set(PINS) == needed - LEFT_OUT


LEFT_OUT = {"opencv-python"}
"""insightface asks for it; opencv-python-headless, which needs no libGL, fills the same folder."""


def test_setup_leaves_out_opencv_for_screens_and_accepts_no_other_lack() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert not LEFT_OUT & set(PINS)
    assert "opencv-python-headless" in PINS
    assert "install --no-deps --require-hashes" in makefile, (
        "pip would fetch it after all, or refuse the pins"
    )
    accepted = re.search(r"^LEFT_OUT := (.+)$", makefile, flags=re.MULTILINE)
    assert accepted is not None
    known = f"insightface {PINS['insightface']} requires opencv-python, which is not installed."
    assert re.fullmatch(accepted[1], known)
    for other in ("No broken requirements found.", known.replace("opencv-python", "onnxruntime"), ""):
        assert not re.fullmatch(accepted[1], other)


def closure(environment: dict[str, str]) -> set[str]:
    """Everything that setup.cfg needs in an environment, as far as what is installed here can tell."""
    open_ends = [
        (name, extra) for name, each in requirements(*EXTRAS).items() for extra in ("", *each.extras)
    ]
    seen = set(open_ends)
    while open_ends:
        name, extra = open_ends.pop()
        try:
            wanted = distribution(name).requires or []
        except ModuleNotFoundError:
            continue  # a package of another platform
        for requirement in map(Requirement, wanted):
            if requirement.marker and not requirement.marker.evaluate(environment | {"extra": extra}):
                continue
            found = {(canonicalize_name(requirement.name), each) for each in ("", *requirement.extras)}
            open_ends += found - seen
            seen |= found
    return {name for name, _ in seen}


@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_config_parses(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stage = "predict" if f"lightning predict -c configs/{config.name}" in config.read_text() else "fit"
    words = [stage, *base_of(config), "-c", str(config), "--print_config"]
    with pytest.raises(SystemExit) as exit_info:
        main(words)
    assert exit_info.value.code == 0, capsys.readouterr().err
    assert "class_path: keyface." in capsys.readouterr().out


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_makes_commands_that_parse(
    sweep: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command as wandb's agent makes it, with each parameter at its first or least value."""
    content = yaml.safe_load(sweep.read_text())
    drawn = {
        name: {"value": said.get("value", said.get("values", [said.get("min")])[0])}
        for name, said in content["parameters"].items()
    }
    made = create_sweep_command_args({"args": drawn})
    (program, *words), arguments = make_launch_sweep_entrypoint(made, content["command"])
    assert program == "lightning"
    assert len(arguments) == len(drawn) > 2
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as exit_info:
        main([*words, *arguments, "--print_config"])
    printed = capsys.readouterr()
    assert exit_info.value.code == 0, printed.err
    config = yaml.safe_load(printed.out)
    for name, value in drawn.items():
        place = config
        for key in name.split("."):
            place = place[key]
        assert place == value["value"], name
    assert config["trainer"]["logger"]["init_args"]["offline"] is False


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
