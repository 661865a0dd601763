"""What there is to say about external weights without reading them."""

from typing import Any

from keyface.weights.catalogue import Entry
from keyface.weights.store import Store


def describe(entry: Entry, store: Store) -> dict[str, Any]:
    """Return what there is to say about an entry without hashing anything."""
    missing, size = store.missing(entry), store.bytes(entry)
    return {
        "name": entry.name,
        "state": "yes" if not missing else "partly" if size else "no",
        "kind": entry.kind,
        "title": entry.title,
        "without": entry.without,
        "origin": entry.origin,
        "revision": entry.revision,
        "licence": entry.licence,
        "licence_url": entry.licence_url,
        "commercial": entry.commercial,
        "note": entry.note,
        "folder": str(store.folder(entry)),
        "bytes": size,
        "missing": [str(path) for path in missing],
        "sha256": {file.path: file.sha256 or file.sha256_starts or None for file in entry.files},
    }
