"""Config files: found by name, read with care, and named where something in them is wrong."""

from argparse import ArgumentError
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from keyface.configuration import did_you_mean
from keyface.untrusted import read_yaml


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


def check_config(path: Path | str, known: tuple[str, ...], switches: Collection[str] = ()) -> None:
    """Check a YAML file of options before it is parsed.

    Args:
        path: The file.
        known: Names of the options.
        switches: Those of them that are on or off; jsonargparse would take any value, and "no" for on.

    Raises:
        ValueError: It is not YAML, says a name twice, has a name that is no option's, or gives a switch or a
            group of options what is none.
    """
    seen: set[str] = set()
    for name, value in _options(read_yaml(path), known, path):
        if name in seen:
            raise ValueError(f"{path}: {name!r} is given twice; leave one of the two out")
        seen.add(name)
        if name in switches and not isinstance(value, bool):
            raise ValueError(f"{path}: {name} is {value!r}; it must be true or false")


def _options(
    content: Mapping[str, Any], known: tuple[str, ...], path: Path | str, prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the options in a config by dotted name; raise ValueError where a name is no option's."""
    for name, value in content.items():
        dotted = f"{prefix}{name}"
        if dotted in known:
            yield dotted, value
            continue
        if not any(each.startswith(f"{dotted}.") for each in known):
            raise ValueError(
                f"{path}: {dotted!r} is no option of this command{did_you_mean(dotted, known)}; "
                "--help lists all"
            )
        if isinstance(value, Mapping):
            yield from _options(value, known, path, f"{dotted}.")
        elif value is not None:
            raise ValueError(f"{path}: {dotted} is {value!r}; it must be a mapping from names to values")
