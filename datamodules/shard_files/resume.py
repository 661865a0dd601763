"""What an interrupted writer of shards left, so that it goes on instead of beginning again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from keyface.datamodules.shard_files.index import NAME, ShardEntry, ShardError, ShardIndex
from keyface.datamodules.shard_files.writer import shard_name


def finished_shards(folder: Path, wanted: Mapping[str, Any]) -> list[ShardEntry]:
    """Return the shards that are there already, complete and made with these settings.

    Args:
        folder: Where they would be.
        wanted: The settings; what else the index says of how it was made does not matter.

    Raises:
        ShardError: The folder holds shards that were made with other settings, or foreign tar files.
    """
    if not (folder / NAME).exists():
        if any(folder.glob("*.tar")) and not (folder / shard_name(0)).exists():
            raise ShardError(f"{folder}: holds other tar files and no {NAME}; choose another -o/--output")
        return []
    index = ShardIndex.read(folder)
    differing = [
        f"{name} {index.made.get(name)!r} (now {value!r})"
        for name, value in wanted.items()
        if index.made.get(name) != value
    ]
    if differing:
        raise ShardError(
            f"{folder}: was made with {', '.join(differing)}; choose another -o/--output or remove the folder"
        )
    index.check_sizes(folder)
    return list(index.shards)
