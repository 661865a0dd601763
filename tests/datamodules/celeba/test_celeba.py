"""CelebA-HQ's published files, in small, become shards that training reads."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from keyface.celeba import CELEBA_ATTRIBUTES, REGIONS
from keyface.cli.main import main
from keyface.commands.data.prediction import precision_on
from keyface.datamodules.celeba import writing
from keyface.datamodules.celeba.convert import caption_of, read_picture
from keyface.datamodules.celeba.layout import Layout, read_attributes, read_identities
from keyface.datamodules.celeba.masks import read_mask
from keyface.datamodules.celeba.writing import CelebaHq, write_celeba_hq
from keyface.datamodules.shard_files.index import ShardError, ShardIndex
from keyface.datamodules.shards import ShardsDataModule

SIDE = 64
LANDMARKS = (20.0, 24.0, 43.0, 24.0, 32.0, 36.0, 24.0, 47.0, 41.0, 47.0)


def picture(number: int) -> Image.Image:
    """A smooth picture that tells its number by its red."""
    ramp = np.linspace(0, 255, SIDE)
    pixels = np.stack(np.broadcast_arrays(number * 10.0, ramp[None], ramp[:, None]), axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def part(folder: Path, number: int, name: str, box: tuple[int, int, int, int]) -> None:
    """A part of a mask as published: RGB, black and white, half the picture's size."""
    image = Image.new("RGB", (SIDE // 2, SIDE // 2))
    image.paste((255, 255, 255), box)
    target = folder / str(number // 2000)
    target.mkdir(parents=True, exist_ok=True)
    image.save(target / f"{number:05d}_{name}.png")


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Pictures 0 to 6 of CelebAMask-HQ; picture 6 is number 2001, whose masks are in another folder."""
    root = tmp_path / "CelebAMask-HQ"
    (root / "CelebA-HQ-img").mkdir(parents=True)
    numbers = [0, 1, 2, 3, 4, 5, 2001]
    lines = ["7", " ".join(CELEBA_ATTRIBUTES)]
    mapping = ["idx    orig_idx    orig_file"]
    marks = ["7", "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y a b c d"]
    for row, number in enumerate(numbers):
        picture(row).save(root / "CelebA-HQ-img" / f"{number}.jpg", quality=95, subsampling=0)
        values = [
            "1" if name == "Male" or (name == "Smiling" and row % 2) else "-1" for name in CELEBA_ATTRIBUTES
        ]
        lines.append(f"{number}.jpg  {' '.join(values)}")
        mapping.append(f"{number}       {100 + row}       {101 + row:06d}.jpg")
        marks.append(f"{number}.jpg {' '.join(map(str, LANDMARKS))}")
        part(root / "CelebAMask-HQ-mask-anno", number, "skin", (4, 4, 28, 28))
        part(root / "CelebAMask-HQ-mask-anno", number, "nose", (14, 14, 18, 20))
        part(root / "CelebAMask-HQ-mask-anno", number, "hair", (0, 0, 32, 6))
    (root / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(lines) + "\n")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(mapping) + "\n")
    (tmp_path / "landmarks.txt").write_text("\n".join(marks) + "\n")
    (tmp_path / "identity_CelebA.txt").write_text(
        "".join(f"{101 + row:06d}.jpg {50 + row // 2}\n" for row in range(7))
    )
    return root


def words(root: Path, *more: str) -> list[str]:
    out = root.parent / "shards"
    marks = root.parent / "landmarks.txt"
    return [
        *("shards", "celeba-hq", "--output", str(out), "--images", str(root), "--landmarks", str(marks)),
        *("--size", "32", "--samples-per-shard", "3", "--workers", "1", *more),
    ]


def batch_of(folder: Path, size: int = 7) -> dict:
    data = ShardsDataModule(folder, batch_size=size, val_fraction=0.999, with_mask=True)
    data.setup()
    return next(iter(data.val_dataloader()))


def test_the_published_layout_becomes_shards(published: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(published, "--identities", str(published.parent / "identity_CelebA.txt"))) == 0
    assert "7 of 7 pictures in 3 shards" in capsys.readouterr().out
    assert main(["shards", "verify", str(published.parent / "shards")]) == 0
    batch = batch_of(published.parent / "shards")
    assert sorted(batch["key"]) == ["0", "1", "2", "2001", "3", "4", "5"]
    order = {key: row for row, key in enumerate(["0", "1", "2", "3", "4", "5", "2001"])}
    for index, key in enumerate(batch["key"]):
        row = order[key]
        assert batch["image"][index, 0].add(1).mul(127.5).mean() == pytest.approx(row * 10, abs=2)
        assert batch["attributes"][index] == {
            name: name == "Male" or (name == "Smiling" and bool(row % 2)) for name in CELEBA_ATTRIBUTES
        }
        assert batch["caption"][index] == "a photo of an old man" + (", smiling" if row % 2 else "")
        assert batch["identity"][index] == 50 + row // 2
        # (x + 1/2) halves with the picture.
        assert batch["landmarks"][index][0].tolist() == [(20.5 / 2) - 0.5, (24.5 / 2) - 0.5]
        mask = batch["mask"][index]
        assert mask[0, 0] == REGIONS.index("hair")
        assert mask[5, 10] == REGIONS.index("hair"), "a later class of the order lies above"
        assert mask[16, 16] == REGIONS.index("nose")
        assert mask[25, 10] == REGIONS.index("skin")
        assert mask[31, 31] == 0


def test_a_subset_is_drawn_by_the_seed_and_is_the_beginning_of_a_larger_one(published: Path) -> None:
    layout = Layout.find(published)

    def keys(count: int | None, seed: int) -> list[str]:
        chosen = CelebaHq(layout, count, seed, landmarks=published.parent / "landmarks.txt").pictures()
        return [each.key for each in chosen]

    assert keys(4, 0) == keys(None, 0)[:4]
    assert len(set(keys(None, 0))) == 7
    assert keys(None, 0) != keys(None, 1)
    with pytest.raises(ShardError, match="7 pictures, --count asks for 8"):
        keys(8, 0)


def test_processes_write_the_same_bytes_and_an_interrupted_call_goes_on(published: Path) -> None:
    layout = Layout.find(published)
    settings = CelebaHq(layout, None, 0, 32, 3, published.parent / "landmarks.txt")
    pictures, seen = settings.pictures(), []
    whole = write_celeba_hq(published.parent / "a", settings, pictures, workers=2, progress=seen.append)
    assert sum(seen) == 7
    folder = published.parent / "b"
    write_celeba_hq(folder, settings, pictures, workers=1)
    assert ShardIndex.read(folder) == whole
    ShardIndex(whole.shards[:1], whole.made).write(folder)
    (folder / "shard-000002.tar").unlink()
    before = (folder / "shard-000000.tar").stat().st_mtime_ns
    assert write_celeba_hq(folder, settings, pictures, workers=1) == whole
    assert (folder / "shard-000000.tar").stat().st_mtime_ns == before
    other = CelebaHq(layout, None, 1, 32, 3, published.parent / "landmarks.txt")
    with pytest.raises(ShardError, match=r"was made with seed 0 \(now 1\)"):
        write_celeba_hq(folder, other, other.pictures(), workers=1)


def test_plain_folders_and_lists_as_csv(published: Path, tmp_path: Path) -> None:
    """Pictures as png, finished maps of class ids, lists as CSV, anywhere."""
    images, masks = tmp_path / "faces", tmp_path / "maps"
    images.mkdir()
    masks.mkdir()
    rows = [["image_id", *CELEBA_ATTRIBUTES]]
    marks = [["image_id", *(f"{name}_{axis}" for name in "abcde" for axis in "xy")]]
    for number in range(2):
        picture(number).save(images / f"me-{number}.png")
        Image.new("L", (SIDE, SIDE), 3 + number).save(masks / f"me-{number}.png")
        rows.append([f"me-{number}.png", *["1"] * 40])
        marks.append([f"me-{number}.png", *map(str, LANDMARKS)])
    for name, table in (("attributes.csv", rows), ("landmarks.csv", marks)):
        (tmp_path / name).write_text("\n".join(",".join(row) for row in table))
    settings = CelebaHq(
        Layout.find(images, tmp_path / "attributes.csv", masks),
        size=32,
        landmarks=tmp_path / "landmarks.csv",
    )
    write_celeba_hq(tmp_path / "out", settings, settings.pictures(), workers=1)
    batch = batch_of(tmp_path / "out", 2)
    assert {key: int(mask.max()) for key, mask in zip(batch["key"], batch["mask"], strict=True)} == {
        "me-0": 3,
        "me-1": 4,
    }
    assert len(set(batch["identity"].tolist())) == 2
    assert all(batch["attributes"][0].values())


def test_a_jpeg_is_reduced_while_it_is_decoded_without_much_loss(tmp_path: Path) -> None:
    from skimage import data

    portrait = Image.fromarray(data.astronaut())
    portrait.save(tmp_path / "0.jpg", quality=95)
    fast, side = read_picture(tmp_path / "0.jpg", 256)
    assert side == 512
    with Image.open(tmp_path / "0.jpg") as full:
        slow = np.asarray(full.resize((256, 256), Image.Resampling.LANCZOS), dtype=float)
    error = ((fast - slow) ** 2).mean()
    assert 10 * np.log10(255**2 / error) > 38


def test_faces_are_found_by_the_detector_and_a_picture_without_one_is_left_out(
    tmp_path: Path, face_api_folder: Path
) -> None:
    from skimage import data

    (tmp_path / "images").mkdir()
    Image.fromarray(data.astronaut()).save(tmp_path / "images" / "face.png")
    Image.new("RGB", (256, 256), (90, 140, 200)).save(tmp_path / "images" / "sky.png")
    rows = [["image_id", *CELEBA_ATTRIBUTES], ["face.png", *["-1"] * 40], ["sky.png", *["-1"] * 40]]
    (tmp_path / "attributes.csv").write_text("\n".join(",".join(row) for row in rows))
    layout = Layout.find(tmp_path / "images", tmp_path / "attributes.csv")
    settings = CelebaHq(layout, size=256, detector=face_api_folder)
    index = write_celeba_hq(tmp_path / "out", settings, settings.pictures(), workers=1)
    assert index.samples == 1
    assert index.made["no_face"] == ["sky"]
    data_module = ShardsDataModule(tmp_path / "out", batch_size=1, val_fraction=0.999)
    data_module.setup()
    marks = next(iter(data_module.val_dataloader()))["landmarks"][0]
    # The astronaut's eyes, at half the published picture's size.
    assert torch.allclose(marks[:2].mean(0), torch.tensor([112.0, 53.0]), atol=8)
    assert marks[3:, 1].min() > marks[:2, 1].max() + 10


def test_unreadable_pictures_are_an_error_or_counted(published: Path) -> None:
    (published / "CelebA-HQ-img" / "3.jpg").write_bytes(b"no picture")
    settings = CelebaHq(Layout.find(published), size=32, landmarks=published.parent / "landmarks.txt")
    out = published.parent / "out"
    with pytest.raises(ShardError, match=r"picture 3: .*3.jpg: cannot be read.*--tolerate"):
        write_celeba_hq(out, settings, settings.pictures(), workers=1)
    assert not out.exists()
    index = write_celeba_hq(out, settings, settings.pictures(), workers=1, tolerate=1)
    assert index.samples == 6
    assert list(index.made["unreadable"]) == ["3"]
    (published / "CelebA-HQ-img" / "4.jpg").write_bytes(
        (published / "CelebA-HQ-img" / "4.jpg").read_bytes()[:300]
    )
    with pytest.raises(ShardError, match="2 faults, 1 are tolerated"):
        write_celeba_hq(published.parent / "out2", settings, settings.pictures(), workers=1, tolerate=1)


def drop_line(path: Path, start: str) -> None:
    path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith(start)))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (
            lambda root: (root / "CelebAMask-HQ-attribute-anno.txt").unlink(),
            "attribute-anno.txt.*no such file",
        ),
        (lambda root: drop_line(root / "CelebAMask-HQ-attribute-anno.txt", "3.jpg"), "lacks 3 of 7 pictures"),
        (lambda root: drop_line(root.parent / "landmarks.txt", "3.jpg"), "landmarks.txt lacks 3"),
        (
            lambda root: (root.parent / "landmarks.txt").write_text("1\na b\n0.jpg 1 2"),
            "2 columns instead of 10",
        ),
        (lambda root: (root.parent / "landmarks.txt").write_text("hello"), "lists no pictures"),
        (
            lambda root: picture(0).save(root / "CelebA-HQ-img" / "a b.jpg"),
            "a b.jpg: a picture's name may hold",
        ),
        (lambda root: picture(0).save(root / "CelebA-HQ-img" / "3.png"), "there is also 3"),
        (
            lambda root: picture(0).crop((0, 0, 64, 32)).save(root / "CelebA-HQ-img" / "3.jpg"),
            "64x32; crop faces to squares first",
        ),
        (
            lambda root: [p.unlink() for p in (root / "CelebAMask-HQ-mask-anno").rglob("00003_*")],
            r"no mask .*00003_\*.png",
        ),
    ],
)
def test_what_is_wrong_is_one_line(
    published: Path, spoil: Callable[[Path], object], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(published)
    assert main(words(published)) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("keyface: error:")]
    assert len(errors) == 1
    assert re.search(said, errors[0])


def test_plain_folders_need_their_lists_and_all_that_is_missing_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match=r"--images .*no such folder.*--attributes FILE.*--masks .*no such"):
        Layout.find(tmp_path / "images", None, tmp_path / "masks")


def test_without_landmarks_the_detector_s_weights_are_asked_for_before_anything_is_written(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(published.parent / "none"))
    out = published.parent / "out"
    assert main(["shards", "celeba-hq", "--output", str(out), "--images", str(published)]) == 1
    assert "keyface weights get face-api" in capsys.readouterr().err
    assert not out.exists()


def test_identities_without_a_mapping_go_by_the_pictures_names(tmp_path: Path) -> None:
    (tmp_path / "who.txt").write_text("image_id,identity\na.jpg,7\nb.jpg,8\n")
    assert read_identities(tmp_path / "who.txt", None) == {"a": 7, "b": 8}


def test_labels_of_celeba_are_read_by_name_and_not_by_place(tmp_path: Path) -> None:
    names = list(reversed(CELEBA_ATTRIBUTES))
    values = ["1" if name == "Bald" else "-1" for name in names]
    (tmp_path / "list.txt").write_text(f"1\n{' '.join(names)}\n000001.jpg {' '.join(values)}\n")
    labels = read_attributes(tmp_path / "list.txt")["000001"]
    assert [name for name, held in labels.items() if held] == ["Bald"]
    assert list(labels) == list(CELEBA_ATTRIBUTES)


def test_further_columns_are_labels_of_ones_own(tmp_path: Path) -> None:
    values = " ".join(["-1"] * 40)
    path = tmp_path / "list.txt"
    path.write_text(f"1\n{' '.join(CELEBA_ATTRIBUTES)} Dimples\n000001.jpg {values} 1\n")
    labels = read_attributes(path)["000001"]
    assert list(labels) == [*CELEBA_ATTRIBUTES, "Dimples"]
    assert [name for name, held in labels.items() if held] == ["Dimples"]
    path.write_text(f"1\n{' '.join(CELEBA_ATTRIBUTES)} ../up\n000001.jpg {values} 1\n")
    with pytest.raises(ShardError, match=r"list.txt: label '../up': it must be letters"):
        read_attributes(path)


def test_captions_say_what_the_labels_say() -> None:
    assert caption_of(dict.fromkeys(CELEBA_ATTRIBUTES, False)) == "a photo of an old woman"


def test_masks_of_unequal_size_are_named(tmp_path: Path) -> None:
    part(tmp_path, 1, "skin", (0, 0, 4, 4))
    Image.new("L", (8, 8), 255).save(tmp_path / "0" / "00001_nose.png")
    with pytest.raises(ValueError, match=r"00001_nose\.png"):
        read_mask(tmp_path, "1", 32)


def test_too_little_disk_is_said_before_anything_is_written(published: Path, tmp_path: Path) -> None:
    settings = CelebaHq(Layout.find(published), size=10**9, landmarks=published.parent / "landmarks.txt")
    with pytest.raises(ValueError, match=r"shards of 7 pictures may take up to [\d,]+ MB, [\d,]+ MB are"):
        write_celeba_hq(tmp_path / "out", settings, settings.pictures(), workers=1)
    assert not (tmp_path / "out").exists()


def test_a_killed_process_is_said(published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> writing.Future:
        future: writing.Future = writing.Future()
        future.set_exception(writing.BrokenProcessPool("terminated abruptly"))
        return future

    settings = CelebaHq(Layout.find(published), size=32, landmarks=published.parent / "landmarks.txt")
    monkeypatch.setattr(writing, "_here", broken)
    with pytest.raises(ShardError, match="a converting process was killed"):
        write_celeba_hq(published.parent / "out", settings, settings.pictures(), workers=1)


def save(backbone: Any, folder: Path) -> Path:
    for part_name in ("vae", "unet", "text_encoder", "tokenizer", "scheduler"):
        getattr(backbone, part_name).save_pretrained(folder / part_name)
    return folder


# Lightning's advice on logging intervals and data loader workers, which tiny runs do not heed.
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_one_command_prepares_the_published_folder_and_goes_on_where_it_stood(
    published: Path,
    folder_backbone: Any,
    blip2_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = published.parent
    monkeypatch.chdir(root)
    base = save(folder_backbone, root / "base")
    command = [
        *("prepare", str(published), "--output", "shards", "--landmarks", "landmarks.txt"),
        *("--backbone", str(base), "--captioner", f"blip2:{blip2_folder}", "--count", "null"),
        *("--size", "32", "--samples-per-shard", "3", "--batch-size", "3", "--workers", "0"),
        *("--steps", "4", "--levels", "2", "--accelerator", "cpu", "--devices", "1"),
    ]
    # Stopped after the pictures: there is no such captioner yet.
    assert main([*command[:-1], "1", "--captioner", "blip2:nowhere"]) == 1
    assert ShardIndex.read(root / "shards").samples == 7
    first = (root / "shards" / "index.json").stat().st_mtime_ns
    assert main(command) == 0
    said = capsys.readouterr()
    made = ShardIndex.read(root / "shards").made
    assert {"captioned", "inverted"} <= set(made)
    assert (root / "shards" / "index.json").stat().st_mtime_ns > first
    assert "7 samples in 3 shards are as index.json says" in said.out
    assert "next: lightning fit -c base.yaml -c identity.yaml --data.init_args.shards shards" in said.err
    data = ShardsDataModule(root / "shards", batch_size=7, val_fraction=0.999, with_latents=True)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    assert batch["latent"].shape[0] == batch["inverted"].shape[0] == 7

    shards = {path.name: path.stat().st_mtime_ns for path in (root / "shards").glob("*.tar")}
    assert main(command) == 0, "all is there"
    said = capsys.readouterr()
    assert "the captions are there" in said.err
    assert "the inverted latents are there" in said.err
    assert {path.name: path.stat().st_mtime_ns for path in (root / "shards").glob("*.tar")} == shards
    assert main([*command, "--seed", "3"]) == 1
    assert "was made with" in capsys.readouterr().err


def test_prepare_lists_all_missing_weights_at_once(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(published.parent)
    monkeypatch.setenv("KEYFACE_WEIGHTS", str(published.parent / "none"))
    assert main(["prepare", str(published), "--output", "shards"]) == 1
    (line,) = [each for each in capsys.readouterr().err.splitlines() if each.startswith("keyface: error:")]
    for name in ("stable-diffusion-2-1-base", "blip2", "face-api", "arcface", "clip-vit-b-16"):
        assert name in line
    assert not (published.parent / "shards").exists()


def test_precision_is_bf16_on_a_gpu_alone() -> None:
    assert precision_on("cpu", "auto") == "float32"
    assert precision_on("gpu", "auto") == "bfloat16"
    assert precision_on("auto", "auto") == ("bfloat16" if torch.cuda.is_available() else "float32")
    assert precision_on("gpu", "float32") == "float32"
    with pytest.raises(ValueError, match="precision 'bf16': there are auto, float32, bfloat16, float16"):
        precision_on("cpu", "bf16")
