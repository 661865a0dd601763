"""The batches that training sees."""

import json
import tarfile
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from keyface.datamodules.shard_files.batch import image_tensor
from keyface.datamodules.shard_files.catalogue import identity_share
from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shards import ShardsDataModule
from keyface.plugins import EditError

# A machine with few cores says so when a test has more workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def ready(folder: Path, *, rank: int = 0, world_size: int = 1, **options) -> ShardsDataModule:
    data = ShardsDataModule(folder, **{"batch_size": 2, "val_fraction": 0.0, **options})
    if world_size > 1:
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
    data.setup("fit" if data.val_fraction < 0.9 else "validate")
    return data


def keys(loader) -> list[list[str]]:
    return [batch["key"] for batch in loader]


def test_a_batch_is_what_the_contract_says(make_shards, make_sample) -> None:
    data = ready(make_shards(4, 4, with_latents=True), with_mask=True, with_latents=True, batch_size=4)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (4, 3, 16, 16)
    assert (batch["image"].dtype, batch["identity"].dtype, batch["timestep"].dtype, batch["mask"].dtype) == (
        torch.float32,
        torch.int64,
        torch.int64,
        torch.uint8,
    )
    assert batch["mask"].shape == (4, 16, 16)
    assert batch["landmarks"].shape == (4, 5, 2)
    assert batch["latent"].shape == batch["inverted"].shape == (4, 4, 2, 2)
    for row, key in enumerate(batch["key"]):
        number = int(key)
        wrote = torch.from_numpy(make_sample(number).image).permute(2, 0, 1)
        assert batch["image"][row].add(1).mul(127.5).round().byte().equal(wrote)
        assert batch["caption"][row] == f"a photo of person {number}"
        assert batch["identity"][row] == number // 2
        assert batch["attributes"][row]["Eyeglasses"] == (number % 2 == 1)
        assert batch["landmarks"][row][0].tolist() == [5.0, 6.0]
        assert batch["latent"][row, 0, 0, 0] == number
        level = batch["timestep"][row] / 100
        assert batch["inverted"][row, 0, 0, 0] == pytest.approx(float(number + level / 10))


def test_optional_parts_are_left_out(make_shards) -> None:
    batch = next(iter(ready(make_shards(4, with_latents=True)).train_dataloader()))
    assert set(batch) == {"image", "caption", "attributes", "landmarks", "identity", "key"}


def test_every_timestep_is_drawn(make_shards) -> None:
    data = ready(make_shards(8, with_latents=True), with_latents=True)
    loader = data.train_dataloader()
    drawn = Counter(int(t) for _ in range(12) for batch in loader for t in batch["timestep"])
    assert set(drawn) == {100, 200, 300}
    assert min(drawn.values()) > 15


def test_images_landmarks_and_masks_are_resized_together(make_shards) -> None:
    batch = next(iter(ready(make_shards(4), image_size=32, with_mask=True).train_dataloader()))
    assert batch["image"].shape == (2, 3, 32, 32)
    assert batch["image"].abs().max() <= 1.0
    assert batch["mask"].shape == (2, 32, 32)
    # Pixel centres: 5 lies 5.5 pixels from the edge, so 11 of the larger ones, which is the centre 10.5.
    assert batch["landmarks"][0][0].tolist() == [10.5, 12.5]
    assert batch["mask"][0, ::2, ::2].flatten().tolist() == [value % 19 for value in range(256)]


def test_a_picture_becomes_a_tensor_of_any_size() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 1] = 255
    for size in (4, 8):
        found = image_tensor(pixels, size)
        assert found.shape == (3, size, size)
        assert found.mean(dim=(1, 2)).tolist() == [-1.0, 1.0, -1.0]


def test_latents_of_another_size_are_refused(make_shards) -> None:
    data = ready(make_shards(4, with_latents=True), image_size=32, with_latents=True)
    with pytest.raises(ShardError, match="its latents belong to 16 pixels, image_size is 32"):
        next(iter(data.train_dataloader()))
    data = ready(Path(data.source.given), with_latents=True)
    assert next(iter(data.train_dataloader()))["latent"].shape == (2, 4, 2, 2)


def test_missing_latents_are_named(make_shards) -> None:
    with pytest.raises(ShardError, match=r"shard-000000.tar, sample '\d+': has no latents.safetensors"):
        next(iter(ready(make_shards(4), with_latents=True).train_dataloader()))


def test_the_split_is_by_identity_and_near_its_fraction(make_shards) -> None:
    folder = make_shards(60, 60)
    data = ready(folder, val_fraction=0.3)
    loader = data.train_dataloader()
    train = {int(i) for _ in range(12) for batch in loader for i in batch["identity"]}
    val = {int(i) for batch in data.val_dataloader() for i in batch["identity"]}
    assert train.isdisjoint(val)
    assert train | val == set(range(60))
    assert 9 <= len(val) <= 27
    assert val == {identity for identity in range(60) if identity_share(identity, 0) < 0.3}
    assert {i for i in range(60) if identity_share(i, 1) < 0.3} != val


def test_validation_gives_each_sample_once_in_order(make_shards) -> None:
    folder = make_shards(6, 5, 4)
    for workers in (0, 2):
        data = ready(folder, val_fraction=0.999, workers=workers)
        seen = [key for batch in keys(data.val_dataloader()) for key in batch]
        assert sorted(seen) == [f"{number:05d}" for number in range(15)]
    assert keys(ready(folder, val_fraction=0.999).val_dataloader())[0] == ["00000", "00001"]
    assert ready(folder).val_dataloader() == []


def test_ranks_validate_different_samples_in_equally_many_batches(make_shards) -> None:
    folder = make_shards(6, 5, 4)  # uneven, and 15 does not divide by 2
    batches = [
        keys(ready(folder, val_fraction=0.999, rank=rank, world_size=2).val_dataloader()) for rank in (0, 1)
    ]
    first, second = ({key for batch in rank for key in batch} for rank in batches)
    assert len(batches[0]) == len(batches[1]) == 4
    assert first.isdisjoint(second)
    assert len(first) == len(second) == 7


def test_tolerant_ranks_agree_on_the_number_of_batches(make_shards, rewrite, members_of) -> None:
    folder = make_shards(8, 1)
    members = members_of(folder / "shard-000000.tar")
    rewrite(folder, [(name, b"x" if name == "00002.png" else data) for name, data in members])
    options = {"val_fraction": 0.999, "tolerate": 1, "batch_size": 1, "world_size": 2, "image_size": 16}
    counts = [len(keys(ready(folder, rank=rank, **options).val_dataloader())) for rank in (0, 1)]
    assert counts == [4, 4]


def test_an_empty_validation_is_an_error(make_shards) -> None:
    data = ready(make_shards(4), val_fraction=1e-9)
    with pytest.raises(ShardError, match="no validation sample"):
        list(data.val_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_pass_sees_everything_once(make_shards, workers: int) -> None:
    data = ready(make_shards(7, 1, 4, 4), workers=workers)
    loader = data.train_dataloader()
    epochs = [[key for batch in keys(loader) for key in batch] for _ in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == [f"{number:05d}" for number in range(16)]
    assert epochs[0] != epochs[1]


def test_what_makes_no_whole_step_comes_first_in_the_next_epoch(make_shards) -> None:
    loader = ready(make_shards(3, 2), batch_size=2).train_dataloader()
    assert len(loader) == 2
    seen = [key for _ in range(5) for batch in keys(loader) for key in batch]
    passes = [sorted(seen[start : start + 5]) for start in (0, 5, 10, 15)]
    assert passes == [[f"{number:05d}" for number in range(5)]] * 4


@pytest.mark.parametrize("batch_size", [3, 11])
def test_a_batch_may_be_larger_than_a_pass(make_shards, batch_size: int) -> None:
    loader = ready(make_shards(2), batch_size=batch_size).train_dataloader()
    assert [len(batch) for batch in keys(loader)] == [batch_size]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_and_processes_take_turns_at_one_order(make_shards, workers: int) -> None:
    """Two processes' batches are those of one process with twice the batch."""
    folder = make_shards(9, 4, 1, 2)
    alone = keys(ready(folder, batch_size=4).train_dataloader())
    ranks = [
        keys(ready(folder, rank=rank, world_size=2, workers=workers).train_dataloader()) for rank in (0, 1)
    ]
    assert [sorted(ours + theirs) for ours, theirs in zip(*ranks, strict=True)] == [*map(sorted, alone)]


def test_processes_read_shards_of_their_own(make_shards) -> None:
    """So that each machine fetches a part of remote shards, as long as these are of one length."""
    folder = make_shards(*[2] * 8)
    for world_size in (2, 4, 8):
        seen = [
            {int(key) // 2 for batch in keys(loader) for key in batch}
            for rank in range(world_size)
            for loader in [ready(folder, rank=rank, world_size=world_size, batch_size=1).train_dataloader()]
        ]
        assert [len(shards) for shards in seen] == [8 // world_size] * world_size
        assert set().union(*seen) == set(range(8))


def test_order_depends_on_the_seed_alone(make_shards) -> None:
    folder = make_shards(6, 6)
    runs = [keys(ready(folder, seed=seed).train_dataloader()) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_buffer_of_one_keeps_the_order_of_each_shard(make_shards) -> None:
    seen = [
        int(key) for batch in keys(ready(make_shards(6, 6), shuffle=1).train_dataloader()) for key in batch
    ]
    assert [key for key in seen if key < 6] == list(range(6))
    assert [key for key in seen if key >= 6] == list(range(6, 12))


@pytest.mark.parametrize(("workers", "given"), [(0, 1), (0, 5), (0, 7), (3, 5), (3, 6)])
def test_a_resumed_loader_goes_on_where_it_was(make_shards, workers: int, given: int) -> None:
    """The batches after a resume are those of the uninterrupted run."""
    data = ready(make_shards(4, 4, 5), workers=workers, shuffle=5)
    whole = data.train_dataloader()
    uninterrupted = [batch for _ in range(3) for batch in keys(whole)]
    assert len(uninterrupted) == 18
    first = data.train_dataloader()
    seen = 0
    while seen < given:
        for batch in first:
            assert batch["key"] == uninterrupted[seen]
            seen += 1
            if seen == given:
                state = first.state_dict()
                break
    resumed = data.train_dataloader()
    resumed.load_state_dict(state)
    assert keys(resumed) == uninterrupted[given : 6 * (given // 6 + 1)]
    assert keys(resumed) == uninterrupted[6 * (given // 6 + 1) : 6 * (given // 6 + 2)]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_other_numbers_of_processes_see_the_rest_of_the_pass_once(
    make_shards, before: int, after: int, batch_size: int
) -> None:
    folder = make_shards(11, 5, 8)
    seen: list[str] = []
    for rank in range(before):
        loader = ready(folder, rank=rank, world_size=before).train_dataloader()
        for _, batch in zip(range(2), loader, strict=False):
            seen += batch["key"]
        state = loader.state_dict()
    assert state["position"] == len(seen) == 4 * before
    loaders = [
        ready(folder, rank=rank, world_size=after, batch_size=batch_size, workers=rank).train_dataloader()
        for rank in range(after)
    ]
    for loader in loaders:
        loader.load_state_dict(state)
    left = 24 - len(seen)
    steps = -(-left // (batch_size * after))
    taken = []
    for loader in loaders:
        batches = [batch for _ in range(4) for batch in keys(loader)][:steps]
        taken.append(batches)
    rest = [key for step in zip(*taken, strict=True) for key in sorted_turns(step)][:left]
    assert sorted(seen + rest) == [f"{number:05d}" for number in range(24)]


def sorted_turns(step: tuple[list[str], ...]) -> list[str]:
    """The samples of a step in the order that processes took turns at."""
    return [key for turn in zip(*step, strict=True) for key in turn]


def test_a_checkpoint_of_an_older_order_is_refused(make_shards) -> None:
    with pytest.raises(ShardError, match="of an older keyface"):
        ready(make_shards(4)).train_dataloader().load_state_dict({"given": 3})


def test_a_resume_with_other_settings_is_said(make_shards) -> None:
    folder = make_shards(4)
    state = ready(folder).train_dataloader().state_dict()
    with pytest.warns(UserWarning, match="seed, shuffle changed"):
        ready(folder, shuffle=2, seed=1).train_dataloader().load_state_dict(state)


class Recorder(LightningModule):
    """Notes the keys that it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.keys: list[list[str]] = []

    def training_step(self, batch, batch_index):
        self.keys.append(batch["key"])
        return self.weight.sum()

    def validation_step(self, batch, batch_index):
        return None

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


def test_lightning_resumes_in_the_middle_of_an_epoch(make_shards, tmp_path: Path) -> None:
    folder = make_shards(6, 6)
    options = {
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }

    def fit(steps: int, ckpt: str | None = None) -> tuple[Recorder, Trainer]:
        trainer = Trainer(max_steps=steps, enable_checkpointing=False, limit_val_batches=0, **options)
        model = Recorder()
        trainer.fit(
            model, datamodule=ShardsDataModule(folder, batch_size=2, val_fraction=0.0), ckpt_path=ckpt
        )
        return model, trainer

    whole = fit(9)[0].keys
    half, trainer = fit(4)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    rest = fit(9, str(tmp_path / "half.ckpt"))[0]
    assert half.keys + rest.keys == whole


def test_only_images_that_a_category_can_use(make_shards) -> None:
    folder = make_shards(10)
    for name, odd in (("glasses", False), ("no-glasses", True)):
        data = ready(folder, categories=[name])
        seen = {int(key) % 2 == 1 for batch in keys(data.train_dataloader()) for key in batch}
        assert seen == {odd}
    both = ready(folder, categories=["glasses", "no-glasses"])
    assert {int(key) % 2 for batch in keys(both.train_dataloader()) for key in batch} == {0, 1}
    with pytest.raises(EditError, match="did you mean 'glasses'"):
        ready(folder, categories=["glases"])


def test_nothing_to_train_on_is_said_before_training(make_shards) -> None:
    with pytest.raises(
        ShardError, match="none of 2 shards has a training sample that the categories can use"
    ):
        ready(make_shards(4, 4), categories=["beard"])  # nobody here is Male


def test_uneven_shards_and_more_readers_than_shards_give_each_process_as_many_batches(make_shards) -> None:
    folder = make_shards(9, 3)
    for world_size in (2, 3, 4):
        loaders = [
            ready(folder, rank=rank, world_size=world_size, workers=3, batch_size=1).train_dataloader()
            for rank in range(world_size)
        ]
        seen = [[key for batch in keys(loader) for key in batch] for loader in loaders]
        assert [len(each) for each in seen] == [12 // world_size] * world_size
        assert sorted(key for each in seen for key in each) == [f"{number:05d}" for number in range(12)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sample_is_named_or_passed_over(make_shards, rewrite, members_of, workers: int) -> None:
    folder = make_shards(4, 4)
    members = members_of(folder / "shard-000000.tar")
    rewrite(folder, [(name, b"x" if name == "00003.png" else data) for name, data in members])
    loader = ready(folder, workers=workers).train_dataloader()
    with pytest.raises(
        ShardError, match=r"shard-000000.tar, sample '00003': its png cannot be read"
    ) as caught:
        list(loader)
    assert "\n" not in str(caught.value)
    runs = [keys(ready(folder, workers=each, tolerate=1).train_dataloader()) for each in (workers, 0)]
    assert runs[0] == runs[1], "what takes its place does not depend on workers"
    assert "00003" not in {key for batch in runs[0] for key in batch}


def test_any_sample_may_take_the_place_of_a_bad_one(make_shards, rewrite, members_of) -> None:
    folder = make_shards(8)
    members = members_of(folder / "shard-000000.tar")
    rewrite(folder, [(name, b"x" if name == "00003.png" else data) for name, data in members])
    seen = set()
    for seed in range(8):
        loader = ready(folder, tolerate=1, seed=seed).train_dataloader()
        count = Counter(key for batch in keys(loader) for key in batch)
        assert sum(count.values()) == 8
        seen |= {key for key, times in count.items() if times == 2}
    assert len(seen) > 2


def test_reading_draws_nothing_from_what_training_draws_from(make_shards) -> None:
    loader = ready(make_shards(4)).train_dataloader()
    before = torch.get_rng_state()
    assert len(list(loader)) == 2
    assert torch.equal(torch.get_rng_state(), before)


def test_a_cut_shard_is_named_at_set_up(make_shards) -> None:
    folder = make_shards(2, 2)
    path = folder / "shard-000001.tar"
    path.write_bytes(path.read_bytes()[:2048])
    with pytest.raises(ShardError, match=r"shard-000001.tar: 2048 bytes"):
        ready(folder)
    index = json.loads((folder / "index.json").read_text())
    index["shards"][1]["bytes"] = 2048
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(ShardError, match=r"shard-000001.tar"):
        ready(folder)


def test_a_changed_shard_of_the_same_size_is_named_before_training(make_shards, monkeypatch) -> None:
    folder = make_shards(4, 4)
    monkeypatch.setenv("KEYFACE_SHARD_CACHE", str(folder.parent / "cache"))
    ready(folder)
    path = folder / "shard-000001.tar"
    whole = path.read_bytes()
    with tarfile.open(path) as archive:
        pixels = archive.getmember("00005.png").offset_data + 60
    path.write_bytes(whole[:pixels] + bytes([whole[pixels] ^ 1]) + whole[pixels + 1 :])
    with pytest.raises(ShardError, match=r"shard-000001\.tar: its SHA-256 differs from index\.json"):
        ready(folder)
    path.write_bytes(bytes(len(whole)))
    with pytest.raises(ShardError, match=r"shard-000001\.tar: its SHA-256 differs from index\.json"):
        ready(folder)
    path.write_bytes(whole)
    assert len(ready(folder).catalogue.key) == 8


def test_content_is_read_once_until_the_file_changes(make_shards, monkeypatch) -> None:
    folder = make_shards(2)
    cache = folder.parent / "cache"
    monkeypatch.setenv("KEYFACE_SHARD_CACHE", str(cache))
    ready(folder)
    (note,) = cache.glob("*.checked")
    before = note.stat().st_mtime_ns
    ready(folder)
    assert note.stat().st_mtime_ns == before
    note.write_bytes(b"\xff")
    ready(folder)
    assert note.stat().st_mtime_ns != before
    note.unlink()
    cache.rmdir()
    cache.write_text("a file: nothing can be kept")
    ready(folder)


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"workers": -1}, {"val_fraction": 1.0}, {"val_fraction": -0.1}, {"shuffle": 0}],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(ShardError, match=next(iter(options))):
        ShardsDataModule(tmp_path, **options)  # type: ignore[arg-type]


class AlignsFaces(LightningModule):
    """A module that says so."""

    needs_landmarks = True


def test_landmarks_that_make_no_face_are_refused_on_the_cpu(make_shards) -> None:
    """By key, before they are sent to a GPU, and only where faces are aligned."""
    data = ShardsDataModule(make_shards(4), batch_size=2, val_fraction=0.0)
    points = torch.tensor([[1.0, 1.0], [9.0, 1.0], [5.0, 5.0], [2.0, 9.0], [8.0, 9.0]])
    batch = {"landmarks": torch.stack([points, points * 0]), "key": ["good", "bad"]}
    assert data.on_before_batch_transfer(batch, 0) is batch, "nobody asks"
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    trainer.strategy.connect(AlignsFaces())
    data.trainer = trainer
    with pytest.raises(ValueError, match="landmarks of bad make no face"):
        data.on_before_batch_transfer(batch, 0)
    batch["landmarks"][1] = points
    assert data.on_before_batch_transfer(batch, 0) is batch
