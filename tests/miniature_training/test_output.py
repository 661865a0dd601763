"""The folder of weights: complete, in the package's layout, and consistent."""

import json
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from keyface.callbacks.initial import copy_matching
from keyface.miniature import zoo
from keyface.miniature_training import output
from keyface.miniature_training.overlay import shipped
from keyface.miniature_training.stages import BY_NAME, STAGES, Stage
from keyface.untrusted import read_yaml


def test_what_is_not_trained_comes_from_the_package(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    assert output.fill(weights, ["clip"]) == [
        "autoencoder", "base", "identity_network", "recognizer_vgg", "recognizer_convnext",
        "recognizer_inception", "attributes", "face_finder", "identity",
    ]  # fmt: skip
    assert not (weights / "direction").exists(), "it was trained against another CLIP pair"
    assert zoo.backbone(weights).image_size == zoo.backbone().image_size
    assert zoo.identity_network(weights) is not zoo.identity_network()
    assert output.fill(weights, ["clip"]) == [], "what is there stays"
    assert output.left_behind(weights, ["clip"]) == []
    assert output.left_behind(weights, ["base"]) == ["decoder", "identity"], "of another base"
    assert output.left_behind(weights, ["autoencoder", "base"]) == ["identity"], "the autoencoder is new"
    names = [stage.name for stage in STAGES]
    assert output.fill(tmp_path / "none", names) == []


def test_an_export_takes_its_place_among_the_weights(tmp_path: Path) -> None:
    weights, export = tmp_path / "weights", tmp_path / "export"
    output.fill(weights, ["clip", "direction"])
    vae = (weights / "base" / "vae" / "config.json").read_text()
    shutil.copytree(zoo.WEIGHTS / "base", export, ignore=shutil.ignore_patterns("vae", "edit.yaml"))
    card = {"configuration": {"autoencoder": f"{weights}/base/vae"}, "steps": 5}
    (export / "card.json").write_text(json.dumps(card))
    (export / "scheduler" / "new.json").write_text("{}")
    output.install(export, weights, BY_NAME["base"])
    assert (weights / "base" / "scheduler" / "new.json").is_file()
    assert (weights / "base" / "vae" / "config.json").read_text() == vae, "the autoencoder stays"
    assert (weights / "base" / "edit.yaml").read_text() == (zoo.WEIGHTS / "base" / "edit.yaml").read_text()
    found = json.loads((weights / "base" / "card.json").read_text())
    assert found == {"configuration": {"autoencoder": "base/vae"}, "steps": 5}, "no folder of this machine"
    assert sorted(path.name for path in weights.iterdir()) == sorted(
        path.name
        for path in zoo.WEIGHTS.glob("[!_]*")
        if path.is_dir() and path.name not in ("clip", "direction")
    )


def test_a_network_is_put_back_that_a_kill_left_out(tmp_path: Path) -> None:
    weights = output.weights_of(tmp_path)
    export = output.export_of(tmp_path, BY_NAME["clip"])
    shutil.copytree(zoo.WEIGHTS / "clip", export)
    output.restore(tmp_path, weights, "clip")
    assert (weights / "clip" / "model.safetensors").is_file()


def test_sizes_are_those_of_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").write_bytes(bytes(1_500_000))
    assert output.megabytes(tmp_path) == pytest.approx(1.5)


@pytest.mark.parametrize("stage", [each for each in STAGES if each.networks], ids=lambda each: each.name)
def test_training_can_begin_with_the_packaged_networks(stage: Stage) -> None:
    """The names are those of the module, and some of the tensors fit."""
    config = read_yaml(shipped(stage))["model"]
    module, _, name = config["class_path"].rpartition(".")
    arguments = dict(config.get("init_args", {}))
    if "autoencoder" in arguments:  # a stage before it makes one
        arguments["autoencoder"] = str(zoo.WEIGHTS / "base" / "vae")
    network = getattr(import_module(module), name)(**arguments)
    for part, folder in stage.networks.items():
        taken, of = copy_matching(network.get_submodule(part), zoo.WEIGHTS / folder)
        assert 0 < taken <= of
