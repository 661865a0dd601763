"""Judges for real faces, made of what is in the folder of weights."""

from pathlib import Path

import pytest
import torch
from skimage import data

from keyface.models.judges import Judges


def test_without_weights_the_message_says_how_to_get_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="keyface weights get face-api`"):
        Judges.load("keyface.models.real_judges:judges")


def test_what_is_here_judges_real_faces(face_api_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(face_api_folder.parent))
    judges = Judges.load("keyface.models.real_judges:judges")
    assert list(judges.recognizers) == ["face-api"]
    assert "face_recognition_model.bin:b413e420d6840b27" in judges.versions["face-api"]
    assert "Not here: cosface, facenet, vggface" in judges.remark
    frames = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    frames = torch.cat([frames, frames.roll(20, dims=-1)])
    with torch.inference_mode():
        embeddings = judges.recognizers["face-api"](frames, None)
    assert embeddings.shape == (2, 128)
    assert float(embeddings[0] @ embeddings[1]) > 0.9
