"""The folder of a study: what is public, what the key says, and the rule that was stated before.

study.json        the rule by which raters are left out, and what the study is made of
key.json          which video is whose: never served
answers.jsonl     what raters answered, a line each
public/           the page; plan.json has the orders, media/ the videos under random names
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from keyface.configuration import parse
from keyface.files import json_text, write_text
from keyface.study.protocol import Exclusion
from keyface.untrusted import UntrustedError, read_json_object

PAGE = ("index.html", "study.css", "study.js")
"""Files of the page, which come with keyface."""

MEDIA = re.compile(r"media/[0-9a-f]{32}\.(mp4|webm)")

_LIMIT = 64 * 2**20


@dataclass(frozen=True)
class Trial:
    """What one number of the plan stands for.

    Attributes:
        clip: The clip.
        method: Whose edit is shown; empty for what keyface made of the source.
        made: unedited, broken or practice; empty for an edit.
    """

    clip: str
    method: str = ""
    made: str = ""


@dataclass(frozen=True)
class Study:
    """A study as it lies on the disk.

    Attributes:
        folder: Where.
        digest: Its name: a hash of plan, key and rule, which every answer bears.
        title: Heading of the page.
        rule: Whose answers do not count.
        methods: Whose edits are compared.
        trials: By number.
        booklets: Orders of the trials.
        public: What may be served, relative to the folder `public`.
    """

    folder: Path
    digest: str
    title: str
    rule: Exclusion
    methods: tuple[str, ...]
    trials: tuple[Trial, ...]
    booklets: tuple[tuple[int, ...], ...]
    public: frozenset[str]

    @property
    def answers(self) -> Path:
        """Return the file that answers are appended to."""
        return self.folder / "answers.jsonl"

    @property
    def clips(self) -> tuple[str, ...]:
        """Return the clips that methods edited."""
        return tuple(sorted({trial.clip for trial in self.trials if trial.method}))

    @staticmethod
    def write(
        folder: Path, about: Mapping[str, Any], key: Mapping[str, Any], plan: Mapping[str, Any]
    ) -> None:
        """Write study.json, key.json and the plan."""
        write_text(folder / "study.json", json_text(about))
        write_text(folder / "key.json", json_text({"study": about["study"], **key}))
        (folder / "key.json").chmod(0o600)
        text = json.dumps({"study": about["study"], **plan}, ensure_ascii=False, separators=(",", ":"))
        write_text(folder / "public" / "plan.json", text + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a study.

        Raises:
            FileNotFoundError: There is none in the folder.
            ValueError: Its files do not belong together, or were changed since it was made.
        """
        missing = f"no such file, so {folder} is no study; `keyface study new` makes one"
        about, key, plan = (
            read_json_object(folder / name, missing=missing, limit=_LIMIT)
            for name in ("study.json", "key.json", "public/plan.json")
        )
        digest = about.get("study")
        for content in (key, plan):
            content.pop("study", None)
        try:
            fits = digest == study_digest(plan, key, about["exclusion"])
            if not fits:
                raise UntrustedError("plan, key or exclusion rule were changed since the study was made")
            return cls(
                folder,
                str(digest),
                str(plan["title"]),
                parse(Exclusion, about["exclusion"], f"{folder / 'study.json'}: exclusion"),
                tuple(key["methods"]),
                tuple(
                    Trial(each["clip"], each.get("method", ""), each.get("made", ""))
                    for each in key["trials"]
                ),
                tuple(tuple(order) for order in plan["booklets"]),
                _public(plan),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UntrustedError(
                f"{folder}: is no study of this version of keyface: {error!r:.80}"
            ) from error
        except UntrustedError as error:
            raise UntrustedError(
                f"{folder}: {error}; use the files as `keyface study new` wrote them"
            ) from error


def _public(plan: Mapping[str, Any]) -> frozenset[str]:
    media = {name for trial in plan["trials"] for name in (trial["source"], trial["shown"])}
    if odd := [name for name in media if not MEDIA.fullmatch(name)]:
        raise UntrustedError(f"plan.json names {odd[0]!r:.80}, which is no video of a study")
    return frozenset({*PAGE, "plan.json", *media})


def study_digest(plan: Mapping[str, Any], key: Mapping[str, Any], rule: Mapping[str, Any]) -> str:
    """Return a name for all that must not change between the first answer and the report, in hex."""
    text = json.dumps([plan, key, rule], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def page_text(name: str) -> str:
    """Return a file of the page as it comes with keyface."""
    return (files("keyface.study") / "page" / name).read_text(encoding="utf-8")
