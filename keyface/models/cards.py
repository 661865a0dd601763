"""Cards beside exported weights: card.json for programs, and README.md as model hubs show it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from keyface.untrusted import read_json_object
from keyface.weights import Entry, catalogue

CARD = "card.json"

USE = {
    "pipeline": "StableDiffusionPipeline.from_pretrained(FOLDER)",
    "unet": "UNet2DConditionModel.from_pretrained(FOLDER)",
    "lora": "pipeline.load_lora_weights(FOLDER)",
    "branch": "keyface.diffusion.backbone.load_unet(FOLDER)",
}
"""How to load each form of a fine-tuned U-Net; a run exports `branch`, `keyface export` the others."""

LARGEST = 2**22
"""Most bytes of a card that is read."""

_STRICTEST = ("no", "unclear", "restricted", "yes")


def read_card(folder: Path) -> dict[str, Any]:
    """Read a folder's card.json; empty if there is none.

    Raises:
        ValueError: It is damaged or no card.
    """
    path = folder / CARD
    if not path.is_file():
        return {}
    return read_json_object(path, limit=LARGEST, allow_nan=True)


def write_json(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write card.json.

    Args:
        folder: Where the weights are.
        facts: `configuration` and `data` (the module's and the data's arguments), `steps`, `samples_seen`,
            `metrics` (name → number), and what else there is to say of the weights.
    """
    (folder / CARD).write_text(json.dumps(facts, indent=2, default=str) + "\n")


def write_card(folder: Path, facts: Mapping[str, Any], form: str = "branch", base: str | None = None) -> None:
    """Write the README.md and the card.json of a fine-tuned U-Net.

    Args:
        folder: Where the weights are.
        facts: As in `write_json`, with `title` and `trained_parameters`.
        form: What the weights are, a key of `USE`.
        base: What they were tuned from; what the configuration says if None.
    """
    configuration = facts.get("configuration") or {}
    base = base or configuration.get("backbone")
    entries = list(dict.fromkeys(_entries(configuration, base)))
    licences = [
        {"name": each.name, "licence": each.licence, "url": each.licence_url, "commercial": each.commercial}
        for each in entries
    ]
    card = {**facts, "form": form, "base": base, "licences": licences}
    write_json(folder, card)
    (folder / "README.md").write_text(_readme(card, entries))


def _entries(configuration: Mapping[str, Any], base: str | None) -> Iterator[Entry]:
    """Yield the catalogue's entries that a branch was made with, as far as its config names them."""
    named = [base, *(configuration.get(key) for key in ("backbone", "identity_network", "encoder"))]
    for name in (each for each in named if isinstance(each, str)):
        for key in (name, name.partition(":")[0], Path(name).name):
            entry = catalogue().get(key)
            if entry is not None:
                yield entry
                break


def _readme(card: Mapping[str, Any], entries: list[Entry]) -> str:
    front: dict[str, Any] = {"library_name": "diffusers", "tags": ["keyface", "face-editing", card["form"]]}
    hubs = [entry.hub for entry in entries if entry.kind == "backbone"]
    if hubs:
        front["base_model"] = hubs[0]
    front |= {"license": "other"} if entries else {"license": "apache-2.0"}
    metrics = card.get("metrics") or {}
    rows = [f"| {name} | {value:.4g} |" for name, value in metrics.items() if isinstance(value, int | float)]
    table = "\n".join(["| metric | value |", "|---|---|", *rows]) if rows else "None: not validated."
    return "\n".join(
        [
            f"---\n{OmegaConf.to_yaml(front)}---",
            f"\n# {card['title']}\n",
            "Fine-tuned with keyface, after IP-FaceDiff (arXiv 2501.07530). It edits faces: use it on people",
            "who agreed, and say that the result is synthetic.\n",
            f"Load it with `{USE[card['form']]}`. Tuned from {card['base'] or 'an unnamed base'}.\n",
            f"{card.get('samples_seen', '?')} samples seen in {card.get('steps', '?')} steps; "
            f"{card.get('trained_parameters', '?')} parameters trained.\n",
            f"## Metrics\n\n{table}\n",
            f"## Licences\n\n{_licences(entries)}\n",
            f"## Configuration\n\n```yaml\n{_yaml(card.get('configuration'))}```\n",
            f"## Data\n\n```yaml\n{_yaml(card.get('data'))}```\n",
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
