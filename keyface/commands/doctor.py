"""`keyface doctor`: what works on this machine, what is missing, and what that disables."""

from __future__ import annotations

from json import dumps
from pathlib import Path

from keyface.commands.plugins import table


def doctor(root: Path | None = None, json: bool = False) -> None:
    """Look over versions, devices, codecs, weights, disk and W&B, and say what each missing thing disables.

    Nothing is fetched, changed or sent.

    Args:
        root: Folder of the weights; models, or what KEYFACE_WEIGHTS says, if not given.
        json: Print JSON.

    Raises:
        ValueError: Something without which nothing works is wrong.
    """
    from keyface.commands._doctor import examine
    from keyface.commands.weights import open_store

    record = examine(open_store(root))
    if json:
        print(dumps(record, indent=1))
    else:
        print(report(record))
    broken = [finding for finding in record["findings"] if finding["level"] == "broken"]
    if broken:
        raise ValueError("; ".join(f"{each['what']}: {each['fix']}" for each in broken))


def report(record: dict[str, object]) -> str:
    """Returns an examination as text: what is here, then what is missing."""
    parts = []
    for title in ("machine", "packages", "video", "disk"):
        facts = record[title]
        assert isinstance(facts, dict)
        parts.append(f"{title}\n" + indent(table([(name, str(value)) for name, value in facts.items()])))
    weights, findings = record["weights"], record["findings"]
    assert isinstance(weights, list)
    assert isinstance(findings, list)
    rows = [(each["name"], each["state"], f"commercial: {each['commercial']}") for each in weights]
    parts.append("weights\n" + indent(table([("name", "here", "use"), *rows])))
    if findings:
        lines = [(each["level"], each["what"], f"disables: {each['disables']}") for each in findings]
        parts.append("missing\n" + indent(table([*lines])))
        fixes = dict.fromkeys(each["fix"] for each in findings)
        parts.append("to mend\n" + indent("\n".join(fixes)))
    else:
        parts.append("nothing is missing")
    return "\n\n".join(parts)


def indent(text: str) -> str:
    """Moves each line to the right."""
    return "\n".join(f"  {line}" for line in text.splitlines())
