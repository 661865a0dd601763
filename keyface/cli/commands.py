"""The table of keyface's own subcommands, each one plain typed function.

Summaries stand here, so that `keyface --help` need not import the functions' modules.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A subcommand that is one plain function.

    Attributes:
        target: Where the function lives, "module:function".
        summary: Its line in `keyface --help`.
        config: Whether its options can be given by YAML files, too (`-c/--config`).
    """

    target: str
    summary: str
    config: bool = False

    def resolve(self) -> Callable[..., object]:
        """Import the module and return the function."""
        module, _, name = self.target.partition(":")
        function: Callable[..., object] = getattr(importlib.import_module(module), name)
        return function


@dataclass(frozen=True)
class Group:
    """A subcommand that has subcommands.

    Attributes:
        summary: Its line in `keyface --help`.
        commands: The subcommands.
        default: What it does where none of them is named; None if one must be.
    """

    summary: str
    commands: Mapping[str, Command]
    default: Command | None = None

    def named(self, words: Sequence[str]) -> "Command | Group":
        """Return what the words after its own name ask for: the default, or the group itself."""
        if self.default is None or (words and words[0] in self.commands):
            return self
        return self.default


TRAINING: Mapping[str, str] = {
    "fit": "Train a model: keyface fit -c base.yaml -c identity.yaml",
    "validate": "Run one validation epoch.",
    "test": "Run one test epoch.",
    "predict": "Run a trained model on new data.",
}
"""The subcommands of Lightning's own command line, see `keyface.cli.training`."""

COMMANDS: Mapping[str, Command | Group] = {
    "edit": Command(
        "keyface.commands.edit:edit", "Edit a face in a video by categories or by a prompt.", config=True
    ),
    "verify": Command(
        "keyface.commands.verify:verify", "Say whether keyface wrote a file, and whether it is unchanged."
    ),
    "batch": Group(
        "Edit many clips; `batch status`, `retry` and `cancel` look after them.",
        {
            "status": Command("keyface.commands.batch:status", "Say how far a batch is."),
            "retry": Command("keyface.commands.batch:retry", "Let clips that were set aside wait again."),
            "cancel": Command("keyface.commands.batch:cancel", "Cancel the clips that are not done."),
        },
        default=Command(
            "keyface.commands.batch:batch",
            "Edit many clips, on as many devices and machines as there are; see also `batch status -h`.",
            config=True,
        ),
    ),
    "studio": Command(
        "keyface.commands.studio:studio", "Edit on a page in the browser; other programs can call it, too."
    ),
    "faces": Command("keyface.commands.faces:faces", "Find the people in a video: who is who, and when."),
    "demo": Command("keyface.commands.demo:demo", "Train both branches briefly and edit a clip, end to end."),
    "benchmark": Group(
        "Measure the ways to edit; `benchmark train`, `benchmark data` and others measure the rest.",
        {
            "train": Command(
                "keyface.commands.benchmark_training:train", "Measure a training step and its parts."
            ),
            "data": Command(
                "keyface.commands.benchmark_data:data", "Measure how fast training data are read."
            ),
            "gpu": Command(
                "keyface.commands.benchmark_gpu:gpu",
                "Measure on a GPU, within minutes, all that it can tell.",
            ),
            "limit": Command(
                "keyface.commands.benchmark_limit:limit", "Say how fast the arithmetic lets an edit be."
            ),
            "watermark": Command(
                "keyface.commands.benchmark_watermark:watermark",
                "Measure whether the watermark is found in what became of marked clips.",
            ),
            "footage": Command(
                "keyface.commands.benchmark_footage:footage", "Measure how faces are found and followed."
            ),
        },
        default=Command(
            "keyface.commands.benchmark:benchmark",
            "Measure the ways to edit; see also `benchmark train -h`.",
            config=True,
        ),
    ),
    "ablate": Command("keyface.commands.ablate:ablate", "Measure what each part of the method contributes."),
    "evaluate": Command(
        "keyface.commands.evaluate:evaluate", "Score edited videos and write a report.", config=True
    ),
    "study": Group(
        "Let people rate edits blind, and see what they say.",
        {
            "new": Command("keyface.commands.study:new", "Make a study of edited videos."),
            "serve": Command("keyface.commands.study:serve", "Serve a study's page and keep the answers."),
            "report": Command("keyface.commands.study:report", "Say what raters answered."),
        },
    ),
    "dashboard": Command(
        "keyface.commands.dashboard:dashboard", "Show training runs: one HTML file, or a report in W&B."
    ),
    "shards": Group(
        "Write and check training data.",
        {
            "render": Command("keyface.commands.shards:render", "Render the miniature world into shards."),
            "celeba-hq": Command("keyface.commands.shards:celeba_hq", "Write CelebA-HQ as shards."),
            "invert": Command("keyface.commands.shards:invert", "Add inverted latents to shards."),
            "verify": Command("keyface.commands.shards:verify", "Check shards against their index."),
            "index": Command("keyface.commands.shards:index", "Write the index of shards made elsewhere."),
        },
    ),
    "prepare": Command(
        "keyface.commands.prepare:prepare", "Make training data of CelebAMask-HQ, all steps at once."
    ),
    "caption": Command("keyface.commands.caption:caption", "Describe the images of shards."),
    "miniature": Group(
        "Look at the rendered world, train and measure its networks.",
        {
            "clip": Command("keyface.commands.miniature:clip", "Render a clip of one face to an mp4."),
            "sheet": Command("keyface.commands.miniature:sheet", "Render a contact sheet of faces."),
            "measure": Command("keyface.commands.measure:measure", "Measure the miniature's networks."),
            "train": Command(
                "keyface.commands.miniature:train", "Train the miniature's networks in a given time."
            ),
        },
    ),
    "export": Command("keyface.commands.export:export", "Write a fine-tuned branch for diffusers."),
    "weights": Group(
        "Fetch and check external weights: Stable Diffusion, ArcFace, CLIP, ...",
        {
            "list": Command("keyface.commands.weights:list_weights", "List the weights and which are here."),
            "get": Command("keyface.commands.weights:get", "Fetch weights and check them."),
            "verify": Command("keyface.commands.weights:verify", "Hash the weights that are here."),
            "licences": Command("keyface.commands.weights:licences", "Show the terms of the weights."),
        },
    ),
    "doctor": Command("keyface.commands.doctor:doctor", "Say what works here and what is missing."),
    "completion": Command("keyface.cli.completion:completion", "Print a script for completion in a shell."),
    "plugins": Group(
        "See which edit categories are installed, and write your own.",
        {
            "new": Command(
                "keyface.commands.plugins_author:new", "Write a package with a category of your own."
            ),
            "try": Command(
                "keyface.commands.plugins_author:try_category",
                "Edit a few faces with a category, and tune it.",
            ),
            "list": Command("keyface.commands.plugins:list_categories", "List the edit categories."),
            "show": Command("keyface.commands.plugins:show", "Show everything about one category."),
            "check": Command("keyface.commands.plugins:check", "Load every plugin and report what is wrong."),
        },
    ),
}


def all_commands() -> Iterator[tuple[tuple[str, ...], Command]]:
    """Yield every command with the words that call it."""
    for name, entry in COMMANDS.items():
        if isinstance(entry, Command):
            yield (name,), entry
            continue
        if entry.default is not None:
            yield (name,), entry.default
        for inner, command in entry.commands.items():
            yield (name, inner), command
