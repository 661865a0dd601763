import json
from pathlib import Path

import pytest
import torch

from keyface.commands.data import shards
from keyface.datamodules.shard_files import render as shard_render
from keyface.datamodules.shard_files.index import ShardError, ShardIndex
from keyface.datamodules.shards import ShardsDataModule
from keyface.diffusion.inversion import invert
from keyface.diffusion.schedule import Grid
from keyface.miniature.population import captions, world
from keyface.miniature.rendering import renderer


def render(folder: Path, **changes) -> None:
    shards.render(folder, **{"count": 5, "size": 32, "samples_per_shard": 3, **changes})


def test_rendered_shards_hold_the_truth_of_the_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    render(tmp_path / "a", first_identity=70, rates={"Eyeglasses": 1.0, "Sunglasses": 0.0})
    assert "5 faces in 2 shards" in capsys.readouterr().out
    data = ShardsDataModule(tmp_path / "a", batch_size=5, val_fraction=0.999, with_mask=True)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    faces = world.draw_faces(torch.arange(70, 75), 0, {"Eyeglasses": 1.0, "Sunglasses": 0.0})
    rendering = renderer.render(faces, 32)
    assert batch["identity"].tolist() == [70, 71, 72, 73, 74]
    assert batch["key"][0] == "00000070"
    assert batch["caption"] == captions.write_captions(faces)
    assert all(labels["Eyeglasses"] for labels in batch["attributes"])
    assert batch["attributes"][2] == {name: bool(held[2]) for name, held in world.true_labels(faces).items()}
    assert batch["mask"].equal(rendering.mask)
    assert torch.allclose(batch["landmarks"], rendering.landmarks, atol=1e-3)
    assert (batch["image"] - rendering.image).abs().mean() < 0.03  # JPEG


def test_render_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    render(tmp_path / "whole")
    render(tmp_path / "cut")
    whole, folder = ShardIndex.read(tmp_path / "whole"), tmp_path / "cut"
    ShardIndex(whole.shards[:1], whole.made).write(folder)
    (folder / "shard-000001.tar").unlink()
    before = (folder / "shard-000000.tar").stat().st_mtime_ns
    render(folder)
    assert (folder / "shard-000000.tar").stat().st_mtime_ns == before
    assert ShardIndex.read(folder) == whole


def test_other_settings_in_the_same_folder_are_refused(tmp_path: Path) -> None:
    render(tmp_path)
    with pytest.raises(ShardError, match=r"was made with size 32 \(now 48\), seed 0 \(now 1\)"):
        render(tmp_path, size=48, seed=1)
    (tmp_path / "shard-000000.tar").write_bytes(b"")
    with pytest.raises(ShardError, match=r"shard-000000.tar: 0 bytes"):
        render(tmp_path)


def test_foreign_tar_files_are_not_mixed_in(tmp_path: Path) -> None:
    (tmp_path / "holiday.tar").write_bytes(b"")
    with pytest.raises(ShardError, match=r"holds other tar files and no index.json"):
        render(tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"count": 0}, "count"),
        ({"size": 8}, "at least 16"),
        ({"rates": {"Eyeglases": 1.0}}, "unknown rates"),
        ({"latents": -1}, "latents"),
    ],
)
def test_wrong_settings_write_nothing(tmp_path: Path, changes: dict, said: str) -> None:
    with pytest.raises(ShardError, match=said):
        render(tmp_path / "a", **changes)
    assert not (tmp_path / "a").exists()


def test_latents_are_the_frozen_models_inversion(tmp_path: Path, tiny_backbone) -> None:
    settings = shard_render.RenderSettings(count=3, size=32, latents=10)
    shard_render.render_shards(tmp_path, settings, lambda: tiny_backbone)
    data = ShardsDataModule(tmp_path, batch_size=3, val_fraction=0.999, with_latents=True)
    data.setup()
    batch = next(iter(data.val_dataloader()))
    images = renderer.render(world.draw_faces(torch.arange(3), 0), 32).image
    latents = tiny_backbone.encode_images(images)
    assert torch.allclose(batch["latent"], latents, atol=1e-5)
    grid = Grid.of(tiny_backbone.scheduler, 10)
    text = tiny_backbone.encode_prompts(batch["caption"])
    trajectory = invert(tiny_backbone.unet, tiny_backbone.scheduler, latents, text, 10)
    for row, timestep in enumerate(batch["timestep"].tolist()):
        level = grid.timesteps.index(timestep) + 1
        assert torch.allclose(batch["inverted"][row], trajectory[level, row], atol=1e-4)


def test_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    render(tmp_path)
    shards.verify(tmp_path)
    assert "5 samples in 2 shards are as index.json says" in capsys.readouterr().out
    path = tmp_path / "shard-000001.tar"
    data = bytearray(path.read_bytes())
    data[data.index(b"a photo of") + 3] ^= 1  # one flipped bit, still a fine tar file
    path.write_bytes(data)
    with pytest.raises(ShardError, match="1 faults"):
        shards.verify(tmp_path)
    assert "shard-000001.tar: SHA-256 differs" in capsys.readouterr().out


def test_index_of_shards_from_elsewhere(tmp_path: Path) -> None:
    render(tmp_path)
    before = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").unlink()
    shards.index(tmp_path, made_by="somebody")
    after = json.loads((tmp_path / "index.json").read_text())
    assert after["shards"] == before["shards"]
    assert after["made"] == {"by": "somebody"}
