"""What a file holds beside pictures goes over into the file made from it, or its loss is said."""

import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from rich_videos import Rich, Sound, Text, heard, make_rich, pitches, said, tones

from keyface.video import VideoReader, VideoWriter
from keyface.video.carrying.tags import advance_timecode, merge_tags

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")


def rewrite(source: Path, target: Path, metadata: dict[str, str] | None = None, **how: float) -> Path:
    reader = VideoReader(source, **how)  # type: ignore[arg-type]
    with VideoWriter(target, like=reader, metadata=metadata) as writer:
        for chunk in reader.chunks(16):
            writer.write(chunk)
    return target


def packets(path: Path, kind: str = "audio") -> list[bytes]:
    with av.open(str(path)) as container:
        stream = container.streams.get({kind: 0})[0]
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize(
    ("codec", "name", "expected"),
    [
        ("aac", "a.mov", "aac"),
        ("libopus", "a.mov", "aac"),
        ("flac", "a.mov", "aac"),
        ("libopus", "a.mp4", "opus"),
        ("flac", "a.mp4", "flac"),
        ("libopus", "a.mkv", "opus"),
        ("flac", "a.webm", "opus"),
        ("libopus", "a.webm", "opus"),
        ("pcm_s16le", "a.mp4", "aac"),
        ("pcm_s16le", "a.mov", "pcm_s16le"),
        ("pcm_s24le", "a.mkv", "pcm_s24le"),
    ],
)
def test_sound_is_copied_where_the_file_takes_it(
    tmp_path: Path, codec: str, name: str, expected: str
) -> None:
    samples = "s32" if codec == "pcm_s24le" else "s16"
    source = make_rich(tmp_path / "in.mkv", Rich(sounds=[Sound(codec, samples=samples)]))
    target = rewrite(source, tmp_path / name)
    with av.open(str(target)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == expected
    assert pitches(target) == [200, 300]
    if expected in codec:
        assert b"".join(packets(source)) == b"".join(packets(target))
    else:
        before, after = heard(source), heard(target)
        assert abs(after[2] - before[2]) < Fraction(1, 100)
        assert after[0].shape[1] / after[1] == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("layout", ["4.0", "quad", "5.1", "7.1", "mono"])
@pytest.mark.parametrize(
    ("kind", "name"), [(".mov", "a.mp4"), (".mkv", "a.mp4"), (".mov", "a.webm"), (".mkv", "a.mov")]
)
def test_all_channels_are_kept(tmp_path: Path, layout: str, kind: str, name: str) -> None:
    """24-bit PCM in Matroska has a number of channels alone, without their places."""
    sound = Sound("pcm_s24le", layout, samples="s32")
    source = make_rich(tmp_path / f"in{kind}", Rich(sounds=[sound]))
    channels = len(av.AudioLayout(layout).channels)
    heard_pitches = pitches(rewrite(source, tmp_path / name))
    expected = [200 + 100 * number for number in range(channels)]
    woofer = channels in (6, 8)  # its channel is low-passed by the encoders
    assert [each for n, each in enumerate(heard_pitches) if not (woofer and n == 3)] == [
        each for n, each in enumerate(expected) if not (woofer and n == 3)
    ]


def test_more_channels_than_the_encoder_has_are_refused_at_once(tmp_path: Path) -> None:
    source = make_rich(tmp_path / "in.mov", Rich(sounds=[Sound("pcm_s16le", "hexadecagonal")]))
    with pytest.raises(ValueError, match=r"16 channels, aac takes 8; write to \.mov or \.mkv"):
        VideoWriter(tmp_path / "a.mp4", like=VideoReader(source))
    rewrite(source, tmp_path / "a.mov")
    assert heard(tmp_path / "a.mov")[0].shape[0] == 16


def test_a_rate_that_the_encoder_lacks(tmp_path: Path) -> None:
    sound = Sound("pcm_s24le", samples="s32", rate=192000)
    target = rewrite(make_rich(tmp_path / "in.mov", Rich(sounds=[sound])), tmp_path / "a.mp4")
    assert heard(target)[1] == 48000
    assert pitches(target) == [200, 300]


@pytest.mark.parametrize("name", [f"a{suffix}" for suffix in SUFFIXES])
def test_languages_titles_and_the_default_track(tmp_path: Path, name: str) -> None:
    sounds = [
        Sound(language="eng", default=False, title="Original"),
        Sound(language="deu", default=True, layout="mono", title="Synchron"),
    ]
    target = rewrite(make_rich(tmp_path / "in.mkv", Rich(sounds=sounds)), tmp_path / name)
    with av.open(str(target)) as container:
        first, second = container.streams.audio
        german = "ger" if name.endswith(".mov") else "deu"
        assert [first.language, second.language] == ["eng", german]
        assert [bool(each.disposition & Disposition.default) for each in (first, second)] == [False, True]
        titles = [each.metadata.get("title") or each.metadata.get("name") for each in (first, second)]
        assert titles == ["Original", "Synchron"]
        assert [first.layout.nb_channels, second.layout.nb_channels] == [2, 1]


LINES = ((0.1, 0.3, "Guten Tag"), (0.5, 0.9, "zweite\\NZeile"))


@pytest.mark.parametrize(
    ("codec", "kind"), [("subrip", ".mkv"), ("ass", ".mkv"), ("mov_text", ".mp4"), ("webvtt", ".webm")]
)
@pytest.mark.parametrize("name", [f"a{suffix}" for suffix in SUFFIXES])
def test_subtitles(tmp_path: Path, codec: str, kind: str, name: str) -> None:
    rich = Rich(
        texts=[Text(codec, LINES, "deu")],
        sounds=[Sound("libopus" if kind == ".webm" else "aac")],
        codec="libvpx-vp9" if kind == ".webm" else "libx264",
    )
    source = make_rich(tmp_path / f"in{kind}", rich)
    target = rewrite(source, tmp_path / name)
    expected = [
        (Fraction(1, 10), Fraction(3, 10), "Guten Tag"),
        (Fraction(1, 2), Fraction(9, 10), "zweite\nZeile"),
    ]
    assert said(target) == expected
    with av.open(str(target)) as container:
        assert container.streams.subtitles[0].language == ("ger" if name.endswith(".mov") else "deu")


DRAWN = bytes.fromhex("16000b 0040 0030 10 0000 80 00 00 00 800000")
"""A Blu-ray subtitle that clears the screen: a presentation without objects, and its end."""


def test_subtitles_that_are_pictures_are_left_out_with_a_word(tmp_path: Path) -> None:
    make_rich(tmp_path / "pictures.mkv", Rich(drawn_text=DRAWN))
    with pytest.warns(UserWarning, match=r"a\.mp4: left out: subtitle track 1 \(pgssub\)"):
        rewrite(tmp_path / "pictures.mkv", tmp_path / "a.mp4")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rewrite(tmp_path / "pictures.mkv", tmp_path / "a.mkv")
    assert packets(tmp_path / "a.mkv", "subtitles") == [DRAWN]


@pytest.mark.parametrize("kind", SUFFIXES[:3])
@pytest.mark.parametrize("name", [f"a{suffix}" for suffix in SUFFIXES])
def test_chapters_tags_and_time_code(tmp_path: Path, kind: str, name: str) -> None:
    tags = {
        "title": "My film",
        "artist": "Ann",
        "comment": "first cut",
        "location": "+48.1374+011.5755/",
        "creation_time": "2020-01-02T03:04:05.000000Z",
    }
    chapters = [(0, 0.5, "One"), (0.5, 1, "Two")]
    rich = Rich(chapters=chapters, tags=tags, timecode="01:02:03:04", sounds=[Sound()])
    source = make_rich(tmp_path / f"in{kind}", rich)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        stated = {"title": "in (synthetic)", "comment": "This video is synthetic."}
        target = rewrite(source, tmp_path / name, stated)
    with av.open(str(target)) as container:
        found = {key.lower(): value for key, value in container.metadata.items()}
        assert [
            (
                float(each["start"] * each["time_base"]),
                float(each["end"] * each["time_base"]),
                each["metadata"]["title"],
            )
            for each in container.chapters()
        ] == chapters
        video = {key.lower(): value for key, value in container.streams.video[0].metadata.items()}
    assert video["timecode"] == "01:02:03:04"
    assert found["comment"] == "This video is synthetic.\nfirst cut"
    for key in ("title", "artist", "location", "creation_time"):
        assert found[key] == tags[key]


def test_a_film_without_a_title_gets_one(tmp_path: Path) -> None:
    source = make_rich(tmp_path / "in.mp4", Rich())
    target = rewrite(source, tmp_path / "a.mp4", {"title": "in (synthetic)", "comment": "synthetic"})
    again = rewrite(target, tmp_path / "b.mp4", {"title": "a (synthetic)", "comment": "synthetic"})
    with av.open(str(again)) as container:
        assert container.metadata["title"] == "in (synthetic)"
        assert container.metadata["comment"] == "synthetic"


def test_tags_of_phones() -> None:
    source = {
        "com.apple.quicktime.location.ISO6709": "+48+011/",
        "com.apple.quicktime.make": "Apple",
        "location-eng": "+48+011/",
        "encoder": "Lavf",
        "major_brand": "qt",
        "ARTIST": "Ann",
    }
    assert merge_tags(source, {}) == {"location": "+48+011/", "make": "Apple", "artist": "Ann"}


@pytest.mark.parametrize(
    ("code", "frames", "fps", "expected"),
    [
        ("01:02:03:04", 0, 25, "01:02:03:04"),
        ("01:02:03:04", 21, 25, "01:02:04:00"),
        ("23:59:59:24", 1, 25, "00:00:00:00"),
        ("00:00:59;29", 1, Fraction(30000, 1001), "00:01:00;02"),
        ("00:09:59;29", 1, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:00;00", 17982, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:00;00", 1800, Fraction(30000, 1001), "00:01:00;02"),
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("01:00:00:24", 1, 24, None),
        ("00:00:00;00", 1, 25, None),
    ],
)
def test_time_codes_go_on(code: str, frames: int, fps: Fraction, expected: str | None) -> None:
    """Expected by SMPTE ST 12-1: numbers 0 and 1 of each minute are skipped, but of each tenth."""
    assert advance_timecode(code, frames, Fraction(fps)) == expected


def test_attached_fonts(tmp_path: Path) -> None:
    source = make_rich(tmp_path / "in.mkv", Rich(attached={"font.ttf": b"\0\1font"}))
    with av.open(str(rewrite(source, tmp_path / "a.mkv"))) as container:
        (attached,) = container.streams.attachments
        assert (attached.name, attached.data) == ("font.ttf", b"\0\1font")
    with pytest.warns(UserWarning, match=r"left out: the attached file font\.ttf"):
        rewrite(source, tmp_path / "a.mp4")


def test_a_part_takes_its_part_of_everything(tmp_path: Path) -> None:
    rich = Rich(
        frames=50,
        sounds=[Sound("pcm_s16le"), Sound("aac")],
        texts=[Text("subrip", [(0.1, 0.2, "kept"), (0.4, 0.9, "cut"), (1.2, 1.4, "gone")])],
        chapters=[(0, 0.3, "One"), (0.3, 1, "Two"), (1, 2, "Three")],
    )
    target = rewrite(make_rich(tmp_path / "in.mkv", rich), tmp_path / "a.mp4", end=0.6)
    assert said(target) == [
        (Fraction(1, 10), Fraction(1, 5), "kept"),
        (Fraction(2, 5), Fraction(3, 5), "cut"),
    ]
    with av.open(str(target)) as container:
        assert [float(each["end"] * each["time_base"]) for each in container.chapters()] == [0.3, 0.6]
        lengths = [each.duration * each.time_base for each in container.streams.audio]
    assert abs(lengths[0] - Fraction(6, 10)) < Fraction(25, 1000)  # to the sample, and the encoder's delay
    assert abs(lengths[1] - Fraction(6, 10)) < Fraction(25, 1000)
    samples, rate, _ = heard(target)
    expected = tones(Sound(), 0.6)
    assert samples.shape[1] / rate == pytest.approx(0.6, abs=0.045)
    shorter = min(samples.shape[1], expected.shape[1])
    assert np.abs(samples[:, :shorter] - expected[:, :shorter]).mean() < 0.02


def test_a_part_from_the_middle(tmp_path: Path) -> None:
    """Encoded sound is cut to the sample, copied sound between its packets of 21 ms; both stay in time."""
    rich = Rich(
        frames=75,
        sounds=[Sound("pcm_s16le", steps=True), Sound("aac", steps=True)],
        texts=[
            Text("subrip", [(0.1, 0.2, "gone"), (0.8, 1.2, "cut"), (1.3, 1.4, "kept"), (2.5, 2.6, "gone")])
        ],
        chapters=[(0, 0.5, "One"), (0.5, 1.5, "Two"), (1.5, 3, "Three")],
        timecode="01:00:00:00",
    )
    source = make_rich(tmp_path / "in.mkv", rich)
    target = rewrite(source, tmp_path / "a.mp4", start=1.0, end=2.0)
    reader = VideoReader(target)
    assert (len(reader), reader.timings[0].pts) == (25, 0)
    assert said(target) == [
        (Fraction(0), Fraction(1, 5), "cut"),
        (Fraction(3, 10), Fraction(2, 5), "kept"),
    ]
    with av.open(str(target)) as container:
        chapters = [
            (float(each["start"] * each["time_base"]), each["metadata"]["title"])
            for each in container.chapters()
        ]
        assert container.streams.video[0].metadata["timecode"] == "01:00:01:00"
    assert chapters == [(0, "Two"), (0.5, "Three")]
    for track, tolerance in ((0, 0.0005), (1, 0.0015)):
        samples, rate, first = heard(target, track)
        assert abs(first) < Fraction(22, 1000)
        assert samples.shape[1] / rate == pytest.approx(1, abs=0.045)
        loud = np.abs(samples[0]) > 0.1
        # The sound comes on at 1.25 s and 1.75 s of the source and goes off at 1.5 s.
        begins = np.flatnonzero(loud[1:] & ~loud[:-1] & ~_recently(loud, rate))[:2] / rate + float(first)
        assert begins == pytest.approx([0.25, 0.75], abs=tolerance)


def _recently(loud: np.ndarray, rate: int) -> np.ndarray:
    """Tell for each sample but the last whether the 50 ms before it were loud."""
    window = rate // 20
    counts = np.concatenate([np.zeros(window), np.cumsum(loud)])
    return (counts[window:] - counts[:-window])[:-1] > 0


def test_the_small_first_stream_does_not_shift_the_others(tmp_path: Path) -> None:
    sounds = [Sound(language="eng"), Sound("flac", language="deu", default=False)]
    source = make_rich(
        tmp_path / "in.mkv", Rich(sounds=sounds, small_video_first=True, attached={"font.ttf": b"f"})
    )
    with pytest.warns(UserWarning, match="left out: another video stream"):
        target = rewrite(source, tmp_path / "a.mkv")
    with av.open(str(target)) as container:
        assert [each.language for each in container.streams.audio] == ["eng", "deu"]
        assert len(container.streams.attachments) == 1
    assert packets(target) == packets(source)
