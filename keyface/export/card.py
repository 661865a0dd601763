"""The model card of an exported branch: how it was made, and whose licences come with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from keyface.weights import Entry, catalogue

USE = {
    "pipeline": "StableDiffusionPipeline.from_pretrained(FOLDER)",
    "unet": "UNet2DConditionModel.from_pretrained(FOLDER)",
    "lora": "pipeline.load_lora_weights(FOLDER)",
}

_STRICTEST = ("no", "unclear", "restricted", "yes")


def write_card(folder: Path, form: str, title: str, facts: dict[str, Any], base: str | None) -> None:
    """Write README.md for people and card.json, the same facts, for programs.

    Args:
        folder: Where the weights are.
        form: What they are, a key of `USE`.
        title: What the network is.
        facts: The branch's card.
        base: What it was tuned from.
    """
    entries = list(dict.fromkeys(_entries(facts, base)))
    licences = [
        {"name": each.name, "licence": each.licence, "url": each.licence_url, "commercial": each.commercial}
        for each in entries
    ]
    card = {**facts, "title": title, "form": form, "base": base, "licences": licences}
    (folder / "card.json").write_text(json.dumps(card, indent=1, default=str) + "\n")
    (folder / "README.md").write_text(_text(form, title, facts, base, entries))


def _entries(facts: dict[str, Any], base: str | None) -> Iterator[Entry]:
    """The catalogue's entries that a branch was made with, as far as its config names them."""
    configuration = facts.get("configuration") or {}
    named = [base, *(configuration.get(key) for key in ("backbone", "identity_network", "encoder"))]
    for name in filter(lambda each: isinstance(each, str), named):
        first = str(name).partition(":")[0]
        for key in (str(name), first, Path(str(name)).name):
            entry = catalogue().get(key)
            if entry is not None:
                yield entry
                break


def _text(form: str, title: str, facts: dict[str, Any], base: str | None, entries: list[Entry]) -> str:
    front: dict[str, Any] = {"library_name": "diffusers", "tags": ["keyface", "face-editing", form]}
    hubs = [entry.hub for entry in entries if entry.kind == "backbone"]
    if hubs:
        front["base_model"] = hubs[0]
    front |= {"license": "other"} if entries else {"license": "apache-2.0"}
    metrics = facts.get("metrics") or {}
    rows = [f"| {name} | {value:.4g} |" for name, value in metrics.items() if isinstance(value, int | float)]
    table = "\n".join(["| metric | value |", "|---|---|", *rows]) if rows else "None: not validated."
    return "\n".join(
        [
            f"---\n{OmegaConf.to_yaml(front)}---",
            f"\n# {title}\n",
            "Fine-tuned with keyface, after IP-FaceDiff (arXiv 2501.07530). It edits faces: use it on people",
            "who agreed, and say that the result is synthetic.\n",
            f"Load it with `{USE[form]}`. Tuned from {base or 'an unnamed base'}.\n",
            f"{facts.get('samples_seen', '?')} samples seen in {facts.get('steps', '?')} steps; "
            f"{facts.get('trained_parameters', '?')} parameters trained.\n",
            f"## Metrics\n\n{table}\n",
            f"## Licences\n\n{_licences(entries)}\n",
            f"## Configuration\n\n```yaml\n{_yaml(facts.get('configuration'))}```\n",
            f"## Data\n\n```yaml\n{_yaml(facts.get('data'))}```\n",
        ]
    )


def _licences(entries: list[Entry]) -> str:
    own = "keyface and what it trained: Apache-2.0."
    if not entries:
        return f"{own} No external weights are named in the configuration."
    worst = min((entry.commercial for entry in entries), key=_STRICTEST.index)
    lines = [f"- {entry.title}: {entry.licence} ({entry.licence_url})" for entry in entries]
    return "\n".join([own, "", *lines, "", f"Commercial use, by keyface's reading: {worst}."])


def _yaml(values: Any) -> str:
    return OmegaConf.to_yaml(OmegaConf.create(values)) if isinstance(values, dict) and values else "{}\n"
