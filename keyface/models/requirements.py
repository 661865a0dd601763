"""What must lie in the folder of weights before networks are read."""

from pathlib import Path

from keyface.weights import MissingWeightsError, Store, catalogue
from keyface.weights.store import how_to_get


def require_weights(*names: object) -> None:
    """Raise one error for all weights that a config names and that are not here.

    Args:
        names: What the config says: names of the catalogue, also several separated by commas, and folders as
            `keyface weights get` fills them; everything else is passed over.

    Raises:
        MissingWeightsError: Files are missing; all of them are listed, with how to get them.
    """
    absent: dict[str, list[Path]] = {}
    for name in (part.strip() for each in names if isinstance(each, str) for part in each.split(",")):
        store, key = (Store(), name) if name in catalogue() else (Store(Path(name).parent), Path(name).name)
        entry = catalogue().get(key)
        if entry is not None and (key == name or not Path(name).exists()):
            absent |= {key: missing} if (missing := store.missing(entry)) else {}
    if absent:
        raise MissingWeightsError(how_to_get([catalogue()[name] for name in absent], absent))
