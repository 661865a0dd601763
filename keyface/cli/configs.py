"""Config files: found by name, read with care, and named where something in them is wrong."""

from argparse import ArgumentError
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from keyface.configuration import did_you_mean, read_yaml


def find_config(name: str) -> Path:
    """Return the path of a config: a file as it is given, else one that ships with keyface.

    Args:
        name: A path; `identity.yaml`, `miniature/identity.yaml` and `configs/identity.yaml` name shipped
            configs from any folder.

    Raises:
        FileNotFoundError: There is neither; the nearest shipped names are told.
    """
    if Path(name).is_file():
        return Path(name)
    shipped = Path(str(files("keyface.configs")))
    inside = name.removeprefix("configs/")
    if not Path(inside).is_absolute() and ".." not in Path(inside).parts and (shipped / inside).is_file():
        return shipped / inside
    known = tuple(str(path.relative_to(shipped)) for path in sorted(shipped.rglob("*.yaml")))
    raise FileNotFoundError(f"-c/--config {name}: no such file{did_you_mean(inside, known)}")


def with_found_configs(words: Sequence[str]) -> list[str]:
    """Return a command line whose configs (`-c`, `--config`) are paths, each of which was read once.

    Raises:
        ArgumentError: There is no such config, it is not YAML or not a mapping, or it says a name twice.
    """
    found: list[str] = []
    for word in words:
        option, equals, name = word.partition("=")
        if found and found[-1] in ("-c", "--config"):
            found.append(_checked(word))
        elif option in ("-c", "--config") and equals:
            found.append(f"{option}={_checked(name)}")
        else:
            found.append(word)
    return found


def _checked(name: str) -> str:
    try:
        path = find_config(name)
        read_yaml(path)
    except (ValueError, OSError) as error:
        raise ArgumentError(None, str(error)) from error
    return str(path)


def check_config(path: Path | str, known: tuple[str, ...]) -> None:
    """Check a YAML file of options before it is parsed.

    Args:
        path: The file.
        known: Names of the options.

    Raises:
        ValueError: It is not YAML, says a name twice, or has a name that is no option's.
    """
    _check_names(read_yaml(path), known, path)


def _check_names(
    content: Mapping[str, Any], known: tuple[str, ...], path: Path | str, prefix: str = ""
) -> None:
    """Raise ValueError where a config has a name that is no option's."""
    for name, value in content.items():
        dotted = f"{prefix}{name}"
        if dotted in known:
            continue
        if not any(each.startswith(f"{dotted}.") for each in known):
            raise ValueError(
                f"{path}: {dotted!r} is no option of this command{did_you_mean(dotted, known)}; "
                "--help lists all"
            )
        if isinstance(value, Mapping):
            _check_names(value, known, path, f"{dotted}.")
