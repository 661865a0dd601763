"""`keyface verify`: what is known of a file from its content credentials, its watermark and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keyface.marks.verifying import Found, Report

STATUS = {"ours": 0, "not ours": 3, "broken": 4, "watermarked": 4}
"""Exit status by verdict; 1 and 2 are errors, as everywhere."""

_SAID = {
    "ours": "an edit by keyface, unchanged since",
    "not ours": "nothing shows that keyface wrote it",
    "watermarked": "edited by keyface (watermark), and changed since: its credentials were removed",
    "broken": "changed after it was signed or recorded, or its credentials are damaged",
}
_TRUST = {
    "own": "a certificate that keyface made for you",
    "trusted": "a certificate that is trusted",
    "untrusted": "a certificate that nobody vouches for: anybody could have made it",
}


def verify(file: Path, trust: Path | None = None, json: bool = False) -> int:
    """Say whether keyface wrote a file, whether it is unchanged since, and what was edited.

    The exit status is 0 for an edit by keyface that is unchanged, 3 where nothing shows that keyface wrote
    it, 4 where it was changed after it was signed or recorded, or only its watermark is left; 1 and 2 for
    errors. Nothing is fetched.

    Args:
        file: The video or picture: mp4, m4v, mov, mkv, webm, avi, png, jpg or webp. What mkv and webm cannot
            hold is read from the file beside them of the same name with .c2pa.
        trust: Certificates of authorities that you trust, PEM. A signature that neither they nor your own
            certificate vouch for then counts as none.
        json: Print JSON, and nothing else on stdout.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is of another kind.
    """
    from keyface.commands.console import print_json
    from keyface.marks import verifying

    report = verifying.verify(file, trust)
    status = STATUS[report.verdict]
    if json:
        told = {
            "file": str(file),
            "verdict": report.verdict,
            "credentials": None if report.credentials is None else asdict(report.credentials),
            "record": None if report.record is None else asdict(report.record),
            "watermark": None if report.watermark is None else asdict(report.watermark),
        }
        print_json(told)
    else:
        print("\n".join(_printable(line) for line in _lines(report)))
    return status


def _lines(report: Report) -> list[str]:
    lines = [f"{report.file}: {_SAID[report.verdict]}"]
    found = report.credentials
    if found is None:
        lines.append("  credentials  none, or removed: re-encoding and most websites remove them")
    else:
        lines += _about(found)
    lines.append(f"  watermark    {_watermark(report)}")
    if report.record is not None:
        fits = "written for exactly this file" if report.record.matches else "written for other content"
        lines.append(f"  record       {report.record.name}: {fits}")
    return lines


def _watermark(report: Report) -> str:
    seen = report.watermark
    if seen is None:
        return f"not looked for: {report.unsearched}"
    if not seen.found:
        return "none found; one in a small or short edit may be lost"
    return f"found, version {seen.version}, score {seen.score:.1f} of at least {seen.threshold:g}"


def _about(found: Found) -> list[str]:
    lines = [f"  credentials  {found.place}, {'damaged' if found.faults else 'intact'}"]
    lines += [f"               {fault}" for fault in found.faults]
    if found.by is not None:
        lines.append(f"  written by   {found.by}")
    if found.signer is not None and found.certificate is not None:
        lines.append(f"  signed by    {found.signer}: {_TRUST[found.certificate]}")
    if found.edit is not None:
        lines += _of_edit(found.edit)
    for source in found.history:
        credentials = "no credentials" if source["by"] is None else f"written by {source['by']}"
        damaged = ", which did not fit it" if source["faults"] else ""
        lines.append(f"  made from    {source['name']}: {credentials}{damaged}")
    return lines


def _of_edit(edit: Mapping[str, Any]) -> list[str]:
    """Return lines on keyface's own assertion, whose content anybody may have written."""
    edits, prompts, source = (edit.get(name) for name in ("edits", "prompts", "source"))
    prompts = prompts if isinstance(prompts, list) else []
    targets = [each.get("target") for each in prompts if isinstance(each, dict)]
    what = edits if isinstance(edits, list) and edits else targets
    lines = [f"  edit         {', '.join(map(str, what))}"]
    lines.append(f"  model        {edit.get('model')}")
    if isinstance(source, dict):
        lines.append(f"  source       {source.get('name')}, sha256 {source.get('sha256')}")
    if edit.get("shows") != "edit":
        lines.append(f"  shows        {edit.get('shows')}")
    return lines


def _printable(line: str) -> str:
    """Return a line without what could steer a terminal: anybody may have written it."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)
