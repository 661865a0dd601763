"""What is fuzzed: the kinds of input, valid seeds of each made by our own writers, and how each is read."""

import json
import struct
import tarfile
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from hypothesis.strategies import SearchStrategy
from mutations import HOSTILE_YAML, bytes_of, either, safetensors_of, text_of

SHARD = "shard-000000.tar"
KEYS = ("00000", "00001")


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        name: Of the kind, and of its folder in the corpus.
        suffix: Of an input's file.
        seeds: Makes valid inputs.
        inputs: The strategy that spoils them.
        read: Lays an input into an empty folder and reads it as the product does.
        refusals: Errors that are a refusal, if their message names the file.
        named: Whether the message names the file; records are named by who reads their shard.
    """

    name: str
    suffix: str
    seeds: Callable[[], Sequence[bytes]]
    inputs: Callable[[Sequence[bytes]], SearchStrategy[bytes]]
    read: Callable[[Path, bytes], None]
    refusals: tuple[type[BaseException], ...] = (ValueError, OSError)
    named: bool = True


# Videos -------------------------------------------------------------------------------------------------


def videos(suffix: str) -> Callable[[], list[bytes]]:
    """Make two videos: pictures alone, and pictures with sound and tags; eight frames of 32 x 24."""

    @cache
    def make() -> list[bytes]:
        from tempfile import TemporaryDirectory

        from rich_videos import Rich, Sound, make_rich

        from keyface.video import VideoReader, VideoWriter

        with TemporaryDirectory() as name:
            folder = Path(name)
            rich = Rich(frames=8, size=(24, 32), sounds=[Sound(rate=16000)], tags={"title": "a face"})
            source = make_rich(folder / "source.mkv", rich)
            made = []
            for like in (VideoReader(source), None):
                path = folder / f"seed{suffix}"
                with VideoWriter(path, like=like, fps=25) as writer:
                    for chunk in VideoReader(source).chunks(8):
                        writer.write(chunk)
                made.append(path.read_bytes())
            return made

    return make


def read_video(suffix: str) -> Callable[[Path, bytes], None]:
    """Decode every frame as `edit` does, and write all that the file holds to another one."""

    def read(folder: Path, data: bytes) -> None:
        from keyface.video import VideoReader, VideoWriter

        path, output = folder / f"input{suffix}", folder / "output.mkv"
        path.write_bytes(data)
        strict = VideoReader(path)
        try:
            frames = sum(len(chunk) for chunk in strict.chunks(4))
        except ValueError as error:
            if "--on-corrupt hold" not in str(error):
                raise
        else:
            assert frames == len(strict), "as many frames as time stamps"
        reader = VideoReader(path, on_corrupt="hold")
        try:
            with VideoWriter(output, like=reader) as writer:
                for chunk in reader.chunks(4):
                    assert chunk.isfinite().all()
                    writer.write(chunk)
        except (ValueError, OSError):
            assert not output.exists(), "a partial output"
            raise
        assert len(VideoReader(output)) == len(reader)
        output.unlink()

    return read


# Shards -------------------------------------------------------------------------------------------------


@cache
def members() -> list[tuple[str, dict[str, bytes]]]:
    """Encode two samples with mask and latents."""
    import numpy as np

    from keyface.celeba import ATTRIBUTES
    from keyface.datamodules.shard_files.schema import Latents, Record, Sample, encode

    landmarks = np.array([[5, 6], [10, 6], [7.5, 9], [5.5, 12], [9.5, 12]], np.float32)
    latents = Latents(torch.ones(4, 2, 2), torch.ones(2, 4, 2, 2), torch.tensor([100, 200]))
    image = (np.arange(16 * 16 * 3) % 251).astype(np.uint8).reshape(16, 16, 3)
    mask = (np.arange(16 * 16) % 19).astype(np.uint8).reshape(16, 16)
    record = Record(3, "a photo of a face", {name: name == "Eyeglasses" for name in ATTRIBUTES}, landmarks)
    return [(key, encode(Sample(key, image, record, mask, latents))) for key in KEYS]


def tar_of(samples: Sequence[tuple[str, dict[str, bytes]]]) -> bytes:
    """Return a shard."""
    file = BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for key, parts in samples:
            for extension, data in parts.items():
                info = tarfile.TarInfo(f"{key}.{extension}")
                info.size = len(data)
                archive.addfile(info, BytesIO(data))
    return file.getvalue()


@cache
def tars() -> list[bytes]:
    """Make one shard by the product's writer."""
    from tempfile import TemporaryDirectory

    from keyface.datamodules.shard_files.writer import write_members

    with TemporaryDirectory() as folder:
        write_members(Path(folder), SHARD, members())
        return [Path(folder, SHARD).read_bytes()]


def read_shard(folder: Path, data: bytes) -> None:
    """Verify a folder with one shard, which its index describes truly, and load what a training would."""
    from keyface.datamodules.shard_files.index import ShardEntry, ShardIndex
    from keyface.datamodules.shard_files.reader import Faults, find_samples, load_sample
    from keyface.datamodules.shard_files.schema import SampleError
    from keyface.datamodules.shard_files.verify import faults_of

    (folder / SHARD).write_bytes(data)
    index = ShardIndex((ShardEntry(SHARD, len(KEYS), len(data), sha256(data).hexdigest()),))
    lines = faults_of(folder, index)
    assert all(str(folder / SHARD) in line for line in lines)
    faults = Faults(limit=1000)
    for found in find_samples(folder, index.shards[0], faults):
        try:
            sample = load_sample(found, with_mask=True, with_latents=True)
        except SampleError:
            continue
        assert sample.latents is not None
        assert torch.isfinite(torch.from_numpy(sample.record.landmarks)).all()


def read_member(extension: str) -> Callable[[Path, bytes], None]:
    """Read a shard in which one member of the first sample is the input; nothing is raised, all is counted."""

    def read(folder: Path, data: bytes) -> None:
        (key, parts), *others = members()
        read_shard(folder, tar_of([(key, {**parts, extension: data}), *others]))

    return read


@cache
def indices() -> list[bytes]:
    """Return the index of two shards."""
    from keyface.datamodules.shard_files.index import ShardEntry, ShardIndex

    entry = ShardEntry(SHARD, 2, 1024, "0" * 64)
    index = ShardIndex((entry, replace(entry, name="shard-000001.tar")), {"size": 16}, ("Freckles",))
    return [index.json().encode()]


def read_index(folder: Path, data: bytes) -> None:
    """Read an index, which names no file outside its folder."""
    from keyface.datamodules.shard_files.index import ShardIndex

    (folder / "index.json").write_bytes(data)
    index = ShardIndex.read(folder)
    assert all(Path(shard.name).name == shard.name for shard in index.shards)
    assert index.samples >= 0
    index.json()


# YAML ---------------------------------------------------------------------------------------------------

CATEGORIES = [
    {
        "dimples": {
            "targets": ["dimples", "dimpled cheeks"],
            "source": "smooth cheeks",
            "attribute": "Rosy_Cheeks",
            "present": True,
            "regions": ["skin", "nose"],
            "conflicts": ["old"],
            "strength": 0.8,
            "guidance": 1.5,
        }
    }
]
PROTOCOLS = [
    {"protocol": "miniature", "edits": "beard,glasses", "edited": 4, "gallery": 2, "frames": 3, "seed": 1}
]
EDIT_CONFIGS = [
    {
        "edits": ["glasses"],
        "settings": {"steps": 20, "interval": 4, "injection": {"until": 0.5}},
        "output": "a.mp4",
    }
]
FIT_CONFIGS = [
    {
        "model": {
            "class_path": "keyface.lightning_modules.identity.IdentityModule",
            "init_args": {
                "backbone": "miniature",
                "identity_network": "miniature",
                "tuning": {"ema_decay": 0.9},
            },
        },
        "data": {
            "class_path": "keyface.datamodules.shards.ShardsDataModule",
            "init_args": {"shards": "shards", "batch_size": 2},
        },
        "trainer": {"max_steps": 2, "accelerator": "cpu"},
    }
]


def json_seeds(values: Sequence[Any]) -> Callable[[], list[bytes]]:
    """Return valid values as text."""
    return lambda: [json.dumps(value).encode() for value in values]


def values_in(tokens: Sequence[str] | None = None) -> Callable[[Sequence[bytes]], SearchStrategy[bytes]]:
    """Spoil values, or now and then bytes, of seeds that are JSON."""

    def inputs(seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        values = [json.loads(seed) for seed in seeds]
        text = text_of(values) if tokens is None else text_of(values, tokens)
        return either(text, text, text, bytes_of(seeds))

    return inputs


def read_categories(folder: Path, data: bytes) -> None:
    """Read edit categories."""
    from keyface.plugins.registry import read_yaml

    path = folder / "input.yaml"
    path.write_bytes(data)
    assert read_yaml(path)


def read_protocol(folder: Path, data: bytes) -> None:
    """Read the options of a clip set that would be rendered."""
    from keyface.configuration import merged
    from keyface.evaluation.clip_sets.protocols import read_protocol as read
    from keyface.evaluation.clip_sets.rendered import RenderedProtocol

    path = folder / "input.yaml"
    path.write_bytes(data)
    _, options = read(str(path))
    merged(RenderedProtocol(), options, f"--protocol {path}")


def read_edit_config(folder: Path, data: bytes) -> None:
    """Parse the words of an edit with a config."""
    from keyface.cli.parser import build_parser

    path = folder / "input.yaml"
    path.write_bytes(data)
    words = ["edit", "-c", str(path), "clip.mp4"]
    build_parser(words).parse_args(words)


def read_fit_config(folder: Path, data: bytes) -> None:
    """Parse a training's config; its classes are imported, and none is made."""
    from keyface.cli.environment import restrict_imports
    from keyface.cli.training import run_training

    restrict_imports()
    path = folder / "input.yaml"
    path.write_bytes(data)
    try:
        run_training(["fit", "-c", str(path), "--print_config"])
    except SystemExit as end:
        assert end.code in (None, 0)


# Networks -----------------------------------------------------------------------------------------------


@cache
def network() -> dict[str, bytes]:
    """Make the files of a tiny text-to-image model in diffusers' layout."""
    from tempfile import TemporaryDirectory

    from diffusers import DDIMScheduler
    from tiny_diffusion import SCHEDULES, build_unet, make_text_encoder, make_tokenizer, make_vae

    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "words").mkdir()
        tokenizer = make_tokenizer(folder / "words")
        make_vae().save_pretrained(folder / "net" / "vae")
        build_unet().save_pretrained(folder / "net" / "unet")
        make_text_encoder(len(tokenizer)).save_pretrained(folder / "net" / "text_encoder")
        tokenizer.save_pretrained(folder / "net" / "tokenizer")
        DDIMScheduler(**SCHEDULES["epsilon"]).save_pretrained(folder / "net" / "scheduler")
        files = (path for path in (folder / "net").rglob("*") if path.is_file())
        return {str(path.relative_to(folder / "net")): path.read_bytes() for path in files}


def network_file(name: str) -> Callable[[], list[bytes]]:
    """Return one file of the model."""
    return lambda: [network()[name]]


def read_network(name: str) -> Callable[[Path, bytes], None]:
    """Read the model with one file in place of its own, and let it encode and denoise."""

    def read(folder: Path, data: bytes) -> None:
        from keyface.models.backbones import find_backbone

        place = folder / "net"
        for other, content in {**network(), name: data}.items():
            (place / other).parent.mkdir(parents=True, exist_ok=True)
            (place / other).write_bytes(content)
        find_backbone(str(place))

    return read


def read_state_file(folder: Path, data: bytes) -> None:
    """Read weights of one of the small networks."""
    from keyface.weights.states import read_state

    path = folder / "input.safetensors"
    path.write_bytes(data)
    read_state(path)


@cache
def states() -> list[bytes]:
    """Return two tensors in a safetensors file."""
    from safetensors.torch import save

    return [
        save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.int64)}, {"format": "pt"})
    ]


# Other JSON ---------------------------------------------------------------------------------------------


@cache
def clip_sets() -> list[bytes]:
    """Return a protocol.json with one clip to edit and one of the gallery."""
    from tempfile import TemporaryDirectory

    from keyface.evaluation.clip_sets.clip_set import ClipSet
    from keyface.evaluation.clip_sets.spec import ClipSpec

    clip = ClipSpec(
        "a", "clips/a.mp4", "0" * 64, 0.5, 4, 25.0, 32, "glasses", "a man", "a man with glasses", "7"
    )
    other = replace(clip, key="b", category=None, target=None, box=(0.0, 0.0, 16.0, 16.0))
    with TemporaryDirectory() as folder:
        path = Path(folder, "protocol.json")
        ClipSet("test", 0, "a test", (clip,), (other,), Path(folder)).write(path)
        return [path.read_bytes()]


def read_clip_set(folder: Path, data: bytes) -> None:
    """Read a clip set that somebody else may have made."""
    from keyface.evaluation.clip_sets.clip_set import ClipSet

    path = folder / "input.json"
    path.write_bytes(data)
    clips = ClipSet.read(path, folder)
    for clip in clips.clips:
        assert clips.video_of(clip).resolve().is_relative_to(folder.resolve())
        clip.known_categories()


JOURNALS = [{"encoded": 4, "steps": 3, "inverted": 2, "reconstruction": [30.5, 31.0], "done": True}]


def read_journal(folder: Path, data: bytes) -> None:
    """Go on with a stopped edit whose journal is the input."""
    from keyface.resume.journal import Journal

    path = folder / "journal.json"
    path.write_bytes(data)
    journal = Journal(path)
    for name in JOURNALS[0]:
        journal.numbers(name) if name == "reconstruction" else journal.count(name)


_CONFIGS = (
    "unet/config.json",
    "vae/config.json",
    "text_encoder/config.json",
    "scheduler/scheduler_config.json",
)
KINDS = {
    kind.name: kind
    for kind in (
        *(
            Kind(f"video{suffix.replace('.', '-')}", suffix, videos(suffix), bytes_of, read_video(suffix))
            for suffix in (".mp4", ".mkv", ".webm")
        ),
        Kind("shard", ".tar", tars, bytes_of, read_shard),
        Kind(
            "record",
            ".json",
            lambda: [members()[0][1]["json"]],
            values_in(),
            read_member("json"),
            named=False,
        ),
        Kind(
            "latents",
            ".safetensors",
            lambda: [members()[0][1]["latents.safetensors"]],
            safetensors_of,
            read_member("latents.safetensors"),
        ),
        Kind("image", ".jpg", lambda: [members()[0][1]["jpg"]], bytes_of, read_member("jpg")),
        Kind("mask", ".png", lambda: [members()[0][1]["mask.png"]], bytes_of, read_member("mask.png")),
        Kind("index", ".json", indices, values_in(), read_index),
        Kind("categories", ".yaml", json_seeds(CATEGORIES), values_in(HOSTILE_YAML), read_categories),
        Kind("protocol", ".yaml", json_seeds(PROTOCOLS), values_in(HOSTILE_YAML), read_protocol),
        Kind(
            "edit-config",
            ".yaml",
            json_seeds(EDIT_CONFIGS),
            values_in(HOSTILE_YAML),
            read_edit_config,
            (ValueError, OSError, ArgumentError),
        ),
        Kind(
            "fit-config",
            ".yaml",
            json_seeds(FIT_CONFIGS),
            values_in(HOSTILE_YAML),
            read_fit_config,
            (ValueError, OSError, ArgumentError),
        ),
        Kind("weights", ".safetensors", states, safetensors_of, read_state_file),
        Kind(
            "unet-weights",
            ".safetensors",
            network_file("unet/diffusion_pytorch_model.safetensors"),
            safetensors_of,
            read_network("unet/diffusion_pytorch_model.safetensors"),
        ),
        *(
            Kind(
                f"{name.split('/')[0].replace('_', '-')}-config",
                ".json",
                network_file(name),
                values_in(),
                read_network(name),
            )
            for name in _CONFIGS
        ),
        Kind(
            "tokenizer",
            ".json",
            network_file("tokenizer/tokenizer.json"),
            values_in(),
            read_network("tokenizer/tokenizer.json"),
        ),
        Kind("clip-set", ".json", clip_sets, values_in(), read_clip_set),
        Kind("journal", ".json", json_seeds(JOURNALS), values_in(), read_journal),
    )
}
