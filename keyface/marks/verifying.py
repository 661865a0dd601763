"""What is known of a file: from its content credentials, its watermark and the record beside it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from keyface.files import sha256
from keyface.marks.credentials import EDIT, GENERATOR, LARGEST_SIDECAR, context
from keyface.marks.identities import identity_file
from keyface.marks.kinds import kind_of, sidecar_of
from keyface.untrusted import UntrustedError, parse_json, read_bytes, read_json_object

if TYPE_CHECKING:
    from keyface.marks.watermark_search import Sighting

Verdict = Literal["ours", "not ours", "broken", "watermarked"]

_LONGEST_HISTORY = 100


@dataclass(frozen=True)
class Found:
    """Content credentials of a file.

    Attributes:
        place: "in the file", or the name of the file beside it.
        faults: Why they do not fit the file, in C2PA's words; empty if they do.
        by: What wrote the file, such as "keyface 0.2.0"; None where they cannot be read.
        signer: Whom the certificate names.
        certificate: "own": made by keyface for this user; "trusted": vouched for by an authority that is
            trusted; "untrusted": anybody could have made it.
        edit: What keyface says of its edit; None if it did not write the file.
        history: What the sources were, the newest first: name, by, edit as above, faults.
    """

    place: str
    faults: Sequence[str] = ()
    by: str | None = None
    signer: str | None = None
    certificate: Literal["own", "trusted", "untrusted"] | None = None
    edit: Mapping[str, Any] | None = None
    history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Record:
    """The JSON file that an edit leaves beside its output.

    Attributes:
        name: The file's.
        matches: Whether it was written for exactly these bytes.
    """

    name: str
    matches: bool


@dataclass(frozen=True)
class Report:
    """What is known of a file.

    Attributes:
        file: The file.
        credentials: None where it has none.
        record: None where none beside it is about this file.
        watermark: What the search for it found; None where it was not looked for.
        unsearched: Why it was not looked for; None where it was.
        strict: Whether a signature counts only where somebody who is trusted vouches for it.
    """

    file: Path
    credentials: Found | None
    record: Record | None
    watermark: Sighting | None = None
    unsearched: str | None = None
    strict: bool = False

    @property
    def verdict(self) -> Verdict:
        """Return whether keyface wrote the file and nobody changed it since.

        Only credentials prove that; a record that fits says no more than its writer does. A watermark without
        keyface's credentials tells of an edit that was changed since.
        """
        if self.credentials is not None and self.credentials.faults:
            return "broken"
        if self.record is not None and not self.record.matches:
            return "broken"
        found = self.credentials
        if found is None or found.edit is None:
            return "watermarked" if self.watermark is not None and self.watermark.found else "not ours"
        return "not ours" if self.strict and found.certificate == "untrusted" else "ours"


def verify(file: Path, trusted: Path | None = None) -> Report:
    """Return what is known of a file.

    Args:
        file: A video or a picture.
        trusted: Certificates of authorities that are trusted, PEM; where they are given, a signature that
            neither they nor this user's own certificate vouch for does not count.

    Raises:
        FileNotFoundError: There is no such file, or none of certificates.
        ValueError: It is of no kind that could have credentials, or the certificates cannot be read.
    """
    anchors = _anchors(trusted)
    credentials = read_credentials(file, anchors)
    watermark, unsearched = look_for_watermark(file)
    return Report(file, credentials, read_record(file), watermark, unsearched, trusted is not None)


def read_credentials(file: Path, anchors: str | None = None) -> Found | None:
    """Return the credentials of a file, or of the file beside it; None where there are none.

    Args:
        file: A video or a picture.
        anchors: Certificates of authorities that are trusted, PEM.
    """
    from c2pa import C2paError, Reader

    kind, beside = kind_of(file), None
    place = "in the file"
    if not kind.embeds:
        if not sidecar_of(file).is_file():
            return None
        place = sidecar_of(file).name
        try:
            beside = read_bytes(sidecar_of(file), LARGEST_SIDECAR)
        except UntrustedError as error:
            return Found(place, (str(error),))
    with ExitStack() as stack:
        content = stack.enter_context(file.open("rb"))
        settings = stack.enter_context(context(anchors))
        try:
            reader = stack.enter_context(Reader(kind.mime, content, beside, context=settings))
            store, state = parse_json(reader.json(), place), reader.get_validation_state()
        except C2paError.ManifestNotFound:
            return None
        except C2paError.RemoteManifest:  # they are said to lie on a server, which is not asked
            return None
        except (C2paError, UntrustedError) as error:
            return Found(place, (str(error),))
    return _found(place, store, state)


def look_for_watermark(file: Path) -> tuple[Sighting | None, str | None]:
    """Return what the search for a watermark found, or why it was not looked for."""
    from keyface.marks.watermark_search import find_watermark
    from keyface.video import VideoReader

    if kind_of(file).mime.startswith("image/"):
        return None, "pictures have none"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what an edit would lose
        try:
            return find_watermark(VideoReader(file, on_corrupt="hold")), None
        except (ValueError, OSError) as error:
            return None, str(error)


def read_record(file: Path) -> Record | None:
    """Return what the record beside a file says of it; None where there is none about a file of this name."""
    path = file.with_suffix(".json")
    try:
        written = read_json_object(path)
    except (FileNotFoundError, UntrustedError):
        return None
    output = written.get("output")
    if "keyface" not in written or not isinstance(output, dict) or output.get("name") != file.name:
        return None
    return Record(path.name, output.get("sha256") == sha256(file))


def _found(place: str, store: Mapping[str, Any], state: str | None) -> Found:
    manifests: Mapping[str, Any] = store.get("manifests", {})
    active = manifests.get(store.get("active_manifest", ""), {})
    faults = _faults(store.get("validation_results"))
    if state not in ("Valid", "Trusted") and not faults:
        faults = ("the credentials do not fit the file",)
    signature = active.get("signature_info", {})
    certificate: Literal["own", "trusted", "untrusted"] = "untrusted"
    if _is_trusted(store.get("validation_results")):
        certificate = "own" if signature.get("cert_serial_number") == _own_number() else "trusted"
    signer = ", ".join(str(signature[key]) for key in ("issuer", "common_name") if signature.get(key))
    return Found(
        place, faults, _by(active), signer or None, certificate, _edit(active), _history(active, manifests)
    )


def _faults(results: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return what speaks against a manifest; that nobody vouches for its certificate is told apart."""
    failures = ((results or {}).get("activeManifest") or {}).get("failure", ())
    return tuple(
        f"{each.get('code')}: {each.get('explanation')}"
        for each in failures
        if each.get("code") != "signingCredential.untrusted"
    )


def _is_trusted(results: Mapping[str, Any] | None) -> bool:
    """Tell whether an authority that is trusted vouches for the signature, whatever became of the file."""
    successes = ((results or {}).get("activeManifest") or {}).get("success", ())
    return any(each.get("code") == "signingCredential.trusted" for each in successes)


def _by(manifest: Mapping[str, Any]) -> str | None:
    programs = manifest.get("claim_generator_info") or [{"name": manifest.get("claim_generator")}]
    return " ".join(str(programs[0][key]) for key in ("name", "version") if programs[0].get(key)) or None


def _edit(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return keyface's own assertion; None in what another program wrote."""
    if (_by(manifest) or "").split(" ")[0] != GENERATOR:
        return None
    found = (each.get("data") for each in manifest.get("assertions", ()) if each.get("label") == EDIT)
    return next((each for each in found if isinstance(each, dict)), None)


def _history(active: Mapping[str, Any], manifests: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the sources of a file, each the source of the one before it."""
    told: list[Mapping[str, Any]] = []
    manifest = active
    while len(told) < _LONGEST_HISTORY:
        parents = (each for each in manifest.get("ingredients", ()) if each.get("relationship") == "parentOf")
        parent = next(parents, None)
        if parent is None:
            break
        manifest = manifests.get(parent.get("active_manifest") or "", {})
        told.append(
            {
                "name": parent.get("title"),
                "by": _by(manifest),
                "edit": _edit(manifest),
                "faults": list(_faults(parent.get("validation_results"))),
            }
        )
    return told


def _own_number() -> str | None:
    """Return the number of the certificate that keyface made for this user; None where it made none."""
    own = _own_certificates()
    return None if own is None else str(own[0].serial_number)


def _own_certificates() -> Any:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(read_bytes(identity_file()))
    except (FileNotFoundError, ValueError):  # an UntrustedError is one
        return None


def _anchors(trusted: Path | None) -> str | None:
    """Return the certificates that are trusted: those given, and the authority that keyface made, PEM."""
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    certificates = list(_own_certificates() or ())[1:]
    if trusted is not None:
        try:
            certificates += load_pem_x509_certificates(read_bytes(trusted))
        except UntrustedError:
            raise
        except ValueError as error:
            raise ValueError(f"--trust {trusted}: holds no certificates in PEM") from error
    return "".join(each.public_bytes(Encoding.PEM).decode() for each in certificates) or None
