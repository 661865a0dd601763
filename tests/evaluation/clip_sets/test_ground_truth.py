from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from keyface.evaluation.clip_sets.ground_truth import (
    GroundTruth,
    ground_truth_path,
    read_ground_truth,
    write_ground_truth,
)
from keyface.evaluation.clip_sets.spec import ClipSpec


def truth(frames: int = 3, size: int = 4) -> GroundTruth:
    flow = torch.arange(float((frames - 1) * 2 * size * size)).reshape(frames - 1, 2, size, size) / 8
    region = torch.zeros(frames, size, size, dtype=torch.bool)
    region[:, 1] = True
    return GroundTruth(flow, ~region[1:], region, ~region)


def test_truth_survives_the_file(tmp_path: Path, spec: Callable[..., ClipSpec]) -> None:
    clip, kept = spec(frames=3, size=4), truth()
    assert read_ground_truth(tmp_path, clip) is None
    write_ground_truth(tmp_path, clip, kept)
    found = read_ground_truth(tmp_path, clip)
    assert found is not None
    for name in ("flow", "valid", "region", "person"):
        assert torch.equal(getattr(found, name), getattr(kept, name)), name
    assert [path.name for path in (tmp_path / "truth").iterdir()] == ["a.safetensors"]
    write_ground_truth(tmp_path, clip, GroundTruth(kept.flow, kept.valid, kept.region))
    again = read_ground_truth(tmp_path, clip)
    assert again is not None
    assert again.person is None


def test_truth_of_another_clip_is_refused(tmp_path: Path, spec: Callable[..., ClipSpec]) -> None:
    write_ground_truth(tmp_path, spec(frames=3, size=4), truth())
    with pytest.raises(ValueError, match=r"flow is \(2, 2, 4, 4\), clip a needs \(3, 2, 4, 4\)"):
        read_ground_truth(tmp_path, spec(frames=4, size=4))
    ground_truth_path(tmp_path, spec()).write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="damaged"):
        read_ground_truth(tmp_path, spec(frames=3, size=4))
