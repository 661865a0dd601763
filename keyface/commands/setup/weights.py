"""`keyface weights`: external weights by name: origin, licence, whether they are here and right."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from keyface.commands.console import columns, print_json

if TYPE_CHECKING:
    from keyface.weights import Store


def list_weights(root: Path | None = None, json: bool = False) -> None:
    """List the external weights that keyface can use, and which of them are here.

    Args:
        root: Folder of the weights; models, or what KEYFACE_WEIGHTS says, if not given.
        json: Print JSON, with every file, and nothing else on stdout.
    """
    from keyface.weights import catalogue
    from keyface.weights.description import describe

    store = open_store(root)
    facts = [describe(entry, store) for entry in catalogue().values()]
    if json:
        print_json({"root": str(store.root), "weights": facts})
        return
    rows = [
        (fact["name"], fact["state"], fact["kind"], f"commercial: {fact['commercial']}", fact["title"])
        for fact in facts
    ]
    print(columns([("name", "here", "kind", "use", "what"), *rows]))
    print(
        f"folder: {store.root.resolve()}; `keyface weights get NAME...` fetches, `licences` shows the terms"
    )


def get(names: list[str], root: Path | None = None, json: bool = False) -> None:
    """Fetch weights and check them; what is here already is only checked.

    Args:
        names: Names of weights, see `keyface weights list`.
        root: Folder of the weights; models, or what KEYFACE_WEIGHTS says, if not given.
        json: Print JSON about these weights as they are here then, and nothing else on stdout.

    Raises:
        LookupError: There are no weights of such a name.
        MissingWeightsError: Some cannot be fetched; all of them are listed, with how to get them.
        ValueError: What is here differs from what was published.
    """
    from keyface.progress import say
    from keyface.weights.catalogue import find_entry
    from keyface.weights.description import describe
    from keyface.weights.fetch import Fetcher

    store = open_store(root)
    entries = [find_entry(name) for name in dict.fromkeys(names)]
    Fetcher(store, say if json else print).get(entries)
    if json:
        print_json({"root": str(store.root), "weights": [describe(entry, store) for entry in entries]})


def verify(name: list[str] | None = None, root: Path | None = None, json: bool = False) -> None:
    """Hash the weights that are here and compare them with what was published, or with the first copy.

    Args:
        name: Only these weights, which must be here whole; everything that is here if not given.
        root: Folder of the weights; models, or what KEYFACE_WEIGHTS says, if not given.
        json: Print JSON, a list with one object a file, and nothing else on stdout.

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
    if json:
        print_json(
            [
                {
                    "weights": owner,
                    "verdict": each.verdict,
                    "sha256": each.sha256 or None,
                    "file": str(each.path),
                }
                for owner, each in checked
            ]
        )
    elif not checked:
        print(f"{store.root}: no weights are here; `keyface weights list` names them")
    else:
        rows = [(owner, each.verdict, each.sha256[:12] or "-", each.path.name) for owner, each in checked]
        print(columns([("weights", "verdict", "sha256", "file"), *rows]))
    wrong = [each for _, each in checked if each.verdict in ("differs", "missing")]
    if wrong:
        raise ValueError(
            f"{len(wrong)} of {len(checked)} files are not what they should be: "
            + "; ".join(f"{each.path} ({each.verdict})" for each in wrong)
            + ". Delete those that differ and run `keyface weights get` again"
        )


def licences(json: bool = False) -> None:
    """Show the terms of each of the external weights, and whether they allow commercial use.

    Args:
        json: Print JSON, a list with one object for each of the weights, and nothing else on stdout.
    """
    from keyface.weights import catalogue

    header = ("weights", "commercial", "licence", "where it stands")
    rows = [
        (entry.name, entry.commercial, entry.licence, entry.licence_url) for entry in catalogue().values()
    ]
    if json:
        print_json([dict(zip((*header[:3], "url"), row, strict=True)) for row in rows])
        return
    print(columns([header, *rows]))
    print(
        "commercial is keyface's reading and no legal advice; restricted: allowed within the licence's use "
        "restrictions. keyface itself is Apache-2.0 and brings none of these."
    )


def open_store(root: Path | None) -> Store:
    """Return the folder of the weights."""
    from keyface.weights import Store

    return Store() if root is None else Store(root)
