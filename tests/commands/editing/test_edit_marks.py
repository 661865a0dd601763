"""`keyface edit` marks what it writes, and `keyface verify` reads it."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import av
import pytest
import torch
from certificates import chain, pem
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from keyface.cli.main import main
from keyface.marks.credentials import Credentials
from keyface.marks.identities import own_identity
from keyface.marks.label import Label
from keyface.video import VideoReader

FAST = [
    "--steps",
    "2",
    "--settings.interval",
    "3",
    "--guidance",
    "2",
    "--source",
    "a man",
    "--crop",
    "centre",
]


def edit(video: Path, output: Path, weights: Path, *more: str) -> int:
    return main(["edit", str(video), "-o", str(output), "--weights", str(weights), *FAST, *more])


def verified(path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, object]]:
    capsys.readouterr()
    status = main(["verify", str(path), "--json"])
    content = json.loads(capsys.readouterr().out)
    assert isinstance(content, dict)
    return status, content


def test_all_that_an_edit_writes_is_signed_and_one_changed_byte_is_found(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output, both, mask = (tmp_path / name for name in ("out.mp4", "both.mov", "mask.mkv"))
    more = ["--edits", "glasses", "--compare", str(both), "--mask-video", str(mask)]
    assert edit(video, output, weights, *more) == 0
    assert "which nobody else trusts; see --sign" in capsys.readouterr().err
    for path, shows in ((output, "edit"), (both, "comparison"), (mask, "mask")):
        status, content = verified(path, capsys)
        assert (status, content["verdict"]) == (0, "ours"), path
        credentials = content["credentials"]
        assert isinstance(credentials, dict)
        assert credentials["edit"]["shows"] == shows
        assert credentials["edit"]["edits"] == ["glasses"]
        assert credentials["edit"]["source"]["sha256"] == hashlib.sha256(video.read_bytes()).hexdigest()
        assert credentials["certificate"] == "own"
    assert (tmp_path / "mask.c2pa").is_file()
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["output"]["sha256"] == hashlib.sha256(output.read_bytes()).hexdigest()
    assert record["output"]["unsigned_sha256"] != record["output"]["sha256"]
    assert record["credentials"]["self_made"] is True

    whole = output.read_bytes()
    # The record knows every byte, also those that content credentials leave out, such as the first box.
    for place in (20, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[place] ^= 1
        output.write_bytes(changed)
        status, content = verified(output, capsys)
        assert (status, content["verdict"]) == (4, "broken")
    output.write_bytes(whole)

    assert main(["verify", str(output)]) == 0
    said = capsys.readouterr().out
    assert "an edit by keyface, unchanged since" in said
    assert "a certificate that keyface made for you" in said
    assert "record       out.json: written for exactly this file" in said

    again = tmp_path / "again.mp4"
    with av.open(str(output)) as read, av.open(str(again), "w") as target:
        target.metadata.update(read.metadata)
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 60, 44, "yuv420p"
        for frame in read.decode(video=0):
            frame.pts = None
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    status, content = verified(again, capsys)
    assert (status, content["verdict"], content["credentials"], content["record"]) == (
        3,
        "not ours",
        None,
        None,
    )
    again.replace(output)
    status, content = verified(output, capsys)
    assert (status, content["verdict"]) == (4, "broken"), "the record was written for other content"


def test_an_edit_of_an_edit_keeps_the_history_and_frames_do_not_depend_on_the_signature(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, twin = (tmp_path / name for name in ("first.mkv", "second.mp4", "twin.mp4"))
    assert edit(video, first, weights, "--edits", "glasses") == 0
    for path in (second, twin):
        assert edit(first, path, weights, "--edits", "glasses") == 0
    _, content = verified(second, capsys)
    credentials = content["credentials"]
    assert isinstance(credentials, dict)
    assert [(each["name"], each["edit"] and each["edit"]["edits"]) for each in credentials["history"]] == [
        ("first.mkv", ["glasses"]),
        ("in.mp4", None),
    ]
    records = [json.loads(path.with_suffix(".json").read_text())["output"] for path in (second, twin)]
    assert records[0]["unsigned_sha256"] == records[1]["unsigned_sha256"]
    assert records[0]["sha256"] != records[1]["sha256"]
    frames = [next(VideoReader(path).chunks(7)) for path in (second, twin)]
    assert torch.equal(*frames)


def test_a_label_is_burned_into_every_frame_and_nowhere_else(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, marked = tmp_path / "plain.mp4", tmp_path / "marked.mp4"
    assert edit(video, plain, weights, "--edits", "glasses", "--label", "none") == 0
    assert edit(video, marked, weights, "--edits", "glasses", "--label", "AI") == 0
    label = Label("AI", 44, 60)
    rows, columns = label.place
    without, with_it = (next(VideoReader(path).chunks(7)) for path in (plain, marked))
    sign = with_it[..., rows, columns]
    assert sign.amax(dim=(1, 2, 3)).min() > 0.5, "white letters in every frame"
    assert (sign - label.burn(without)[..., rows, columns]).abs().mean() < 0.15, "but for the encoder"
    assert (without - with_it)[..., : rows.start - 8, :].abs().mean() < 0.02, "nothing elsewhere"
    assert json.loads((tmp_path / "marked.json").read_text())["label"] == "AI"
    assert json.loads((tmp_path / "plain.json").read_text())["label"] is None
    assert edit(video, tmp_path / "no.mp4", weights, "--edits", "glasses", "--label", "a" * 40) == 1
    assert "the video has 60 x 44; give a shorter one" in capsys.readouterr().err
    assert not (tmp_path / "no.mp4").exists()


def test_a_picture_is_signed_with_a_key_of_ones_own(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "photo.jpg"
    Image.linear_gradient("L").resize((60, 44)).convert("RGB").save(photo)
    key = ec.generate_private_key(ec.SECP256R1())
    certificates, root = chain(key)
    for name, content in (("key.pem", pem(key)), ("chain.pem", certificates), ("root.pem", root)):
        (tmp_path / name).write_bytes(content)
    for name in ("out.jpg", "out2.png"):
        sign = f"{tmp_path}/key.pem:{tmp_path}/chain.pem"
        assert edit(photo, tmp_path / name, weights, "--edits", "glasses", "--sign", sign) == 0
        assert "nobody else trusts" not in capsys.readouterr().err
        assert main(["verify", str(tmp_path / name), "--trust", str(tmp_path / "root.pem")]) == 0
        assert "signed by    A Studio: a certificate that is trusted" in capsys.readouterr().out
    assert edit(photo, tmp_path / "no.png", weights, "--edits", "glasses", "--sign", "nowhere.pem") == 1
    assert "--sign nowhere.pem: no such file; give KEY.pem:CERTIFICATES.pem" in capsys.readouterr().err
    assert not (tmp_path / "no.png").exists()


def test_what_would_be_overwritten_beside_an_output_is_refused(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out.c2pa").write_bytes(b"previous")
    assert edit(video, tmp_path / "out.mkv", weights, "--edits", "glasses") == 1
    assert "out.c2pa: exists; give another name, or --overwrite to replace it" in capsys.readouterr().err
    assert (tmp_path / "out.c2pa").read_bytes() == b"previous"
    (tmp_path / "in.c2pa").write_bytes(b"of the input")
    assert edit(video, tmp_path / "in.mkv", weights, "--edits", "glasses", "--overwrite") == 1
    assert "in.c2pa: holds the input's credentials and is never overwritten" in capsys.readouterr().err
    assert (tmp_path / "in.c2pa").read_bytes() == b"of the input"
    both = str(tmp_path / "both.webm")
    more = ["--edits", "glasses", "--compare", both, "--mask-video", str(tmp_path / "both.mkv")]
    assert edit(video, tmp_path / "new.mp4", weights, *more) == 1
    assert "output files must differ" in capsys.readouterr().err
    preview = ["--preview", str(tmp_path / "p.png"), "--label", "AI"]
    words = ["edit", str(video), "--weights", str(weights), *FAST, "--edits", "glasses", *preview]
    assert main(words) == 1
    assert "--preview writes no edit, so --label has no say; leave it out" in capsys.readouterr().err


def test_what_verify_cannot_read_is_one_line(
    tmp_path: Path, video: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", str(video)]) == 3
    assert "nothing shows that keyface wrote it" in capsys.readouterr().out
    (tmp_path / "notes.txt").write_text("text")
    assert main(["verify", str(tmp_path / "notes.txt")]) == 1
    assert "neither a video nor a picture of a known kind" in capsys.readouterr().err
    assert main(["verify", str(tmp_path / "nowhere.mp4")]) == 1
    assert "no such file" in capsys.readouterr().err
    assert main(["verify", str(video), "--trust", str(tmp_path / "notes.txt")]) == 1
    assert "holds no certificates in PEM" in capsys.readouterr().err


def test_what_a_file_says_of_itself_cannot_steer_a_terminal_or_verify(
    video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "a\x1b[2Jb.mp4"
    source.write_bytes(video.read_bytes())
    for told in ({"edits": 5, "prompts": 7, "source": 1}, {"edits": ["\x1b]0;x\x07"], "prompts": [3]}, {}):
        target, unsigned = tmp_path / "out.mp4", tmp_path / "unsigned"
        unsigned.write_bytes(video.read_bytes())
        Credentials(own_identity(), source, "00", "Synthetic.", told).publish(unsigned, target)
        assert main(["verify", str(target)]) == 0
        said = capsys.readouterr().out
        assert "\x1b" not in said
        assert "\x07" not in said
        assert "made from    a\N{REPLACEMENT CHARACTER}[2Jb.mp4: no credentials" in said


KILLED = """
import os, signal, sys
from keyface.cli.main import main
from keyface.marks import credentials

def die(temporary, path):
    os.kill(os.getpid(), signal.SIGKILL)

credentials.publish = die
main(sys.argv[1:])
"""


def test_an_edit_that_was_killed_while_it_signed_goes_on_by_the_same_command(
    video: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.mkv"
    words = ["edit", str(video), "-o", str(output), "--weights", str(weights), *FAST, "--edits", "glasses"]
    assert subprocess.run([sys.executable, "-P", "-c", KILLED, *words], check=False).returncode == -9
    assert not output.exists()
    assert not output.with_suffix(".json").exists()
    assert (tmp_path / "out.c2pa").exists(), "it comes before the file that it belongs to"
    assert main(words) == 0
    assert "going on with the edit that was stopped" in capsys.readouterr().err
    assert verified(output, capsys)[0] == 0
    assert not [each for each in tmp_path.iterdir() if each.name.endswith((".part", ".state"))]
