"""The model card beside an exported U-Net."""

import json
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

CARD = """---
library_name: diffusers
license: apache-2.0
---

# {title}

Fine-tuned with keyface, after IP-FaceDiff (arXiv 2501.07530). It edits faces: use it on people who agreed,
and say that the result is synthetic.

{samples_seen} samples seen in {steps} steps; {trained_parameters} parameters trained.

## Metrics

{metrics}

## Configuration

```yaml
{configuration}```

## Data

```yaml
{data}```
"""


def write_card(folder: Path, title: str, facts: dict[str, Any]) -> None:
    """Write README.md for people and card.json, the same facts, for programs.

    Args:
        folder: Where the weights are.
        title: What the network is.
        facts: ``configuration``, ``data``, ``samples_seen``, ``steps``, ``trained_parameters``, ``metrics``.
    """
    rows = [f"| {name} | {value:.4g} |" for name, value in facts["metrics"].items()]
    table = "\n".join(["| metric | value |", "|---|---|", *rows]) if rows else "None: not validated."
    card = CARD.format(
        **{
            **facts,
            "title": title,
            "metrics": table,
            "configuration": OmegaConf.to_yaml(facts["configuration"]),
            "data": OmegaConf.to_yaml(facts["data"]),
        }
    )
    (folder / "README.md").write_text(card)
    (folder / "card.json").write_text(json.dumps({"title": title, **facts}, indent=1, default=str) + "\n")
