"""Content credentials: signed before a file has its name, kept with its source's, broken by any change."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import c2pa
import numpy as np
import pytest
import torch
from certificates import chain, pem
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image

from keyface.files import remove_leftovers
from keyface.marks.credentials import Credentials
from keyface.marks.identities import given_identity, own_identity
from keyface.marks.kinds import kind_of
from keyface.marks.verifying import read_credentials, verify
from keyface.video import open_writer, write_clip

FRAMES = torch.linspace(-1, 1, 6 * 3 * 48 * 64).view(6, 3, 48, 64)
TOLD = {"model": "miniature", "weights": {"weights/unet.safetensors": "ab"}, "edits": ["beard"]}
CAPTURE = "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture"
OFFLINE = {"verify": {"remote_manifest_fetch": False}, "builder": {"thumbnail": {"enabled": False}}}
MEDIA = [".mp4", ".mov", ".m4v", ".mkv", ".webm", ".png", ".jpg", ".webp"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.mp4"
    write_clip(path, FRAMES, 25)
    return path


def credentials(source: Path) -> Credentials:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    return Credentials(own_identity(), source, digest, "This video is synthetic.", TOLD)


def write(path: Path, finish: Callable[[Path, Path], None] | None = None) -> Path:
    frames = FRAMES[:1] if path.suffix in (".png", ".jpg", ".webp") else FRAMES
    with open_writer(path, fps=Fraction(25), finish=finish) as writer:
        writer.write(frames)
    return path


def packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def pixels(path: Path) -> Any:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.mark.parametrize("suffix", MEDIA)
def test_a_signed_file_holds_what_the_unsigned_one_does(suffix: str, source: Path, tmp_path: Path) -> None:
    plain, signer = write(tmp_path / f"plain{suffix}"), credentials(source)
    signer.check()
    signed = write(tmp_path / f"signed{suffix}", signer.publish)
    if suffix in (".png", ".jpg", ".webp"):
        assert np.array_equal(pixels(plain), pixels(signed))
    else:
        assert packets(plain) == packets(signed)
    assert signer.unsigned == {signed: hashlib.sha256(plain.read_bytes()).hexdigest()}

    report = verify(signed)
    assert report.verdict == "ours"
    found = report.credentials
    assert found is not None
    assert found.certificate == "own"
    assert found.edit is not None
    assert found.edit["edits"] == ["beard"]
    assert found.edit["source"] == {"name": "source.mp4", "sha256": signer.source_sha256}
    assert [each["name"] for each in found.history] == ["source.mp4"]
    beside = tmp_path / "signed.c2pa"
    assert beside.exists() == (suffix in (".mkv", ".webm"))
    if beside.exists():
        assert signed.read_bytes() == plain.read_bytes(), "what cannot hold credentials is left as it is"
        assert found.place == "signed.c2pa"
    assert not [each for each in tmp_path.iterdir() if each.name.endswith(".part")]


def test_what_is_signed_is_what_c2pa_and_iptc_ask_for(source: Path, tmp_path: Path) -> None:
    signer, manifests = credentials(source), {}
    for shows in ("edit", "comparison", "mask"):
        path = tmp_path / f"{shows}.mp4"
        write(path, lambda temporary, path, shows=shows: signer.publish(temporary, path, shows))
        with c2pa.Reader(str(path), context=c2pa.Context.from_dict(OFFLINE)) as reader:
            assert reader.get_validation_state() == "Valid"
            manifests[shows] = reader.get_active_manifest()
    manifest = manifests["edit"]
    actions = {each["label"]: each["data"] for each in manifest["assertions"]}["c2pa.actions.v2"]["actions"]
    assert [each["action"] for each in actions] == ["c2pa.opened", "c2pa.edited"]
    kinds = {
        name: found["digitalSourceType"].rsplit("/", 1)[1]
        for name, each in manifests.items()
        for found in [
            next(
                action
                for assertion in each["assertions"]
                if assertion["label"] == "c2pa.actions.v2"
                for action in assertion["data"]["actions"]
                if action["action"] == "c2pa.edited"
            )
        ]
    }
    assert kinds == {
        "edit": "compositeWithTrainedAlgorithmicMedia",
        "comparison": "compositeWithTrainedAlgorithmicMedia",
        "mask": "trainedAlgorithmicMedia",
    }
    (ingredient,) = manifest["ingredients"]
    assert ingredient["relationship"] == "parentOf"
    assert ingredient["instance_id"] == f"sha256:{signer.source_sha256}"


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".png", ".jpg"])
def test_one_flipped_byte_of_the_content_is_found(suffix: str, source: Path, tmp_path: Path) -> None:
    plain = write(tmp_path / f"plain{suffix}").read_bytes()
    signed = write(tmp_path / f"signed{suffix}", credentials(source).publish)
    whole = signed.read_bytes()
    # Where the encoded pictures lie: the unsigned file's longest piece that the signed one has as well.
    piece = plain[len(plain) // 2 : len(plain) // 2 + 16]
    at = whole.index(piece)
    for place in range(at, at + 16):
        changed = bytearray(whole)
        changed[place] ^= 1
        signed.write_bytes(changed)
        assert verify(signed).verdict == "broken", place
    signed.write_bytes(whole)
    assert verify(signed).verdict == "ours"


def test_a_file_that_was_encoded_again_has_no_credentials(source: Path, tmp_path: Path) -> None:
    signed = write(tmp_path / "signed.mp4", credentials(source).publish)
    again = tmp_path / "again.mp4"
    with av.open(str(signed)) as read, av.open(str(again), "w") as target:
        stream = target.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in read.decode(video=0):
            target.mux(stream.encode(frame))
        target.mux(stream.encode())
    assert verify(again).credentials is None
    assert verify(again).verdict == "not ours"


def test_credentials_of_the_source_are_kept_as_history(source: Path, tmp_path: Path) -> None:
    camera = tmp_path / "camera.mp4"
    key = ec.generate_private_key(ec.SECP256R1())
    certificates, _ = chain(key)
    settings = c2pa.Context.from_dict(OFFLINE)
    definition = {
        "claim_generator_info": [{"name": "A Camera", "version": "3"}],
        "assertions": [
            {
                "label": "c2pa.actions.v2",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": CAPTURE}]},
            }
        ],
    }
    information = c2pa.C2paSignerInfo(b"es256", certificates, pem(key), None)
    with (
        c2pa.Builder(definition, settings) as builder,
        c2pa.Signer.from_info(information) as signer,
        source.open("rb") as unsigned,
        camera.open("w+b") as target,
    ):
        builder.sign(signer, "video/mp4", unsigned, target)
    assert verify(camera).verdict == "not ours"
    assert verify(camera).credentials.by == "A Camera 3"  # type: ignore[union-attr]

    first = write(tmp_path / "first.mkv", credentials(camera).publish)
    second = write(tmp_path / "second.mov", credentials(first).publish)
    found = read_credentials(second)
    assert found is not None
    assert [(each["name"], each["by"]) for each in found.history] == [
        ("first.mkv", "keyface 0.2.0"),
        ("camera.mp4", "A Camera 3"),
    ]
    assert not found.faults
    assert not any(each["faults"] for each in found.history)

    changed = bytearray(camera.read_bytes())
    changed[-30] ^= 1
    camera.write_bytes(changed)
    found = read_credentials(write(tmp_path / "third.mp4", credentials(camera).publish))
    assert found is not None
    assert not found.faults, "the edit itself is intact"
    assert "mismatch" in found.history[0]["faults"][0], "that its source was not, is kept"


def test_credentials_beside_a_file_belong_to_that_file_alone(source: Path, tmp_path: Path) -> None:
    one = write(tmp_path / "one.mkv", credentials(source).publish)
    other = tmp_path / "other.mkv"
    write_clip(other, -FRAMES, 25)
    assert verify(other).verdict == "not ours"
    (tmp_path / "one.c2pa").rename(tmp_path / "other.c2pa")
    assert verify(one).verdict == "not ours", "nothing lies beside it any more"
    assert verify(other).verdict == "broken"
    (tmp_path / "other.c2pa").write_bytes(b"nothing")
    assert verify(other).verdict == "broken"


def test_a_source_whose_credentials_cannot_be_read_is_said_and_edited(tmp_path: Path) -> None:
    source = tmp_path / "strange.mp4"
    source.write_bytes(bytes(5000))
    signer = credentials(source)
    with pytest.warns(UserWarning, match="cannot be read and are left out"):
        signer.check()
    found = read_credentials(write(tmp_path / "out.mp4", signer.publish))
    assert found is not None
    assert not found.faults
    assert found.history[0]["name"] == "strange.mp4"


def test_a_source_may_have_any_name(source: Path, tmp_path: Path) -> None:
    for name, told in ((b"\xff.mp4", "\\xff.mp4"), ("ü 合.MOV".encode(), "ü 合.MOV"), (b"clip", "clip")):
        named = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        named.write_bytes(source.read_bytes())
        signer = credentials(named)
        signer.check()
        found = read_credentials(write(tmp_path / "out.mp4", signer.publish))
        assert found is not None
        assert [each["name"] for each in found.history] == [told]
    old = tmp_path / "old.mpg"
    old.write_bytes(bytes(100))
    credentials(old).check()


def test_a_certificate_that_is_not_for_signing_is_refused_before_the_edit(
    source: Path, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "both.pem").write_bytes(pem(key) + chain(key, for_signing=False)[0])
    identity, digest = given_identity(str(tmp_path / "both.pem")), hashlib.sha256(source.read_bytes())
    with pytest.raises(ValueError, match=r"A Studio: this certificate cannot sign.*emailProtection"):
        Credentials(identity, source, digest.hexdigest(), "Synthetic.", TOLD).check()
    with pytest.raises(ValueError, match=r"source\.mp4: has just been changed"):
        Credentials(identity, source, "00", "Synthetic.", TOLD).check()


def test_whom_a_signature_is_from_and_who_vouches_for_it(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificates, root = chain(key)
    (tmp_path / "both.pem").write_bytes(pem(key) + certificates)
    (tmp_path / "root.pem").write_bytes(root)
    signer = Credentials(given_identity(str(tmp_path / "both.pem")), source, "00", "Synthetic.", TOLD)
    signer.check()
    studio = write(tmp_path / "studio.mp4", signer.publish)
    own = write(tmp_path / "own.mp4", credentials(source).publish)

    def certificate(path: Path, trusted: Path | None = None) -> object:
        found = verify(path, trusted).credentials
        assert found is not None
        return found.certificate

    assert (certificate(studio), certificate(studio, tmp_path / "root.pem")) == ("untrusted", "trusted")
    assert (certificate(own), certificate(own, tmp_path / "root.pem")) == ("own", "own")
    assert verify(studio).verdict == verify(studio, tmp_path / "root.pem").verdict == "ours"
    (tmp_path / "other.pem").write_bytes(chain(key)[1])
    assert verify(studio, tmp_path / "other.pem").verdict == "not ours", "nobody vouches for it"
    assert verify(own, tmp_path / "other.pem").verdict == "ours"
    broken = bytearray(own.read_bytes())
    broken[-30] ^= 1
    (tmp_path / "broken.mp4").write_bytes(broken)
    assert certificate(tmp_path / "broken.mp4") == "own", "who signed is told although the file was changed"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "another user"))
    assert certificate(own) == "untrusted"


KILLED = """
import os, signal, sys
from fractions import Fraction
from pathlib import Path
import torch
from keyface.marks import credentials
from keyface.marks.credentials import Credentials
from keyface.marks.identities import own_identity
from keyface.video import open_writer

signer, path = Credentials(own_identity(), Path(sys.argv[1]), "00", "Synthetic.", {}), Path(sys.argv[2])

def die(temporary, path):
    assert temporary.stat().st_size > 1000, "encoded"
    os.kill(os.getpid(), signal.SIGKILL)

# Either before it is signed, or when all but the last step is done.
finish = die if sys.argv[3] == "signing" else signer.publish
credentials.publish = die
with open_writer(path, fps=Fraction(25), finish=finish) as writer:
    writer.write(torch.zeros(6, 3, 48, 64))
"""


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("before", ["signing", "the name"])
def test_killed_between_encoding_and_signing_leaves_no_output(
    suffix: str, before: str, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / f"out{suffix}"
    words = [sys.executable, "-P", "-c", KILLED, str(source), str(target), before]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert not target.exists()
    sidecar = {"out.c2pa"} if suffix == ".mkv" and before == "the name" else set[str]()
    left = {each.name for each in tmp_path.iterdir()} - {source.name}
    assert {name for name in left if not name.startswith(f".out{suffix}.")} == sidecar, "never without"
    assert left - sidecar
    remove_leftovers(target)
    assert {each.name for each in tmp_path.iterdir()} == {source.name} | sidecar


def test_what_cannot_be_signed_leaves_the_previous_file(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_bytes(b"previous")
    signer = credentials(source)
    unsigned = tmp_path / "unsigned"
    unsigned.write_bytes(b"no video at all")
    with pytest.raises(OSError, match=r"out\.mp4: cannot be signed"):
        signer.publish(unsigned, target)
    assert target.read_bytes() == b"previous"
    assert sorted(os.listdir(tmp_path)) == ["out.mp4", "source.mp4"]


def test_a_kind_is_what_the_content_says(tmp_path: Path, source: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (4, 4)).save(picture, "PNG")
    for name, content, mime in (
        ("a.jpg", picture.getvalue(), "image/png"),
        ("a.mov", source.read_bytes(), "video/quicktime"),
        ("a.png", source.read_bytes(), "video/mp4"),
        ("a.mkv", b"\x1a\x45\xdf\xa3" + bytes(20), "video/x-matroska"),
        ("a.mp4", b"", "video/mp4"),
    ):
        (tmp_path / name).write_bytes(content)
        assert kind_of(tmp_path / name).mime == mime, name
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="neither a video nor a picture"):
        kind_of(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="no such file"):
        kind_of(tmp_path / "nowhere.mp4")


def test_a_record_is_about_exactly_one_file(source: Path, tmp_path: Path) -> None:
    signed = write(tmp_path / "signed.mp4", credentials(source).publish)
    digest = hashlib.sha256(signed.read_bytes()).hexdigest()
    record = tmp_path / "signed.json"

    def told(content: object) -> object:
        record.write_text(json.dumps(content))
        found = verify(signed)
        return found.verdict, None if found.record is None else found.record.matches

    assert told({"keyface": "0.2.0", "output": {"name": "signed.mp4", "sha256": digest}}) == ("ours", True)
    assert told({"keyface": "0.2.0", "output": {"name": "signed.mp4", "sha256": "00"}}) == ("broken", False)
    assert told({"keyface": "0.2.0", "output": {"name": "another.mp4", "sha256": "00"}}) == ("ours", None)
    assert told({"output": {"name": "signed.mp4", "sha256": "00"}}) == ("ours", None), "not keyface's"
    assert told([1]) == ("ours", None)
    plain = write(tmp_path / "plain.mp4")
    digest = hashlib.sha256(plain.read_bytes()).hexdigest()
    content = {"keyface": "0.2.0", "output": {"name": "plain.mp4", "sha256": digest}}
    (tmp_path / "plain.json").write_text(json.dumps(content))
    assert verify(plain).verdict == "not ours", "anybody can write a record"
