"""Face recognition networks by name, alone and as judges."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from keyface.faces.alignment import TEMPLATE
from keyface.models.judges import Judges, find_judges
from keyface.models.recognizers import find_identity_network
from keyface.weights import MissingWeightsError, catalogue


def put_weights(store: Path, name: str, source: str) -> None:
    """Put a file where `keyface weights get` would put it."""
    folder = store / name
    folder.mkdir(parents=True)
    shutil.copy(source, folder / catalogue()[name].files[0].path)


def test_recognizers_are_found_by_name_and_by_path(
    recognizer_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    with pytest.raises(MissingWeightsError, match="keyface weights get arcface`"):
        find_identity_network("arcface")
    with pytest.raises(MissingWeightsError, match="keyface weights get cosface facenet`"):
        find_judges("cosface, facenet")
    put_weights(tmp_path, "arcface", str(recognizer_file))
    put_weights(tmp_path, "cosface", str(recognizer_file))
    frames = torch.rand(2, 3, 120, 120) * 2 - 1
    landmarks = torch.tensor(TEMPLATE).expand(2, 5, 2)
    by_name = find_identity_network("arcface")(frames, landmarks)
    by_path = find_identity_network(f"arcface:{recognizer_file}")(frames, landmarks)
    torch.testing.assert_close(by_name, by_path)
    torch.testing.assert_close(by_name.norm(dim=-1), torch.ones(2))
    assert list(find_judges("cosface").recognizers) == ["cosface"]


def test_networks_are_taken_as_they_are() -> None:
    network: Any = nn.Identity()
    judges = Judges()
    assert find_identity_network(network) == network
    assert find_judges(judges) is judges
    assert find_judges(None) == Judges()


def test_unknown_judges_are_refused() -> None:
    with pytest.raises(LookupError, match="recognizer 'imagenet' is unknown"):
        find_judges("imagenet")
