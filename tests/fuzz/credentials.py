"""Files with content credentials as input: valid ones by our own signer, and how they are read."""

import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

_NAMES = {".c2pa": "seed.mkv"}
"""What is signed to get a file of a suffix, where it is not that file itself."""


def signed(suffix: str) -> Callable[[], list[bytes]]:
    """Make a file that was edited once, and one twice; of .c2pa what stands beside a video."""

    @cache
    def make() -> list[bytes]:
        from tempfile import TemporaryDirectory

        with TemporaryDirectory() as name:
            first = Path(name, "first", _NAMES.get(suffix, f"seed{suffix}"))
            second = Path(name, "second", first.name)
            _write(first, first)
            _write(second, first)
            return [path.with_suffix(suffix).read_bytes() for path in (first, second)]

    return make


def read_signed(suffix: str) -> Callable[[Path, bytes], None]:
    """Verify a file, and sign another of which it is the source."""

    def read(folder: Path, data: bytes) -> None:
        from keyface.files import sha256
        from keyface.marks.credentials import Credentials
        from keyface.marks.identities import own_identity
        from keyface.marks.verifying import verify

        path = folder / _NAMES.get(suffix, f"seed{suffix}")
        path.with_suffix(suffix).write_bytes(data)
        if suffix in _NAMES:
            _content(path)
        assert verify(path).verdict in ("ours", "not ours", "broken")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*cannot be read and are left out")
            Credentials(own_identity(), path, sha256(path), "Synthetic.", {}).check()

    return read


def _write(path: Path, source: Path) -> None:
    """Sign a file; it is made from itself where there is no source yet."""
    from keyface.files import sha256
    from keyface.marks.credentials import Credentials
    from keyface.marks.identities import own_identity

    unsigned = path.with_name("unsigned" + path.suffix)
    path.parent.mkdir()
    _content(unsigned)
    if not source.exists():
        _content(source)
    Credentials(own_identity(), source, sha256(source), "Synthetic.", {"edits": ["beard"]}).publish(
        unsigned, path
    )


def _content(path: Path) -> None:
    """Write three frames, the same each time."""
    import torch

    from keyface.video import open_writer

    frames = torch.linspace(-1, 1, 3 * 3 * 24 * 32).view(3, 3, 24, 32)
    with open_writer(path, fps=25) as writer:
        writer.write(frames[:1] if path.suffix == ".png" else frames)
