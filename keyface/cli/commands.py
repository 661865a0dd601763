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
"""The subcommands of Lightning's own command line, see `keyface.cli.training.subcommands`."""

COMMANDS: Mapping[str, Command | Group] = {
    "edit": Command(
        "keyface.commands.editing.edit:edit",
        "Edit a face in a video by categories or by a prompt.",
        config=True,
    ),
    "verify": Command(
        "keyface.commands.editing.verify:verify",
        "Say whether keyface wrote a file, and whether it is unchanged.",
    ),
    "batch": Group(
        "Edit many clips; `batch status`, `retry` and `cancel` look after them.",
        {
            "status": Command("keyface.commands.editing.batch:status", "Say how far a batch is."),
            "retry": Command(
                "keyface.commands.editing.batch:retry", "Let clips that were set aside wait again."
            ),
            "cancel": Command("keyface.commands.editing.batch:cancel", "Cancel the clips that are not done."),
        },
        default=Command(
            "keyface.commands.editing.batch:batch",
            "Edit many clips, on as many devices and machines as there are; see also `batch status -h`.",
            config=True,
        ),
    ),
    "studio": Command(
        "keyface.commands.editing.studio:studio",
        "Edit on a page in the browser; other programs can call it, too.",
    ),
    "faces": Command(
        "keyface.commands.editing.faces:faces", "Find the people in a video: who is who, and when."
    ),
    "demo": Command(
        "keyface.commands.miniature.demo:demo", "Train both branches briefly and edit a clip, end to end."
    ),
    "benchmark": Group(
        "Measure the ways to edit; `benchmark train`, `benchmark data` and others measure the rest.",
        {
            "train": Command(
                "keyface.commands.benchmark.training:train", "Measure a training step and its parts."
            ),
            "data": Command(
                "keyface.commands.benchmark.data:data", "Measure how fast training data are read."
            ),
            "gpu": Command(
                "keyface.commands.benchmark.gpu:gpu",
                "Measure on a GPU, within minutes, all that it can tell.",
            ),
            "limit": Command(
                "keyface.commands.benchmark.limit:limit", "Say how fast the arithmetic lets an edit be."
            ),
            "watermark": Command(
                "keyface.commands.benchmark.watermark:watermark",
                "Measure whether the watermark is found in what became of marked clips.",
            ),
            "drift": Command(
                "keyface.commands.benchmark.drift:drift",
                "Compare the last frames of a long edited clip with its first.",
            ),
            "seams": Command(
                "keyface.commands.benchmark.seams:seams",
                "Look for the seams of a clip that several devices edited.",
            ),
            "footage": Command(
                "keyface.commands.benchmark.footage:footage", "Measure how faces are found and followed."
            ),
        },
        default=Command(
            "keyface.commands.benchmark.edits:benchmark",
            "Measure the ways to edit; see also `benchmark train -h`.",
            config=True,
        ),
    ),
    "ablate": Command(
        "keyface.commands.evaluation.ablate:ablate", "Measure what each part of the method contributes."
    ),
    "evaluate": Command(
        "keyface.commands.evaluation.evaluate:evaluate",
        "Score edited videos and write a report.",
        config=True,
    ),
    "study": Group(
        "Let people rate edits blind, and see what they say.",
        {
            "new": Command("keyface.commands.evaluation.study:new", "Make a study of edited videos."),
            "serve": Command(
                "keyface.commands.evaluation.study:serve", "Serve a study's page and keep the answers."
            ),
            "report": Command("keyface.commands.evaluation.study:report", "Say what raters answered."),
        },
    ),
    "dashboard": Command(
        "keyface.commands.training.dashboard:dashboard",
        "Show training runs: one HTML file, or a report in W&B.",
    ),
    "shards": Group(
        "Write and check training data.",
        {
            "render": Command(
                "keyface.commands.data.shards:render", "Render the miniature world into shards."
            ),
            "celeba-hq": Command("keyface.commands.data.shards:celeba_hq", "Write CelebA-HQ as shards."),
            "invert": Command("keyface.commands.data.shards:invert", "Add inverted latents to shards."),
            "verify": Command("keyface.commands.data.shards:verify", "Check shards against their index."),
            "index": Command(
                "keyface.commands.data.shards:index", "Write the index of shards made elsewhere."
            ),
        },
    ),
    "prepare": Command(
        "keyface.commands.data.prepare:prepare", "Make training data of CelebAMask-HQ, all steps at once."
    ),
    "caption": Command("keyface.commands.data.caption:caption", "Describe the images of shards."),
    "miniature": Group(
        "Look at the rendered world, train and measure its networks.",
        {
            "clip": Command("keyface.commands.miniature.render:clip", "Render a clip of one face to an mp4."),
            "sheet": Command("keyface.commands.miniature.render:sheet", "Render a contact sheet of faces."),
            "measure": Command(
                "keyface.commands.miniature.measure:measure", "Measure the miniature's networks."
            ),
            "train": Command(
                "keyface.commands.miniature.train:train", "Train the miniature's networks in a given time."
            ),
        },
    ),
    "export": Command("keyface.commands.training.export:export", "Write a fine-tuned branch for diffusers."),
    "weights": Group(
        "Fetch and check external weights: Stable Diffusion, ArcFace, CLIP, ...",
        {
            "list": Command(
                "keyface.commands.setup.weights:list_weights", "List the weights and which are here."
            ),
            "get": Command("keyface.commands.setup.weights:get", "Fetch weights and check them."),
            "verify": Command("keyface.commands.setup.weights:verify", "Hash the weights that are here."),
            "licences": Command("keyface.commands.setup.weights:licences", "Show the terms of the weights."),
        },
    ),
    "doctor": Command("keyface.commands.setup.doctor:doctor", "Say what works here and what is missing."),
    "completion": Command("keyface.cli.completion:completion", "Print a script for completion in a shell."),
    "plugins": Group(
        "See which edit categories are installed, and write your own.",
        {
            "new": Command(
                "keyface.commands.plugins.authoring:new", "Write a package with a category of your own."
            ),
            "try": Command(
                "keyface.commands.plugins.authoring:try_category",
                "Edit a few faces with a category, and tune it.",
            ),
            "list": Command("keyface.commands.plugins.listing:list_categories", "List the edit categories."),
            "show": Command("keyface.commands.plugins.listing:show", "Show everything about one category."),
            "check": Command(
                "keyface.commands.plugins.listing:check", "Load every plugin and report what is wrong."
            ),
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
