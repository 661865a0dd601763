"""Captions and latents come into shards through `lightning predict`, whole or not at all, and go on."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from keyface.callbacks.annotate import AnnotateShards
from keyface.datamodules.annotation import AnnotationDataModule
from keyface.datamodules.shard_files.index import ShardEntry, ShardError, ShardIndex
from keyface.datamodules.shard_files.reader import Faults, find_samples, load_sample
from keyface.datamodules.shard_files.schema import Sample, SampleError
from keyface.datamodules.shards import ShardsDataModule
from keyface.locking import alone_in

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
    # Advice on data loader workers, which tiny runs do not heed.
    pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning"),
]


class Describer(LightningModule):
    """Says a word and the sample's old caption; may die at a batch."""

    def __init__(self, word: str = "new", dies_at: int | None = None) -> None:
        super().__init__()
        self.word, self.dies_at = word, dies_at
        self.seen: list[str] = []

    def settings(self) -> dict[str, Any]:
        return {"word": self.word}

    def member_bytes(self, side: int) -> int:
        return 100

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        if batch_idx == self.dies_at:
            raise RuntimeError("killed")
        self.seen += batch["key"]
        return {"key": batch["key"], "caption": [f"{self.word} {text}" for text in batch["caption"]]}


class Encoder(LightningModule):
    """Latents that tell the sample: its key at each of two levels."""

    def __init__(self, broken: str | None = None, bytes_each: int = 1000) -> None:
        super().__init__()
        self.broken, self.bytes_each = broken, bytes_each

    def settings(self) -> dict[str, Any]:
        return {"levels": [1, 2]}

    def member_bytes(self, side: int) -> int:
        return self.bytes_each

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        numbers = torch.tensor([float(key) for key in batch["key"]])
        numbers[[key == self.broken for key in batch["key"]]] = torch.nan
        clean = numbers.view(-1, 1, 1, 1).expand(-1, 4, 2, 2)
        inverted = torch.stack([clean + 0.1, clean + 0.2], dim=1)
        return {
            "key": batch["key"],
            "latent": clean,
            "inverted": inverted,
            "timesteps": torch.tensor([100, 200]),
        }


def predict(folder: Path, model: LightningModule, what: str, **options: Any) -> LightningModule:
    data = AnnotationDataModule(folder, what, **{"batch_size": 2, **options})
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[AnnotateShards()],
    )
    trainer.predict(model, datamodule=data, return_predictions=False)
    return model


def samples(folder: Path, **wanted: bool) -> dict[str, Sample]:
    index = ShardIndex.read(folder)
    index.check_sizes(folder)
    index.check_hashes(folder)
    found = [each for shard in index.shards for each in find_samples(folder, shard, Faults())]
    return {each.key: load_sample(each, **wanted) for each in found}


@pytest.mark.parametrize("workers", [0, 2])
def test_captions_come_into_the_shards_and_all_else_stays(make_shards, make_sample, workers: int) -> None:
    folder = make_shards(3, 4)
    predict(folder, Describer(), "captions", workers=workers)
    for number, sample in enumerate(samples(folder, with_mask=True).values()):
        before = make_sample(number)
        assert sample.record.caption == f"new a photo of person {number}"
        assert (sample.image == before.image).all()
        assert (sample.mask == before.mask).all()
    index = ShardIndex.read(folder)
    assert [shard.name for shard in index.shards] == ["shard-000000-v2.tar", "shard-000001-v2.tar"]
    assert index.made == {"by": "a test", "captioned": {"word": "new"}}
    assert sorted(path.name for path in folder.iterdir()) == [
        "index.json",
        "shard-000000-v2.tar",
        "shard-000001-v2.tar",
    ]


def test_too_little_disk_is_said_before_anything_is_computed(make_shards) -> None:
    folder = make_shards(3, 4)
    with pytest.raises(ValueError, match=r"latents of 7 samples may take up to [\d,]+ MB, [\d,]+ MB are"):
        predict(folder, Encoder(bytes_each=10**15), "latents")
    assert not (folder / ".latents").exists()
    predict(folder, Encoder(), "latents")
    predict(folder, Encoder(bytes_each=10**15), "latents")  # nothing is left to do


def test_a_stopped_run_goes_on_sample_by_sample(make_shards) -> None:
    folder = make_shards(3, 4)
    before = (folder / "index.json").read_bytes()
    with pytest.raises(RuntimeError, match="killed"):
        predict(folder, Describer(dies_at=2), "captions")
    assert (folder / "index.json").read_bytes() == before, "shards are not touched before all is there"
    rest = predict(folder, Describer(), "captions")
    assert rest.seen == ["00004", "00005", "00006"]
    captions = [sample.record.caption for sample in samples(folder).values()]
    assert captions == [f"new a photo of person {number}" for number in range(7)]
    assert predict(folder, Describer(), "captions").seen == [], "nothing is left to do"


def test_a_stop_while_shards_are_written_is_made_good(make_shards, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_shards(3, 4)
    from keyface.datamodules.shard_files import annotation_store

    whole = annotation_store.write_members

    def killed_at_the_second(place: Path, name: str, members: Any) -> ShardEntry:
        if "000001" in name:
            raise RuntimeError("killed")
        return whole(place, name, members)

    monkeypatch.setattr(annotation_store, "write_members", killed_at_the_second)
    with pytest.raises(RuntimeError, match="killed"):
        predict(folder, Describer(), "captions")
    between = samples(folder)
    assert len(between) == 7
    assert between["00002"].record.caption.startswith("new")
    assert not between["00003"].record.caption.startswith("new")
    monkeypatch.undo()
    assert predict(folder, Describer(), "captions").seen == [], "the results were kept"
    assert all(sample.record.caption.startswith("new a photo") for sample in samples(folder).values())


@pytest.mark.parametrize("moment", range(5))
def test_a_stop_at_any_step_of_writing_ends_as_without_one(
    moment: int, make_shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two shards: the index is written three times, and two old shards go; each of these is the last step."""
    folder = make_shards(3, 4)
    shutil.copytree(folder, tmp_path / "whole")
    predict(tmp_path / "whole", Describer(), "captions")
    steps = iter(range(5))
    write, unlink = ShardIndex.write, Path.unlink

    def stops() -> None:
        if next(steps) == moment:
            raise RuntimeError("killed")

    def written(index: ShardIndex, place: Path) -> None:
        stops()
        write(index, place)

    def removed(path: Path, missing_ok: bool = False) -> None:
        if path.suffix == ".tar" and path.exists():
            stops()
        unlink(path, missing_ok)

    monkeypatch.setattr(ShardIndex, "write", written)
    monkeypatch.setattr(Path, "unlink", removed)
    with pytest.raises(RuntimeError, match="killed"):
        predict(folder, Describer(), "captions")
    monkeypatch.undo()
    predict(folder, Describer(), "captions")

    def content(place: Path) -> dict[str, bytes]:
        return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*")}

    assert content(folder) == content(tmp_path / "whole")


def test_two_at_once_are_refused_and_a_failed_one_blocks_nobody(make_shards) -> None:
    folder = make_shards(3, 4)
    with alone_in(folder / ".captions"), pytest.raises(ValueError, match="another process is at work in it"):
        predict(folder, Describer(), "captions")
    with pytest.raises(RuntimeError, match="killed") as failure:
        predict(folder, Describer(dies_at=1), "captions")
    predict(folder, Describer(), "captions")
    assert failure.value, "the error, and with it all that the failed one had open, was kept until here"


def test_other_settings_are_refused_unless_they_overwrite(make_shards) -> None:
    folder = make_shards(3)
    with pytest.raises(RuntimeError, match="killed"):
        predict(folder, Describer(dies_at=1), "captions")
    with pytest.raises(ShardError, match="an unfinished run had the settings"):
        predict(folder, Describer("other"), "captions")
    predict(folder, Describer(), "captions")
    with pytest.raises(ShardError, match="its captions were made with"):
        predict(folder, Describer("other"), "captions")
    assert len(predict(folder, Describer("other"), "captions", overwrite=True).seen) == 3
    assert samples(folder)["00001"].record.caption == "other new a photo of person 1"


def test_latents_are_those_that_training_reads(make_shards) -> None:
    folder = make_shards(3, 4)
    predict(folder, Encoder(), "latents")
    data = ShardsDataModule(folder, batch_size=4, val_fraction=0.0, with_latents=True)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    numbers = torch.tensor([float(key) for key in batch["key"]])
    assert batch["latent"][:, 0, 0, 0].equal(numbers)
    assert torch.allclose(batch["inverted"][:, 0, 0, 0], numbers + batch["timestep"] / 1000)


def test_new_captions_drop_the_latents_that_the_old_ones_made(make_shards) -> None:
    folder = make_shards(3)
    predict(folder, Encoder(), "latents")
    with pytest.raises(ShardError, match="its latents were inverted with the captions that are there"):
        predict(folder, Describer(), "captions")
    predict(folder, Describer(), "captions", overwrite=True)
    assert set(ShardIndex.read(folder).made) == {"by", "captioned"}
    with pytest.raises(SampleError, match="has no latents"):
        samples(folder, with_latents=True)
    predict(folder, Encoder(), "latents")
    assert samples(folder, with_latents=True)["00002"].latents is not None


def test_latents_that_are_not_finite_are_named_and_not_kept(make_shards) -> None:
    folder = make_shards(3)
    with pytest.raises(SampleError, match="sample '00002': its latents are not finite"):
        predict(folder, Encoder(broken="00002"), "latents")
    assert not (folder / ".latents" / "00002.latents.safetensors").exists()


def test_a_captioner_without_words_leaves_the_caption(make_shards) -> None:
    class Silent(Describer):
        def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
            return {"key": batch["key"], "caption": ["" for _ in batch["key"]]}

    folder = make_shards(2)
    with pytest.warns(UserWarning, match="no words for it"):
        predict(folder, Silent(), "captions")
    assert samples(folder)["00001"].record.caption == "a photo of person 1"


@pytest.mark.parametrize(
    ("options", "said"), [({"what": "masks"}, "captions, latents"), ({"batch_size": 0}, "at least 1")]
)
def test_options_are_checked(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ShardError, match=said):
        AnnotationDataModule(tmp_path, **{"what": "latents", **options})


def test_a_damaged_sample_is_named(make_shards, rewrite, members_of) -> None:
    folder = make_shards(2)
    members = members_of(folder / "shard-000000.tar")
    rewrite(folder, [(n, b"no png" if n == "00001.png" else data) for n, data in members])
    with pytest.raises(ShardError, match="sample '00001'"):
        predict(folder, Describer(), "captions")


def test_settings_lie_beside_what_they_made(make_shards) -> None:
    folder = make_shards(3)
    with pytest.raises(RuntimeError, match="killed"):
        predict(folder, Describer(dies_at=1), "captions")
    assert json.loads((folder / ".captions" / "settings.json").read_text()) == {"word": "new"}
