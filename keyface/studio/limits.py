"""How much the studio takes: of disk, of clips, of words, of requests."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """Limit what users of the studio can ask for."""

    workspace_gb: float = 20.0
    """Size of all files in the workspace, in 10^9 bytes; uploads and new edits beyond it are refused."""
    upload_gb: float = 2.0
    """Size of one uploaded file, in 10^9 bytes."""
    seconds: float = 120.0
    """Length of a clip."""
    megapixels: float = 9.0
    """Size of a frame, in 10^6 pixels; 4K has 8.3."""
    characters: int = 500
    """Length of a prompt."""
    waiting: int = 100
    """Edits in the queue that are not done."""
    rate: int = 300
    """Requests a minute from one address. An open page makes about 60 while an edit runs."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not value > 0:
                raise ValueError(f"limits.{each.name} is {value:g}; it must be above 0")

    @property
    def workspace_bytes(self) -> int:
        """Return the most bytes of the workspace."""
        return int(self.workspace_gb * 1e9)

    @property
    def upload_bytes(self) -> int:
        """Return the most bytes of one upload."""
        return int(self.upload_gb * 1e9)
