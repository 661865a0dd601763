"""Which finders of real faces have their weights on this machine; nothing is read."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

from keyface.weights.catalogue import catalogue
from keyface.weights.store import MissingWeightsError, Store, how_to_get

REAL_FINDERS = ("insightface", "human", "face-api")
"""Names of the catalogue, in the order in which they are chosen."""

ADVISED = "human"
"""The one that is fetched without an account and may be the best of those."""

PACK = Path("~/.insightface/models/buffalo_l")
"""Where the package insightface keeps its default pack; it counts as much as one in the folder of weights."""

NO_FINDER = (
    f"no finder of real faces is here; run `keyface weights get {ADVISED}`, which needs no account; there "
    f"are also {' and '.join(name for name in REAL_FINDERS if name != ADVISED)}"
)


def finders_here(store: Store) -> Iterator[str]:
    """Yield the names of the finders that can be used, in the order of `REAL_FINDERS`."""
    for name in REAL_FINDERS:
        if finder_folder(name, store) is not None and (
            name != "insightface" or importlib.util.find_spec(name)
        ):
            yield name


def finder_folder(name: str, store: Store) -> Path | None:
    """Return where a finder's weights lie; None where they are not here."""
    entry = catalogue()[name]
    if not store.missing(entry):
        return store.folder(entry)
    pack = PACK.expanduser()
    if name == "insightface" and all((pack / file.path).is_file() for file in entry.files):
        return pack
    return None


def require_finder(name: str, store: Store) -> Path:
    """Return where a finder's weights lie.

    Raises:
        MissingWeightsError: They are not here; the message says how to get them.
    """
    folder = finder_folder(name, store)
    if folder is None:
        entry = catalogue()[name]
        raise MissingWeightsError(how_to_get([entry], {name: store.missing(entry)}))
    return folder
