"""What is fuzzed: the kinds of input, valid seeds of each made by our own writers, and how each is read."""

import json
from argparse import ArgumentError
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fuzz.credentials import read_signed, signed
from fuzz.mutations import HOSTILE_YAML, bytes_of, either, safetensors_of, text_of
from fuzz.networks import network_file, read_network, read_state_file, states
from fuzz.shards import indices, members, read_index, read_member, read_shard, tars
from fuzz.studies import STUDIES, answers, read_answers, read_study
from fuzz.texts import (
    CATEGORIES,
    EDIT_CONFIGS,
    FIT_CONFIGS,
    JOURNALS,
    PROTOCOLS,
    clip_sets,
    json_seeds,
    read_categories,
    read_clip_set,
    read_edit_config,
    read_fit_config,
    read_journal,
    read_protocol,
)
from fuzz.videos import read_video, videos
from hypothesis.strategies import SearchStrategy


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
        named: Whether the message names the file; of a training's configs, which are composed, none is.
    """

    name: str
    suffix: str
    seeds: Callable[[], Sequence[bytes]]
    inputs: Callable[[Sequence[bytes]], SearchStrategy[bytes]]
    read: Callable[[Path, bytes], None]
    refusals: tuple[type[BaseException], ...] = (ValueError, OSError)
    named: bool = True


def values_in(tokens: Sequence[str] | None = None) -> Callable[[Sequence[bytes]], SearchStrategy[bytes]]:
    """Spoil values, or now and then bytes, of seeds that are JSON."""

    def inputs(seeds: Sequence[bytes]) -> SearchStrategy[bytes]:
        values = [json.loads(seed) for seed in seeds]
        text = text_of(values) if tokens is None else text_of(values, tokens)
        return either(text, text, text, bytes_of(seeds))

    return inputs


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
        *(
            Kind(f"signed{suffix.replace('.', '-')}", suffix, signed(suffix), bytes_of, read_signed(suffix))
            for suffix in (".mp4", ".png", ".c2pa")
        ),
        Kind("shard", ".tar", tars, bytes_of, read_shard),
        Kind(
            "record",
            ".json",
            lambda: [members()[0][1]["json"]],
            values_in(),
            read_member("json"),
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
            named=False,
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
        Kind("study", ".yaml", json_seeds(STUDIES), values_in(HOSTILE_YAML), read_study),
        Kind("answers", ".jsonl", answers, values_in(), read_answers),
        Kind("journal", ".json", json_seeds(JOURNALS), values_in(), read_journal),
    )
}
