"""Weights that are not here are told all at once, before anything is loaded."""

from pathlib import Path

import pytest

from keyface.lightning_modules.direction import DirectionModule
from keyface.lightning_modules.identity import IdentityModule
from keyface.weights import MissingWeightsError

BASE = "stable-diffusion-2-1-base"


def test_lacking_weights_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingWeightsError, match=f"keyface weights get {BASE} arcface face-api"):
        IdentityModule(BASE, "arcface", evaluators="face-api")
    with pytest.raises(MissingWeightsError, match=f"keyface weights get {BASE} clip-vit-b-16 face-api"):
        DirectionModule(BASE, "clip-vit-b-16", evaluators="face-api")
