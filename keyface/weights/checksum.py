"""SHA-256 beside a checkpoint, as `sha256sum` writes it: damage shows before anything of it is used."""

from functools import lru_cache
from pathlib import Path

from keyface.files import sha256, write_text

SUFFIX = ".sha256"


def checksum_file(path: Path) -> Path:
    """Return where a checkpoint's checksum stands; a link's is that of what it leads to."""
    real = path.resolve()
    return real.with_name(f"{real.name}{SUFFIX}")


def write_checksum(path: Path) -> None:
    """Write the checksum of a file beside it, for `sha256sum -c` too."""
    write_text(checksum_file(path), f"{sha256(path)}  {path.name}\n")


def require_checksum(path: Path) -> None:
    """Refuse a file that is not the one whose checksum stands beside it; without one nothing is checked.

    Raises:
        ValueError: It is another, or the checksum cannot be read.
    """
    beside = checksum_file(path)
    if not path.is_file() or not beside.is_file():
        return
    wanted = beside.read_text(encoding="utf-8", errors="replace").partition(" ")[0].strip()
    state = path.stat()
    if wanted != _sha256(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns):
        raise ValueError(
            f"{path}: damaged: its SHA-256 is not the one in {beside.name} beside it; go on from an earlier "
            f"checkpoint, or remove {beside.name} if you have changed the file yourself"
        )


@lru_cache(maxsize=4)
def _sha256(path: Path, *state: int) -> str:
    """Hash a file once, however often a process asks before it is written again."""
    return sha256(path)
