"""The batches that training sees."""

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from keyface.datamodules.shard_files.index import ShardError
from keyface.datamodules.shard_files.streams import identity_share
from keyface.datamodules.shards import ShardsDataModule
from keyface.plugins import EditError

# A machine with few cores says so when a test has more workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


def ready(folder: Path, *, rank: int = 0, world_size: int = 1, **options) -> ShardsDataModule:
    data = ShardsDataModule(folder, **{"batch_size": 2, "val_fraction": 0.0, **options})
    if world_size > 1:
        data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)
    data.setup("fit")
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


def test_latents_of_another_size_are_refused(make_shards) -> None:
    data = ready(make_shards(4, with_latents=True), image_size=32, with_latents=True)
    with pytest.raises(ShardError, match="its latents belong to 16 pixels, image_size is 32"):
        next(iter(data.train_dataloader()))
    data = ready(data.source.folder, with_latents=True)
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
def test_without_resampling_a_pass_sees_everything_once(make_shards, workers: int) -> None:
    data = ready(make_shards(4, 4, 4, 4), resampled=False, workers=workers)
    loader = data.train_dataloader()
    epochs = [[key for batch in keys(loader) for key in batch] for _ in range(2)]
    for epoch in epochs:
        assert sorted(epoch) == [f"{number:05d}" for number in range(16)]
    assert epochs[0] != epochs[1]


def test_ranks_and_workers_have_shards_of_their_own(make_shards) -> None:
    folder = make_shards(*[2] * 8)
    ranks = [ready(folder, rank=rank, world_size=2, resampled=False, workers=2) for rank in (0, 1)]
    seen = [{key for batch in keys(data.train_dataloader()) for key in batch} for data in ranks]
    assert seen[0].isdisjoint(seen[1])
    assert len(seen[0]) == len(seen[1]) == 8


@pytest.mark.parametrize("resampled", [True, False])
def test_order_depends_on_the_seed_alone(make_shards, resampled: bool) -> None:
    folder = make_shards(6, 6)
    runs = [keys(ready(folder, seed=seed, resampled=resampled).train_dataloader()) for seed in (0, 0, 1)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


@pytest.mark.parametrize("resampled", [True, False])
@pytest.mark.parametrize(("workers", "given"), [(0, 1), (0, 5), (0, 7), (3, 5)])
def test_a_resumed_loader_goes_on_where_it_was(
    make_shards, workers: int, resampled: bool, given: int
) -> None:
    """The batches after a resume are those of the uninterrupted run."""
    data = ready(make_shards(4, 4, 4), workers=workers, resampled=resampled, shuffle=5)
    whole = data.train_dataloader()
    uninterrupted = keys(whole) + keys(whole)
    assert len(uninterrupted) == 12
    first = data.train_dataloader()
    for _ in range(1 + given // 6):
        for batch in first:
            assert batch["key"] == uninterrupted[first.given - 1]
            if first.given == given:
                break
    resumed = data.train_dataloader()
    resumed.load_state_dict(first.state_dict())
    assert keys(resumed) == uninterrupted[given : 6 * (given // 6 + 1)]


def test_a_resume_with_other_settings_is_said(make_shards) -> None:
    folder = make_shards(4)
    state = ready(folder).train_dataloader().state_dict()
    with pytest.warns(UserWarning, match="batch_size, seed changed"):
        ready(folder, batch_size=4, seed=1).train_dataloader().load_state_dict(state)


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


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_to_train_on_is_an_error_and_no_endless_search(make_shards, workers: int) -> None:
    data = ready(make_shards(4, 4), categories=["beard"], workers=workers)  # nobody here is Male
    with pytest.raises(
        ShardError, match=r"none of 2 shards .* has a training sample that the categories can use"
    ):
        next(iter(data.train_dataloader()))


def test_more_readers_than_shards_is_said_before_training(make_shards) -> None:
    folder = make_shards(2, 2)
    with pytest.raises(
        ShardError, match=r"2 shards for 1 ranks x 3 workers = 3 readers; set workers to at most 2"
    ):
        ready(folder, workers=3, resampled=False)
    with pytest.raises(ShardError, match="4 ranks"):
        ready(folder, world_size=4, resampled=False)
    with pytest.warns(UserWarning, match="readers draw from the same shards"):
        data = ready(folder, workers=3)
    assert len(keys(data.train_dataloader())) == 2


def test_uneven_shards_give_every_rank_as_many_batches(make_shards) -> None:
    folder = make_shards(9, 1)
    for resampled in (True, False):
        counts = {
            len(keys(ready(folder, rank=rank, world_size=2, resampled=resampled).train_dataloader()))
            for rank in (0, 1)
        }
        assert counts == {2}


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_sample_is_named_or_passed_over(make_shards, rewrite, members_of, workers: int) -> None:
    folder = make_shards(4, 4)
    members = members_of(folder / "shard-000000.tar")
    rewrite(folder, [(name, b"x" if name == "00003.png" else data) for name, data in members])
    loader = ready(folder, resampled=False, workers=workers).train_dataloader()
    with pytest.raises(
        ShardError, match=r"shard-000000.tar, sample '00003': its png cannot be read"
    ) as caught:
        list(loader)
    assert "\n" not in str(caught.value)
    data = ready(folder, resampled=False, workers=workers, tolerate=1)
    seen = {key for batch in keys(data.train_dataloader()) for key in batch}
    assert "00003" not in seen


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
        list(ready(folder, resampled=False).train_dataloader())


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"workers": -1}, {"val_fraction": 1.0}, {"val_fraction": -0.1}, {"shuffle": 0}],
)
def test_options_are_checked(tmp_path: Path, options: dict[str, float]) -> None:
    with pytest.raises(ShardError, match=next(iter(options))):
        ShardsDataModule(tmp_path, **options)  # type: ignore[arg-type]
