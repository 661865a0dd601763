"""`keyface edit` writes a watermark, and `keyface verify` finds it when the credentials are gone."""

import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from keyface.cli.main import main
from keyface.marks.verifying import verify
from keyface.video import VideoReader

SIDE, FRAMES = 256, 50
FAST = [
    "--steps",
    "2",
    "--settings.interval",
    "10",
    "--guidance",
    "2",
    "--crop",
    "centre",
    "--edits",
    "glasses",
    "--compose",
    "off",
]


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Two seconds of 256 x 256."""
    path = tmp_path / "large.mp4"
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        for index in range(FRAMES):
            image = np.stack([columns, rows, 90 + 40 * np.sin((columns + index) / 20)], axis=-1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image.astype(np.uint8), format="rgb24")))
        container.mux(stream.encode())
    return path


def attacked(source: Path, target: Path) -> Path:
    """Write a file again: every other frame, cropped, in half the size, by x264 at crf 28."""
    with av.open(str(source)) as read, av.open(str(target), "w") as written:
        stream = written.add_stream("libx264", rate=Fraction(25, 2), options={"crf": "28"})
        stream.width, stream.height, stream.pix_fmt = 116, 116, "yuv420p"
        for index, frame in enumerate(read.decode(video=0)):
            if index % 2 == 0:
                pixels = frame.to_ndarray(format="rgb24")[10:242, 20:252]
                part = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                written.mux(stream.encode(part.reformat(116, 116, "yuv420p")))
        written.mux(stream.encode())
    return target


def test_an_edit_is_known_by_its_watermark_when_its_credentials_are_gone(
    large: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marked, plain = tmp_path / "marked.mp4", tmp_path / "plain.mp4"
    common = ["edit", str(large), "--weights", str(weights), "--source", "a man", *FAST]
    assert main([*common, "-o", str(marked)]) == 0
    assert main([*common, "-o", str(plain), "--no-watermark", "compared with a marked one"]) == 0
    records = [json.loads(path.with_suffix(".json").read_text())["watermark"] for path in (marked, plain)]
    assert records[0] == {"written": True, "version": 2, "unit": round(SIDE / 110, 3)}
    assert records[1] == {"written": False, "reason": "switched off: compared with a marked one"}
    frames = [next(VideoReader(path).chunks(FRAMES)) for path in (marked, plain)]
    difference = (frames[0] - frames[1]).square().mean() * 127.5**2
    assert 4 < difference < 20, "6 are 2.5 levels of 255, the rest is what two encodings differ"

    capsys.readouterr()
    assert main(["verify", str(marked)]) == 0
    said = capsys.readouterr().out
    assert "an edit by keyface, unchanged since" in said
    assert "watermark    found, version 2" in said

    assert main(["verify", str(attacked(marked, tmp_path / "again.mp4"))]) == 4
    said = capsys.readouterr().out
    assert "edited by keyface (watermark), and changed since: its credentials were removed" in said
    assert "credentials  none, or removed" in said
    assert main(["verify", str(tmp_path / "again.mp4"), "--json"]) == 4
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["credentials"], told["record"]) == ("watermarked", None, None)
    assert told["watermark"]["found"] is True

    assert main(["verify", str(attacked(plain, tmp_path / "other.mp4"))]) == 3
    said = capsys.readouterr().out
    assert "nothing shows that keyface wrote it" in said
    assert "watermark    none found; one in a small or short edit may be lost" in said
    (tmp_path / "again.json").write_text(json.dumps({"keyface": "0", "output": {"name": "again.mp4"}}))
    assert verify(tmp_path / "again.mp4").verdict == "broken", "a record says that it was written for others"


def test_what_is_too_small_for_a_watermark_gets_none_and_says_why(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["edit", str(video), "--weights", str(weights), "--source", "a man", *FAST]
    assert main([*common, "-o", str(tmp_path / "out.mp4")]) == 0
    told = json.loads((tmp_path / "out.json").read_text())["watermark"]
    assert told == {
        "written": False,
        "reason": "0.23 s at 29.97 frames a second; it takes 1 s at 8 to be found",
    }
    capsys.readouterr()
    assert main([*common, "--preview", str(tmp_path / "p.png"), "--no-watermark", "a test"]) == 1
    assert "--preview writes no edit, so --no-watermark has no say" in capsys.readouterr().err


@pytest.mark.parametrize("reason", ["", "  ", "two\nlines", "x" * 201])
def test_a_watermark_is_not_switched_off_without_a_reason(
    reason: str, video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["edit", str(video), "--weights", str(weights), *FAST, "-o", str(tmp_path / "out.mp4")]
    assert main([*words, "--no-watermark", reason]) == 1
    said = capsys.readouterr().err
    assert "--no-watermark" in said
    assert "takes the reason, which goes into the record" in said
    assert not (tmp_path / "out.mp4").exists()


def test_verify_says_when_it_cannot_look_for_a_watermark(
    tmp_path: Path, large: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    Image.new("RGB", (60, 44)).save(tmp_path / "a.png")
    assert main(["verify", str(tmp_path / "a.png")]) == 3
    assert "watermark    not looked for: pictures have none" in capsys.readouterr().out
    (tmp_path / "half.mp4").write_bytes(large.read_bytes()[:2000])
    main(["verify", str(tmp_path / "half.mp4")])
    assert "watermark    not looked for: " in capsys.readouterr().out
