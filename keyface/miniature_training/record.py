"""What of a run is done, in a file, so that the same command goes on where it was killed."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keyface.files import json_text, write_text
from keyface.miniature_training.shares import Sizes
from keyface.untrusted import read_json_object

FILE = "train.json"


@dataclass
class Record:
    """The state of a run.

    Attributes:
        path: Of the file.
        settings: What the user asked for; the same run has the same.
        sizes: See `Sizes`.
        seconds: Stage → how long it may train, from its beginning on.
        used: Finished stage → seconds that it took in all.
        results: Finished stage → what the last table says of it.
    """

    path: Path
    settings: dict[str, Any]
    sizes: Sizes
    seconds: dict[str, float] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> "Record | None":
        """Return the record of the run in a folder; None where there was none.

        Raises:
            ValueError: It is damaged.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            found = read_json_object(path)
            return cls(path, **{**found, "sizes": Sizes(**found["sizes"])})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{path}: damaged, so this run cannot go on; begin anew with --restart"
            ) from error

    def write(self) -> None:
        """Write the file, whole or not at all."""
        content = asdict(self)
        del content["path"]
        write_text(self.path, json_text(content))

    def finished(self) -> bool:
        """Say whether all stages are done."""
        return set(self.settings["shares"]) <= set(self.used)

    def differences(self, settings: dict[str, Any]) -> list[str]:
        """Return what other settings differ in, in words."""
        return [
            f"{name} {self.settings.get(name)!r} (now {value!r})"
            for name, value in settings.items()
            if self.settings.get(name) != value
        ]
