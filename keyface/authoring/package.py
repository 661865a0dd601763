"""The files of a new plugin package, from templates."""

import json
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from keyface.celeba import ATTRIBUTES
from keyface.plugins import Category
from keyface.plugins.registry import GROUP

TEMPLATES = "keyface.authoring.templates"


@dataclass(frozen=True)
class Draft:
    """What an author says of a category to begin with.

    Attributes:
        name: Of the category.
        targets: Phrases for the face after the edit; none takes the name.
        source: The phrase for the face before it; empty takes "no" and the name.
        attribute: The label that tells them apart; empty makes the name one of the category's own.
        regions: CelebAMask-HQ classes that may change.
    """

    name: str
    targets: tuple[str, ...] = ()
    source: str = ""
    attribute: str = ""
    regions: tuple[str, ...] = ()

    @property
    def category(self) -> Category:
        """Return the category that the package will hold.

        Raises:
            EditError: It is none.
        """
        words = self.name.replace("-", " ")
        attribute = self.attribute or "_".join(word.capitalize() for word in words.split())
        return Category(
            self.name,
            targets=self.targets or (words,),
            source=self.source or f"no {words}",
            attribute=attribute,
            own_labels=() if attribute in ATTRIBUTES or self.attribute else (attribute,),
            regions=self.regions,
        )


def package_files(draft: Draft) -> dict[str, str]:
    """Return the files of a package for one category: path in the package's folder → text.

    Raises:
        EditError: The draft makes no category.
    """
    import jinja2

    category = draft.category
    module = f"keyface_{category.name.replace('-', '_')}"
    environment = jinja2.Environment(
        autoescape=False,  # no page is made of these
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["quoted"] = lambda text: json.dumps(text, ensure_ascii=False)
    values = {
        "category": category,
        "package": f"keyface-{category.name}",
        "module": module,
        "constant": category.name.replace("-", "_").upper(),
        "group": GROUP,
    }
    names = {
        "pyproject.toml": "pyproject.toml.j2",
        f"{module}.py": "category.py.j2",
        f"tests/test_{category.name.replace('-', '_')}.py": "tests.py.j2",
        "README.md": "README.md.j2",
        ".github/workflows/test.yml": "test.yml.j2",
    }
    folder = files(TEMPLATES)
    return {
        path: environment.from_string((folder / name).read_text(encoding="utf-8")).render(values)
        for path, name in names.items()
    }


def write_package(draft: Draft, folder: Path) -> list[Path]:
    """Write a package into a folder of its own.

    Args:
        draft: What it begins with.
        folder: It must not exist, or be empty.

    Returns:
        The files.

    Raises:
        FileExistsError: The folder has something in it.
        EditError: The draft makes no category.
    """
    found = package_files(draft)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder}: exists; give another folder by -o/--output")
    written = []
    for name, text in found.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
