"""`keyface weights`: external weights by name: origin, licence, whether they are here and right."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

from keyface.commands.console import columns

if TYPE_CHECKING:
    from keyface.weights import Store


def list_weights(root: Path | None = None, json: bool = False) -> None:
    """List the external weights that keyface can use, and which of them are here.

    Args:
        root: Folder of the weights; models, or what KEYFACE_WEIGHTS says, if not given.
        json: Print JSON, with every file.
    """
    from keyface.weights import catalogue
    from keyface.weights.description import describe

    store = open_store(root)
    facts = [describe(entry, store) for entry in catalogue().values()]
    if json:
        print(dumps({"root": str(store.root), "weights": facts}, indent=1))
        return
    rows = [
        (fact["name"], fact["state"], fact["kind"], f"commercial: {fact['commercial']}", fact["title"])
        for fact in facts
    ]
    print(columns([("name", "here", "kind", "use", "what"), *rows]))
    print(
        f"folder: {store.root.resolve()}; `keyface weights get NAME...` fetches, `licences` shows the terms"
    )


def get(names: list[str], root: Path | None = None) -> None:
    """Fetch weights and check them; what is here already is only checked.

    Args:
        names: Names of weights, see `keyface weights list`.
        root: Folder of the weights; models, or what KEYFACE_WEIGHTS says, if not given.

    Raises:
        LookupError: There are no weights of such a name.
        MissingWeightsError: Some cannot be fetched; all of them are listed, with how to get them.
        ValueError: What is here differs from what was published.
    """
    from keyface.weights.catalogue import find_entry
    from keyface.weights.fetch import Fetcher

    Fetcher(open_store(root)).get([find_entry(name) for name in dict.fromkeys(names)])


def verify(name: list[str] | None = None, root: Path | None = None) -> None:
    """Hash the weights that are here and compare them with what was published, or with the first copy.

    Args:
        name: Only these weights, which must be here whole; everything that is here if not given.
        root: Folder of the weights; models, or what KEYFACE_WEIGHTS says, if not given.

    Raises:
        LookupError: There are no weights of such a name.
        ValueError: A file is not what it should be.
    """
    from keyface.weights import catalogue
    from keyface.weights.catalogue import find_entry

    store = open_store(root)
    chosen = [find_entry(each) for each in name or ()]
    entries = chosen or [entry for entry in catalogue().values() if store.bytes(entry)]
    checked = [(entry.name, each) for entry in entries for each in store.verify(entry)]
    if not checked:
        print(f"{store.root}: no weights are here; `keyface weights list` names them")
        return
    rows = [(owner, each.verdict, each.sha256[:12] or "-", each.path.name) for owner, each in checked]
    print(columns([("weights", "verdict", "sha256", "file"), *rows]))
    wrong = [each for _, each in checked if each.verdict in ("differs", "missing")]
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {len(checked)} files are not what they should be: "
            + "; ".join(f"{each.path} ({each.verdict})" for each in wrong)
            + ". Delete those that differ and run `keyface weights get` again"
        )


def licences() -> None:
    """Show the terms of each of the external weights, and whether they allow commercial use."""
    from keyface.weights import catalogue

    rows = [
        (entry.name, entry.commercial, entry.licence, entry.licence_url) for entry in catalogue().values()
    ]
    print(columns([("weights", "commercial", "licence", "where it stands"), *rows]))
    print(
        "commercial is keyface's reading and no legal advice; restricted: allowed within the licence's use "
        "restrictions. keyface itself is Apache-2.0 and brings none of these."
    )


def open_store(root: Path | None) -> Store:
    """Return the folder of the weights."""
    from keyface.weights import Store

    return Store() if root is None else Store(root)
