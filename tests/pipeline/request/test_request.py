"""What an edit's request refuses before any weights are read, and that it leaves nothing behind."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from tiny_insightface import tiny_pack

from keyface.cli.main import main
from keyface.faces.crops import FFHQ
from keyface.pipeline.planning.plan import make_plan
from keyface.pipeline.planning.space import check_space
from keyface.pipeline.request.request import VideoRequest
from keyface.video import VideoReader, write_clip


def request(video: Path, output: Path, **more: object) -> VideoRequest:
    return VideoRequest(video, output, prompt="a man", crop="centre", **more)  # type: ignore[arg-type]


def sounding(
    path: Path, codec: str, rate: int, layout: str, kind: type = np.int16, packed: str = "s16"
) -> Path:
    """Seven frames with sound of any kind."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        track = container.add_stream(codec, rate=rate, layout=layout)
        for _ in range(7):
            image = np.zeros((48, 64, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
        channels = av.AudioLayout(layout).nb_channels
        samples = av.AudioFrame.from_ndarray(np.zeros((1, channels * (rate // 4)), kind), packed, layout)
        samples.sample_rate, samples.pts, samples.time_base = rate, 0, Fraction(1, rate)
        container.mux(track.encode(samples))
        container.mux(track.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tcp://127.0.0.1:1/x.mp4", "is an address, and keyface writes to disks alone"),
        ("rtmp://host/x.mp4", "is an address"),
        ("file:///x.mp4", "is an address"),
        ("loop.mp4", "a link that leads to itself"),
        ("loop/x.mp4", "a link that leads to itself"),
        ("pipe.mp4", "is a pipe, a device or the like"),
        ("dangling.mp4", "exists; give another name"),
        ("a\0b.mp4", "holds a zero byte"),
        ("folder.mp4", "is a folder"),
        ("x" * 251 + ".mp4", "the name is too long; give one of at most 240 bytes"),
        ("x" * 236 + ".mp4", ".json: the name is too long; give one of at most 240 bytes"),
        ("x.gif", "write to one of .mp4"),
        ("in.mp4/x.mp4", "is a file, where a folder is needed"),
    ],
)
def test_names_that_cannot_be_written(
    name: str, message: str, video: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(video.parent)
    os.mkfifo("pipe.mp4")
    Path("loop.mp4").symlink_to("loop.mp4")
    Path("loop").symlink_to("loop")
    Path("dangling.mp4").symlink_to("nothing")
    Path("folder.mp4").mkdir()
    before = sorted(os.listdir("."))
    for option in ("-o", "--compare", "--mask-video"):
        overwrite = ["--overwrite"] if name == "pipe.mp4" else []
        output = [] if option == "-o" else ["-o", "o.mp4"]
        if option != "-o" and ".json" in message:
            continue
        words = ["edit", "in.mp4", *output, option, name, "--prompt", "a man", "--weights", "nothing"]
        assert main([*words, *overwrite]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert sorted(os.listdir(".")) == before


@pytest.mark.parametrize(
    "name", ["p%03d.mp4", "tcp:127.0.0.1.mp4", "12:30.mp4", os.fsdecode(b"\xff\xfe.mp4"), "ä\n.mp4"]
)
def test_odd_names_are_files(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 32, 32), dtype=np.uint8)
    write_clip(Path(name), torch.from_numpy(frames), 25)
    assert os.listdir(".") == [name]
    assert len(VideoReader(name)) == 3
    request(Path(name), Path(f"other-{name}"))


def test_sound_that_cannot_be_kept_is_known_before_the_edit(tmp_path: Path) -> None:
    source = sounding(tmp_path / "a.mkv", "pcm_s16le", 48000, "hexadecagonal")
    with pytest.raises(ValueError, match=r"o\.mp4: a sound track has 16 channels.*write to \.mov or \.mkv"):
        request(source, tmp_path / "o.mp4")
    request(source, tmp_path / "o.mkv")
    assert sorted(os.listdir(tmp_path)) == ["a.mkv"]


@pytest.mark.parametrize("rate", [7350, 192000])
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".mov"])
def test_sound_of_odd_rates_is_taken(rate: int, suffix: str, tmp_path: Path) -> None:
    request(sounding(tmp_path / "a.mkv", "pcm_s16le", rate, "stereo"), tmp_path / f"o{suffix}")


def test_what_is_left_out_is_said_before_the_edit(tmp_path: Path) -> None:
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container:
        for _ in range(2):
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream in container.streams.video:
            for _ in range(3):
                image = np.zeros((48, 64, 3), np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            container.mux(stream.encode(None))
    with pytest.warns(UserWarning, match="left out: another video stream"):
        request(source, tmp_path / "o.mp4")


def test_too_small_a_disk_is_known_before_weights_are_read(
    video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing but the system's own answer, of how much is free, is another."""
    asked = request(video, tmp_path / "deep" / "er" / "o.mp4")
    check_space(asked, asked.reader)
    usage = os.statvfs(tmp_path)
    monkeypatch.setattr("keyface.files.shutil.disk_usage", lambda path: type("Usage", (), {"free": 2**20})())
    assert usage.f_bavail > 0
    words = ["edit", str(video), "-o", str(tmp_path / "deep" / "er" / "o.mp4"), "--prompt", "a man"]
    assert main([*words, "--crop", "centre", "--weights", "nothing"]) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert "this edit may take up to 1 MB, 1 MB are free; make room or choose another disk" in line
    assert not (tmp_path / "deep").exists(), "no folder is made for what is refused"


def test_a_refused_device_leaves_no_folder(video: Path, tmp_path: Path) -> None:
    output = tmp_path / "new" / "o.mp4"
    words = ["edit", str(video), "-o", str(output), "--prompt", "a man", "--crop", "centre"]
    for more in ("--device=banana", "--weights=nothing", f"--seed={10**23}", "--guidance=-1"):
        assert main([*words, more]) == 1
    assert sorted(os.listdir(tmp_path)) == ["in.mp4"]


def test_a_finder_that_does_not_use_the_edits_gpu_is_refused_where_that_was_asked(
    video: Path, tmp_path: Path, recognizer_file: Path
) -> None:
    (tmp_path / "buffalo_l").mkdir()
    pack = tiny_pack(tmp_path / "buffalo_l", recognizer_file)
    request = VideoRequest(video, tmp_path / "out.mp4", edits="glasses", finder=f"insightface:{pack}")
    with pytest.raises(ValueError, match="onnxruntime runs on the CPU only: pip uninstall onnxruntime"):
        make_plan(request, None, FFHQ, device="cuda", strict=True)
