"""CelebA-HQ as its authors publish it, or the same files in other folders: what lies where, and the lists."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from keyface.celeba import CELEBA_ATTRIBUTES
from keyface.datamodules.shard_files.index import ShardError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

IMAGES = "CelebA-HQ-img"
ATTRIBUTES = "CelebAMask-HQ-attribute-anno.txt"
MASKS = "CelebAMask-HQ-mask-anno"
MAPPING = "CelebA-HQ-to-CelebA-mapping.txt"

_KEY = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True)
class Layout:
    """Where the parts of the data set are.

    Attributes:
        images: Folder of pictures; a picture's name without its ending is its key.
        attributes: The list of 40 labels of each picture.
        masks: Folder of masks, or None; see `keyface.datamodules.celeba.masks`.
        mapping: Which picture of CelebA each one was made of, or None.
    """

    images: Path
    attributes: Path
    masks: Path | None = None
    mapping: Path | None = None

    @classmethod
    def find(
        cls,
        images: Path,
        attributes: Path | None = None,
        masks: Path | None = None,
        mapping: Path | None = None,
    ) -> "Layout":
        """Find the parts that are not named: beside the pictures, where CelebAMask-HQ has them.

        Args:
            images: The folder `CelebAMask-HQ`, its `CelebA-HQ-img`, or any folder of pictures.
            attributes: As in the class.
            masks: As in the class.
            mapping: As in the class.

        Raises:
            ShardError: Something is not there; everything that is missing is named at once.
        """
        root = images if (images / IMAGES).is_dir() else images.parent
        published = root / IMAGES in (images, images / IMAGES)
        pictures = root / IMAGES if published else images
        beside = {name: root / name for name in (ATTRIBUTES, MASKS, MAPPING) if published}
        attributes = attributes or beside.get(ATTRIBUTES)
        if masks is None and (found := beside.get(MASKS)) is not None and found.is_dir():
            masks = found
        if mapping is None and (found := beside.get(MAPPING)) is not None and found.is_file():
            mapping = found
        missing = [f"--images {pictures} (no such folder)"] if not pictures.is_dir() else []
        if attributes is None:
            missing.append("--attributes FILE (the list of 40 labels a picture)")
        elif not attributes.is_file():
            missing.append(f"--attributes {attributes} (no such file)")
        if masks is not None and not masks.is_dir():
            missing.append(f"--masks {masks} (no such folder)")
        if mapping is not None and not mapping.is_file():
            missing.append(f"--mapping {mapping} (no such file)")
        if missing or attributes is None:
            raise ShardError(f"CelebA-HQ is not complete: {'; '.join(missing)}")
        return cls(pictures, attributes, masks, mapping)

    def pictures(self) -> dict[str, Path]:
        """Return the path of each picture by its key.

        Raises:
            ShardError: There are none, or a name cannot be a key.
        """
        found = sorted(path for path in self.images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        wrong = [path.name for path in found if not _KEY.fullmatch(path.stem)]
        if wrong:
            raise ShardError(
                f"{self.images / wrong[0]}: a picture's name may hold letters, digits, '_' and '-' only"
                f"{f' ({len(wrong) - 1} more)' if len(wrong) > 1 else ''}; rename it"
            )
        by_key = {path.stem: path for path in found}
        if len(by_key) < len(found):
            twice = next(path for path in found if by_key[path.stem] != path)
            raise ShardError(f"{twice}: there is also {by_key[twice.stem].name}; keep one of them")
        if not found:
            raise ShardError(f"{self.images}: no pictures ({', '.join(IMAGE_SUFFIXES)})")
        return by_key


def read_attributes(path: Path) -> dict[str, dict[str, bool]]:
    """Read the list of labels: CelebA's own (count, names, then 1 or -1 a picture), or the same as CSV.

    Returns:
        The 40 labels of each key, and those of one's own that further columns give.

    Raises:
        ShardError: The file is not such a list; the message names the line.
    """
    names, rows = _table(path)
    missing = [name for name in CELEBA_ATTRIBUTES if name not in names]
    if missing:
        raise ShardError(f"{path}: no CelebA attribute list, it does not name {', '.join(missing[:3])}")
    further = [name for name in names if name not in CELEBA_ATTRIBUTES]
    for name in further:
        if not re.fullmatch(r"\w+", name):
            raise ShardError(f"{path}: label {name!r}: it must be letters, digits and '_'")
    labels = {}
    for line, key, values in rows:
        if not set(values) <= {"1", "-1", "0"}:
            raise ShardError(f"{path}, line {line}: labels are 1 and -1 (or 0), not {values}"[:200])
        held = dict(zip(names, (value == "1" for value in values), strict=True))
        labels[key] = {name: held[name] for name in (*CELEBA_ATTRIBUTES, *further)}
    return labels


def read_landmarks(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read five landmarks a picture, in CelebA's format (count, names, then ten numbers) or as CSV.

    Returns:
        (5, 2) pixels (x, y) of the stored picture, by key: eyes, nose, mouth corners, left of the picture
        first.

    Raises:
        ShardError: The file is not such a list; the message names the line.
    """
    names, rows = _table(path)
    if len(names) != 10:
        raise ShardError(f"{path}: no list of five landmarks, it has {len(names)} columns instead of 10")
    landmarks = {}
    for line, key, values in rows:
        try:
            landmarks[key] = np.array(values, dtype=np.float32).reshape(5, 2)
        except ValueError as error:
            raise ShardError(f"{path}, line {line}: ten numbers are needed: {error}") from error
    return landmarks


def read_identities(path: Path, mapping: Path | None) -> dict[str, int]:
    """Read who is in each picture, from CelebA's `identity_CelebA.txt` (name and number a line).

    Args:
        path: The list; without a mapping its names are those of the pictures.
        mapping: CelebAMask-HQ's list of the CelebA picture behind each of its own.
    """
    known: dict[str, int] = {}
    for number, line in enumerate(_lines(path), 1):
        words = line.replace(",", " ").split()
        if len(words) == 2 and words[1].isdigit():
            known[_key(words[0])] = int(words[1])
        elif number > 1:  # the first line of a CSV names the columns
            raise ShardError(f"{path}, line {number}: a picture and a whole number are needed")
    if mapping is None:
        return known
    found = {}
    for number, line in enumerate(_lines(mapping)[1:], 2):
        words = line.split()
        if len(words) != 3:
            raise ShardError(f"{mapping}, line {number}: idx, orig_idx and orig_file are needed")
        if _key(words[2]) in known:
            found[words[0]] = known[_key(words[2])]
    return found


def _table(path: Path) -> tuple[list[str], list[tuple[int, str, list[str]]]]:
    """Return column names, and (line number, key, values) of each row."""
    lines = _lines(path)
    if lines and lines[0].strip().isdigit():  # CelebA's lists begin with the number of pictures
        names, first, cells = lines[1].split() if len(lines) > 1 else [], 2, [each.split() for each in lines]
    else:
        cells = list(csv.reader(lines))
        names, first = [name.strip() for name in cells[0][1:]] if cells else [], 1
    rows = []
    for line, row in enumerate(cells[first:], first + 1):
        if not row:
            continue
        if len(row) != len(names) + 1:
            raise ShardError(f"{path}, line {line}: {len(row) - 1} values for {len(names)} columns")
        rows.append((line, _key(row[0]), [value.strip() for value in row[1:]]))
    if not rows:
        raise ShardError(f"{path}: lists no pictures")
    return names, rows


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise ShardError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ShardError(f"{path}: cannot be read: {error}") from error


def _key(name: str) -> str:
    return name.strip().partition(".")[0]


def require_all(keys: list[str], found: Mapping[str, object], what: str) -> None:
    """Refuse a list that lacks pictures.

    Raises:
        ShardError: It does.
    """
    absent = [key for key in keys if key not in found]
    if absent:
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise ShardError(f"{what} lacks {absent[0]}{more} of {len(keys)} pictures")
