"""What can be asked for, and what cannot."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from keyface.studio.asking import command_of, options_of, request_of
from keyface.studio.limits import Limits

LIMITS = Limits(characters=40, seconds=0.25, megapixels=0.005)


def test_what_says_nothing_is_left_out() -> None:
    assert options_of(LIMITS, edits=["glasses", "beard"]) == {"edits": ["glasses", "beard"], "person": "1"}
    asked: dict[str, Any] = {
        "prompt": " an old man ",
        "strength": 0.5,
        "steps": 4.0,
        "seed": 0,
        "person": "all",
    }
    assert options_of(LIMITS, **asked) == {
        "prompt": "an old man",
        "strength": 0.5,
        "steps": 4,
        "seed": 0,
        "person": "all",
    }


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"person": "/etc/passwd"}, "person is '/etc/passwd'; it must be a number"),
        ({"person": "../a.png"}, "it must be a number"),
        ({"edits": "glasses"}, "edits must be a list of names"),
        ({"edits": [{"path": "/etc/passwd"}]}, "edits must be a list of names"),
        ({"edits": ["1: glasses; 2: beard"]}, "as an item of its own"),
        ({"prompt": "a" * 41}, "prompt has 41 characters; at most 40"),
        ({"source": "a" * 41}, "source has 41 characters"),
        ({"steps": 2.5}, "steps is 2.5; it must be a whole number"),
        ({"strength": 7.0}, "strength"),
    ],
)
def test_what_does_not_fit_is_refused(
    asked: dict[str, Any], said: str, short_clip: Path, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=said):
        request_of(short_clip, tmp_path, options_of(LIMITS, **{"edits": ["glasses"], **asked}), LIMITS)


def test_long_and_large_clips_are_refused(short_clip: Path, tmp_path: Path) -> None:
    """It has 4 frames of 64 by 64 at 12 a second: 0.33 s and 0.0041 megapixels."""
    options = options_of(LIMITS, edits=["glasses"])
    with pytest.raises(ValueError, match=r"is 0\.3 s long; at most 0\.25 s"):
        request_of(short_clip, tmp_path, options, LIMITS)
    with pytest.raises(ValueError, match="64 by 64"):
        request_of(short_clip, tmp_path, options, Limits(megapixels=0.004))
    assert request_of(short_clip, tmp_path, options, Limits()).mask_video == tmp_path / "mask.mp4"


def test_the_command_line_is_one_that_a_shell_reads() -> None:
    options = {"edits": ["glasses", "beard"], "strength": 0.5, "person": "1"}
    words = shlex.split(
        command_of(Path("/a b/c.mp4"), Path("/w/x"), options, {"weights": "w", "device": None})
    )
    assert words[:3] == ["keyface", "edit", "/a b/c.mp4"]
    assert "--device" not in words
    assert words[words.index("--edits") + 1] == "glasses,beard"
    assert words[words.index("-o") + 1] == "/w/x/edited.mp4"
