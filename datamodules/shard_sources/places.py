"""What `shards:` names: a folder, a brace pattern or a list, on the disk or behind URLs."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from braceexpand import braceexpand

from keyface.datamodules.shard_files.index import ShardError

SCHEMES: tuple[str, ...] = ("https", "s3", "gs")
"""What is fetched, by fsspec; http only from this machine, as in tests."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)(://|::)|(pipe):")

Given = str | Path | Sequence[str]


def is_url(place: str | Path) -> bool:
    """Say whether a place is behind a URL, and refuse those that are not fetched.

    Raises:
        ShardError: Its scheme is another than `SCHEMES`. `pipe:` would run a command.
    """
    found = _SCHEME.match(str(place))
    if found is None:
        return False
    parts = urlsplit(str(place))
    here = parts.scheme == "http" and parts.hostname == "127.0.0.1"
    if found[2] != "://" or not (found[1] in SCHEMES or here):
        raise ShardError(
            f"{shown(str(place))}: refused; shards are read from the disk or over {', '.join(SCHEMES)}, "
            f"not by {found[1] or found[3]}"
        )
    return True


def expand(given: Given) -> list[str] | None:
    """Return the tar files that a brace pattern or a list names, in order, or None where a folder is given.

    Example:
        >>> expand("data/{a,b}-{00..01}.tar")
        ['data/a-00.tar', 'data/a-01.tar', 'data/b-00.tar', 'data/b-01.tar']

    Raises:
        ShardError: The list is empty or names something else, or a scheme is refused.
    """
    if isinstance(given, str | Path):
        text = str(given)
        remote = is_url(text)
        names_files = _file_name(text).endswith(".tar") or ("{" in text and not Path(text).exists())
        if not names_files:
            if remote and "?" in text:
                raise ShardError(f"{shown(text)}: a URL with a query names a tar file, not a folder")
            return None
        given = [text]
    places = [place for each in given for place in _braces(str(each))]
    if not places:
        raise ShardError("the list of shards is empty")
    for place in places:
        is_url(place)
        if not _file_name(place).endswith(".tar"):
            raise ShardError(
                f"{shown(place)}: a list or pattern names tar files; give a folder by itself, and no list"
            )
    if len(set(places)) < len(places):
        twice = next(place for place in places if places.count(place) > 1)
        raise ShardError(f"{shown(twice)}: is named twice")
    return places


def beside(place: str, name: str) -> str:
    """Return the place of another file in the same folder."""
    return f"{place.rpartition('/')[0]}/{name}" if is_url(place) else str(Path(place).with_name(name))


def shown(place: str) -> str:
    """Return a place as messages tell it: queries of URLs, and users in them, may be secret."""
    if "://" not in place:
        return place
    parts = urlsplit(place)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _file_name(place: str) -> str:
    return PurePosixPath(urlsplit(place).path if "://" in place else place).name


def _braces(place: str) -> list[str]:
    try:
        return list(braceexpand(place)) if "{" in place and not Path(place).exists() else [place]
    except ValueError as error:
        raise ShardError(f"{shown(place)}: {error}") from error
