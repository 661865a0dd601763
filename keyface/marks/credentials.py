"""Content credentials (C2PA) of what an edit writes: signed, with the source and what was done to it.

All happens on this machine: nothing is fetched, no service stamps the time.
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import keyface
from keyface.files import publish, sha256, temporary_beside, write_bytes
from keyface.marks.kinds import KINDS, Kind, kind_of, sidecar_of
from keyface.untrusted import UntrustedError, parse_json, read_bytes

if TYPE_CHECKING:
    from c2pa import Builder, Context, Signer

    from keyface.marks.identities import Identity

Shows = Literal["edit", "comparison", "mask"]

GENERATOR = "keyface"
EDIT = "keyface.edit"
"""Label of keyface's own assertion: what was edited with which model."""

LARGEST_SIDECAR = 2**26
_SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
_SOURCE_TYPE: Mapping[Shows, str] = {
    "edit": f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia",
    "comparison": f"{_SOURCE_TYPES}compositeWithTrainedAlgorithmicMedia",
    "mask": f"{_SOURCE_TYPES}trainedAlgorithmicMedia",
}
"""IPTC's terms: an edit is the source with a model's part put in; a mask comes from the model alone."""

SETTINGS: Mapping[str, Any] = {
    "verify": {"remote_manifest_fetch": False, "ocsp_fetch": False},
    "core": {"backing_store_memory_threshold_in_mb": 16},
    "builder": {
        "thumbnail": {"enabled": False},
        "created_assertion_labels": ["c2pa.actions", "c2pa.ingredient", EDIT],
    },
}
"""Of the C2PA library: no network, files larger than this on disk, and who signs made the statements."""


class Credentials:
    """Sign the files of one edit.

    Args:
        identity: Whose signature.
        source: The edited file; credentials that it has are kept as its history.
        source_sha256: Its hash.
        statement: The sentence that says what the output is.
        edit: What was done with what, as JSON takes it: "model", "weights", "edits", ….

    Attributes:
        unsigned: SHA-256 of each published file before its credentials were added. Signatures differ each
            time; this is equal where the same edit is repeated.
    """

    def __init__(
        self, identity: Identity, source: Path, source_sha256: str, statement: str, edit: Mapping[str, Any]
    ) -> None:
        self.identity = identity
        self.source = source
        self.source_sha256 = source_sha256
        self.statement = statement
        self.edit = dict(edit)
        self.unsigned: dict[Path, str] = {}
        # Names need not be UTF-8, credentials are.
        self._name = os.fsencode(source.name).decode(errors="backslashreplace")
        try:
            self._kind: Kind | None = kind_of(source)
        except ValueError:  # of a kind that has no credentials
            self._kind = None

    def check(self) -> None:
        """Sign a picture of one pixel with all that outputs will hold, so that faults show before the edit.

        Raises:
            ValueError: The certificate is none for signing content, or the source has just been changed.
        """
        from c2pa import C2paError
        from PIL import Image

        picture = io.BytesIO()
        Image.new("RGB", (1, 1)).save(picture, "PNG")
        try:
            self._sign(picture, io.BytesIO(), KINDS[".png"], "edit")
        except C2paError:
            # Either the certificate or the source is to blame; without the source's history it shows. The
            # library hides why it could not read: a failing disk is told here.
            if sha256(self.source) != self.source_sha256:
                raise ValueError(f"{self.source}: has just been changed; repeat the command") from None
            self._kind = None
            try:
                self._sign(picture, io.BytesIO(), KINDS[".png"], "edit")
            except C2paError as error:
                raise ValueError(
                    f"{self.identity.name}: this certificate cannot sign content credentials ({error}); it "
                    "must be for digital signatures, with the extended usage emailProtection or "
                    "documentSigning, and be signed by another certificate"
                ) from error
            warnings.warn(
                f"{self.source}: content credentials that it may have cannot be read and are left out of the "
                "output's history",
                stacklevel=2,
            )

    def publish(self, temporary: Path, path: Path, shows: Shows = "edit") -> None:
        """Sign a finished file, and only then give it its name.

        Credentials that the kind of file cannot hold are published before the file itself.

        Args:
            temporary: The file under its temporary name; it is gone afterwards.
            path: The name, on the same disk.
            shows: What is to be seen.

        Raises:
            OSError: It cannot be signed or written; the name is then as it was.
        """
        from c2pa import C2paError

        signed = temporary_beside(path)
        kind = KINDS[path.suffix.lower()]
        try:
            self.unsigned[path] = sha256(temporary)
            with temporary.open("rb") as unsigned, signed.open("w+b") as target:
                manifest = self._sign(unsigned, target, kind, shows)
            if not kind.embeds:
                write_bytes(sidecar_of(path), manifest)
            publish(signed, path)
        except C2paError as error:
            raise OSError(f"{path}: cannot be signed: {error}") from error
        except OSError as error:
            if error.filename is not None:
                raise
            raise OSError(
                f"{path}: cannot be written to its end: {error.strerror}; make room, or choose another disk"
            ) from error
        finally:
            signed.unlink(missing_ok=True)
            temporary.unlink(missing_ok=True)

    def _sign(self, unsigned: Any, target: Any, kind: Kind, shows: Shows) -> bytes:
        """Write the file with its credentials, or a copy where it cannot hold them, and return them."""
        with context() as settings, self._builder(settings, shows) as builder, self._signer() as signer:
            if not kind.embeds:
                builder.set_no_embed()
            manifest: bytes = builder.sign(signer, kind.mime, unsigned, target)
            return manifest

    def _builder(self, settings: Context, shows: Shows) -> Builder:
        from c2pa import Builder, C2paBuilderIntent

        agent = {"name": GENERATOR, "version": keyface.__version__}
        action = {
            "action": "c2pa.edited",
            "digitalSourceType": _SOURCE_TYPE[shows],
            "softwareAgent": agent,
            "description": self.statement,
        }
        told = {
            "statement": self.statement,
            "keyface": keyface.__version__,
            "shows": shows,
            "source": {"name": self._name, "sha256": self.source_sha256},
            **self.edit,
        }
        builder = Builder(
            {
                "claim_generator_info": [agent],
                "assertions": [
                    {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
                    {"label": EDIT, "data": told},
                ],
            },
            settings,
        )
        builder.set_intent(C2paBuilderIntent.EDIT)
        ingredient: dict[str, Any] = {
            "title": self._name,
            "relationship": "parentOf",
            "instance_id": f"sha256:{self.source_sha256}",
        }
        if self._kind is None:
            builder.add_ingredient(ingredient, "application/octet-stream", io.BytesIO())
            return builder
        beside = None if self._kind.embeds else _history_beside(self.source, self._kind, settings)
        if beside is not None:
            builder.add_resource("source.c2pa", io.BytesIO(beside[0]))
            ingredient |= {
                "manifest_data": {"format": "application/c2pa", "identifier": "source.c2pa"},
                "validation_results": beside[1],
            }
        with self.source.open("rb") as file:
            builder.add_ingredient(ingredient, self._kind.mime, file)
        return builder

    def _signer(self) -> Signer:
        from c2pa import C2paSignerInfo, Signer

        return Signer.from_info(
            C2paSignerInfo(self.identity.algorithm.encode(), self.identity.chain, self.identity.key, None)
        )


def context(anchors: str | None = None) -> Context:
    """Return the C2PA library's settings: offline, and certificates that are trusted, PEM, beside its own."""
    from c2pa import Context

    trust = {} if anchors is None else {"trust": {"user_anchors": anchors}}
    return Context.from_dict({**SETTINGS, **trust})


def _history_beside(source: Path, kind: Kind, settings: Context) -> tuple[bytes, Any] | None:
    """Return the credentials in the file beside a source and how they fit it; None without any."""
    from c2pa import C2paError, Reader

    try:
        manifest = read_bytes(sidecar_of(source), LARGEST_SIDECAR)
        with source.open("rb") as file, Reader(kind.mime, file, manifest, context=settings) as reader:
            return manifest, parse_json(reader.json(), str(source)).get("validation_results")
    except (FileNotFoundError, UntrustedError, C2paError):
        return None
