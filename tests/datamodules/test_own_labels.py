"""Labels beside CelebA's: declared in the index, named by categories, refused where nobody knows them."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from keyface.commands.data import shards
from keyface.datamodules.annotation import AnnotationDataModule
from keyface.datamodules.shard_files.index import ShardError, ShardIndex
from keyface.datamodules.shard_files.verify import faults_of
from keyface.datamodules.shard_files.writer import write_shard
from keyface.datamodules.shards import ShardsDataModule
from keyface.plugins import Category, edits
from keyface.plugins.labels import lacking_labels

DIMPLES = Category(
    "dimples", targets=("dimples",), source="smooth cheeks", attribute="Dimples", own_labels=("Dimples",)
)


@pytest.fixture
def dimples() -> Iterator[Category]:
    """A category of code, known to the program for one test."""
    with edits.with_file(None):
        edits._categories = dict(edits._categories)
        yield edits.add(DIMPLES)


@pytest.fixture
def folder(make_sample, tmp_path: Path) -> Path:
    """Eight faces, every third with dimples, as another tool leaves them: without an index."""

    def with_label(number: int):
        sample = make_sample(number)
        labels = {**sample.record.attributes, "Dimples": number % 3 == 0}
        return dataclasses.replace(sample, record=dataclasses.replace(sample.record, attributes=labels))

    for shard in (0, 1):
        write_shard(tmp_path, f"mine-{shard}.tar", map(with_label, range(4 * shard, 4 * shard + 4)), "png")
    return tmp_path


def ready(folder: Path, **options) -> ShardsDataModule:
    data = ShardsDataModule(folder, batch_size=1, val_fraction=0.0, **options)
    data.setup("fit")
    return data


def test_a_category_trains_on_an_own_label(
    folder: Path, dimples: Category, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.index(folder)
    assert "own labels: Dimples" in capsys.readouterr().out
    assert json.loads((folder / "index.json").read_text())["attributes"] == ["Dimples"]
    data = ready(folder, categories=["dimples"])
    seen = {int(key) for batch in data.train_dataloader() for key in batch["key"]}
    assert seen == {1, 2, 4, 5, 7}, "those without dimples"
    assert "Dimples" in data.labels()
    shards.verify(folder)


def test_without_an_index_all_labels_are_taken(folder: Path, dimples: Category) -> None:
    assert len(ready(folder, categories=["dimples"]).train_dataloader()) == 5


def test_an_undeclared_label_is_refused_with_the_nearest(folder: Path) -> None:
    shards.index(folder)
    index = ShardIndex.read(folder)
    dataclasses.replace(index, attributes=("Dimple",)).write(folder)
    with pytest.raises(
        ShardError,
        match=r"mine-0.tar, sample '00000': unknown attribute 'Dimples' \(did you mean 'Dimple'\?\)",
    ):
        ready(folder)
    faults = faults_of(folder, ShardIndex.read(folder))
    assert len(faults) == 8
    assert "unknown attribute 'Dimples'" in faults[0]


def test_a_category_whose_label_no_sample_has_is_refused(make_shards, dimples: Category) -> None:
    folder = make_shards(4)
    with pytest.raises(ShardError, match=r"edit 'dimples' asks for the label 'Dimples'"):
        ready(folder, categories=["dimples"])
    edits._categories["dimples"] = dataclasses.replace(
        DIMPLES, attribute="Smilling", own_labels=("Smilling",), needs=("Male",)
    )
    with pytest.raises(ShardError, match=r"asks for the label 'Smilling' \(did you mean 'Smiling'\?\)"):
        ready(folder, categories=["dimples"])


def test_what_a_category_can_do_without() -> None:
    celeba = {"Male", "Smiling"}
    assert lacking_labels(DIMPLES, celeba) == "'Dimples'"
    assert lacking_labels(DIMPLES, {*celeba, "Dimples"}) == ""
    judged = dataclasses.replace(DIMPLES, judge=lambda images: images.mean(dim=(1, 2, 3)))
    assert lacking_labels(judged, celeba) == "", "its judge tells the label"
    hidden = dataclasses.replace(judged, hidden_by=("Sunglasses",))
    assert lacking_labels(hidden, celeba) == "", "CelebA does not label them, and nobody wears them there"
    own = dataclasses.replace(judged, own_labels=("Dimples", "Mask"), hidden_by=("Mask",))
    assert lacking_labels(own, celeba) == "'Mask'"
    assert lacking_labels(dataclasses.replace(judged, needs=("Male", "Young")), celeba) == "'Young'"


def test_annotations_keep_the_declaration(folder: Path) -> None:
    shards.index(folder)
    data = AnnotationDataModule(folder, "captions")
    data.setup()
    data.begin({"by": "hand"}, first=True, member_bytes=lambda side: 100)
    data.keep({"key": [found.key for found in data.samples], "caption": ["a face"] * 8})
    data.finish()
    index = ShardIndex.read(folder)
    assert index.attributes == ("Dimples",)
    assert all(shard.name.endswith("-v2.tar") for shard in index.shards)
    assert len(ready(folder).train_dataloader()) == 8


@pytest.mark.parametrize("names", [["Smiling"], ["two words"], [3], "Dimples"])
def test_a_wrong_declaration_is_named(folder: Path, names: object) -> None:
    shards.index(folder)
    content = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**content, "attributes": names}))
    with pytest.raises(ShardError, match=r"index.json: ('attributes' must be|attribute '.*': it must be)"):
        ready(folder)
