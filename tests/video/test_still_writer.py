"""Pictures out: the pixels, what the picture is, what a photograph said of itself, all or nothing."""

from fractions import Fraction
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image, ImageCms
from rich_videos import Rich, make_rich, picture

from keyface.video import Encoding, StillWriter, VideoReader, VideoWriter, open_video, open_writer
from keyface.video.formats import require_container

COMMENT = "This picture is synthetic. Prompt: a man with a moustache, été"


def frame(height: int = 47, width: int = 63) -> torch.Tensor:
    return torch.from_numpy(picture(3, height, width)).permute(2, 0, 1)[None]


@pytest.mark.parametrize(("name", "worst"), [("a.png", 0), ("a.jpg", 12), ("a.JPEG", 12), ("a.webp", 20)])
def test_a_frame_becomes_a_picture(tmp_path: Path, name: str, worst: int) -> None:
    reader = VideoReader(make_rich(tmp_path / "in.mp4", Rich(frames=1)))
    with open_writer(tmp_path / name, like=reader, metadata={"comment": COMMENT, "title": "Me"}) as writer:
        assert isinstance(writer, StillWriter)
        writer.write(frame())
    with Image.open(tmp_path / name) as image:
        pixels = np.asarray(image.convert("RGB")).astype(int)
        exif, info = image.getexif(), dict(image.info)
    assert pixels.shape == (47, 63, 3)
    difference = np.abs(pixels - picture(3, 47, 63).astype(int))
    assert np.quantile(difference, 0.99) <= worst
    note = exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment]
    assert note[8:].decode("utf-16-be") == COMMENT
    assert exif[ExifTags.Base.ImageDescription] == "Me"
    xmp = info.get("xmp") or info["XML:com.adobe.xmp"].encode()
    assert b"compositeWithTrainedAlgorithmicMedia" in xmp
    assert COMMENT.encode() in xmp
    if name == "a.png":
        assert info["Comment"] == COMMENT


@pytest.mark.parametrize("name", ["b.jpg", "b.png", "b.webp"])
def test_what_a_photograph_says_stays(tmp_path: Path, name: str) -> None:
    """EXIF, place, colour profile and XMP are kept; the turn is not, for frames are upright."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[ExifTags.Base.Artist], exif[ExifTags.Base.ImageDescription] = "Ann", "At the sea"
    exif[ExifTags.Base.Orientation] = 6
    exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] = (48.0, 8.0, 15.0)
    xmp = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="5"/>'
        b"</rdf:RDF></x:xmpmeta>"
    )
    photo = Image.fromarray(picture(3, 48, 64))
    photo.save(tmp_path / "a.jpg", exif=exif.tobytes(), icc_profile=profile, xmp=xmp)
    reader = open_video(tmp_path / "a.jpg")
    assert (reader.height, reader.width) == (64, 48)
    with open_writer(tmp_path / name, like=reader, metadata={"comment": COMMENT}) as writer:
        writer.write(next(reader.chunks(1)))
    with Image.open(tmp_path / name) as image:
        assert image.size == (48, 64)
        found, info = image.getexif(), image.info
    assert ExifTags.Base.Orientation not in found
    assert (found[ExifTags.Base.Artist], found[ExifTags.Base.ImageDescription]) == ("Ann", "At the sea")
    assert found.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (48.0, 8.0, 15.0)
    assert info["icc_profile"] == profile
    packet = info.get("xmp") or info["XML:com.adobe.xmp"].encode()
    assert b'xmp:Rating="5"' in packet
    assert b"compositeWithTrainedAlgorithmicMedia" in packet
    ElementTree.fromstring(packet)


def test_a_profile_for_ink_is_left_out(tmp_path: Path) -> None:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[16:20] = b"CMYK"
    ink = Image.fromarray(picture(3, 48, 64)).convert("CMYK")
    ink.save(tmp_path / "a.jpg", icc_profile=bytes(profile))
    reader = open_video(tmp_path / "a.jpg")
    with open_writer(tmp_path / "b.jpg", like=reader) as writer:
        writer.write(next(reader.chunks(1)))
    with Image.open(tmp_path / "b.jpg") as image:
        assert "icc_profile" not in image.info


def test_wide_pixels_become_square_ones(tmp_path: Path) -> None:
    source = make_rich(tmp_path / "in.mp4", Rich(frames=1, size=(48, 60), aspect=Fraction(4, 3)))
    reader = VideoReader(source)
    with open_writer(tmp_path / "a.png", like=reader) as writer:
        writer.write(next(reader.chunks(1)))
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (80, 48)


@pytest.mark.parametrize("name", ["b.mp4", "b.webm"])
def test_a_photograph_becomes_a_video(tmp_path: Path, name: str) -> None:
    Image.fromarray(picture(3, 48, 64)).save(tmp_path / "a.png")
    reader = open_video(tmp_path / "a.png")
    with open_writer(tmp_path / name, like=reader, metadata={"comment": COMMENT}) as writer:
        writer.write(next(reader.chunks(1)))
    assert len(VideoReader(tmp_path / name)) == 1


def test_floats_are_rounded_to_the_nearest(tmp_path: Path) -> None:
    values = torch.tensor([-1.5, -1.0, 0.0, 0.999, 1.0, 2.0]).expand(1, 3, 4, 6)
    with StillWriter(tmp_path / "a.png") as writer:
        writer.write(values)
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 255]


def test_several_frames_are_refused_when_the_writer_is_made(tmp_path: Path) -> None:
    reader = VideoReader(make_rich(tmp_path / "in.mp4", Rich(frames=3)))
    with pytest.raises(ValueError, match=r"one frame, in\.mp4 has 3; write to one of \.mp4"):
        open_writer(tmp_path / "a.png", like=reader)
    with pytest.raises(ValueError, match="one frame"), open_writer(tmp_path / "a.png", fps=5) as writer:
        writer.write(frame().repeat(2, 1, 1, 1))
    with pytest.raises(ValueError, match="encoding is for videos"):
        open_writer(tmp_path / "a.png", encoding=Encoding(quality=3))
    assert sorted(tmp_path.iterdir()) == [tmp_path / "in.mp4"]


def test_the_suffix_decides(tmp_path: Path) -> None:
    assert isinstance(open_writer(tmp_path / "a.mp4", fps=5), VideoWriter)
    with pytest.raises(ValueError, match=r"--compare .*a\.png: a picture takes one frame"):
        require_container(tmp_path / "a.png", "--compare")
    require_container(tmp_path / "a.png", "--compare", still=True)
    require_container(tmp_path / "a.mp4", "--compare", still=True)
    with pytest.raises(
        ValueError, match=r"write to one of .*\.webm, \.png, \.jpg, \.jpeg, \.webp, not '\.tif'"
    ):
        require_container(tmp_path / "a.tif", still=True)
    with pytest.raises(ValueError, match=r"write a picture to one of \.png"):
        StillWriter(tmp_path / "a.mp4")


def test_nothing_half_written(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"previous")

    def fail_midway() -> None:
        with StillWriter(target) as writer:
            writer.write(frame())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_midway()
    with pytest.raises(ValueError, match="no frame"), StillWriter(target):
        pass
    assert target.read_bytes() == b"previous"
    assert list(tmp_path.iterdir()) == [target]
