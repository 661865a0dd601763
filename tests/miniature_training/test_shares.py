"""Who gets how much time, and how much is rendered in it."""

from pathlib import Path

import pytest

from keyface.miniature_training.overlay import Machine, overlay
from keyface.miniature_training.shares import OVERHEAD, SHORTEST, Sizes, next_seconds, shares_of
from keyface.miniature_training.stages import BY_NAME, STAGES, choose


def test_all_of_the_time_is_given_away() -> None:
    shares = shares_of(STAGES)
    assert sum(shares.values()) == pytest.approx(1)
    assert list(shares) == [
        "autoencoder", "base", "decoder", "clip", "identity_network", "recognizer_vgg", "recognizer_convnext",
        "recognizer_inception", "attributes", "face_finder", "shards", "identity", "direction",
    ]  # fmt: skip
    assert shares["base"] == pytest.approx(0.3 / 1.06)


def test_chosen_stages_share_the_time_by_their_ratios() -> None:
    assert shares_of(choose(["base", "clip"])) == pytest.approx({"base": 30 / 38, "clip": 8 / 38})
    assert shares_of(choose(["clip", "base"]), {"clip": 0.3}) == pytest.approx({"base": 0.5, "clip": 0.5})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bas": 1.0}, "'bas' is no stage (did you mean 'base'?)"),
        ({"attributes": 1.0}, "attributes is not among the --stages (base, clip)"),
        ({"base": 0.0}, "base is 0.0, it must be above 0"),
        ({"base": float("inf")}, "base is inf"),
    ],
)
def test_impossible_shares_are_refused(changed: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match="--shares: ") as error:
        shares_of(choose(["base", "clip"]), changed)
    assert said in str(error.value)


def test_the_time_is_what_is_left_by_hand() -> None:
    shares = {"a": 0.5, "b": 0.3, "c": 0.2}
    # Nothing done: 100 s less what three stages are thought to need beside their training.
    assert next_seconds("a", shares, 100, {}, []) == pytest.approx((100 - 3 * OVERHEAD) * 0.5)
    # `a` took 60 s, of which 4 beside its training: b and c share 40 - 2 · 4 by 3 to 2.
    assert next_seconds("b", shares, 100, {"a": 60}, [4]) == pytest.approx(32 * 0.6)
    assert next_seconds("c", shares, 100, {"a": 60, "b": 25}, [4, 6]) == pytest.approx(15 - 5)
    assert next_seconds("c", shares, 100, {"a": 60, "b": 45}, [4, 6]) == SHORTEST, "nothing is left"


def test_a_run_takes_as_long_as_it_was_asked_to() -> None:
    """However much each stage needs beside its training, as long as there is enough to take it from."""
    shares, used, overheads = shares_of(STAGES), {}, []
    for number, name in enumerate(shares):
        beside = 5.0 if number % 2 else 1.0
        used[name] = next_seconds(name, shares, 600, used, overheads) + beside
        overheads.append(beside)
    assert sum(used.values()) == pytest.approx(600, abs=3)


def test_what_is_rendered_is_bounded_by_the_time() -> None:
    dry, hour, fast = Sizes.of(60, 9.0), Sizes.of(3600, 9.0), Sizes.of(600, 5000.0)
    # Two pictures of a pair, 4 of each person.
    assert 8 * dry.held_out + dry.shards <= 60 * 9 * 0.25
    assert dry.batch_size == 4
    assert not dry.compiled
    assert dry.held_out >= 2, "somebody to tell apart"
    assert hour.batch_size is None
    assert hour.compiled
    assert 8 * hour.held_out <= 3600 * 9 * 4 * 0.15
    assert hour.held_out % 8 == 0, "whole batches of the compiled renderer"
    assert (fast.held_out, fast.component_images) == (64, 1024)


def test_a_gpu_is_not_held_up_by_its_pictures() -> None:
    """Not compiled in a run of minutes, full batches after one minute, and fewer faces in the shards."""
    gpu = Sizes.of(600, 300.0, "cuda")
    assert not gpu.compiled
    assert gpu.shards == 4000
    assert Sizes.of(7200, 900.0, "cuda").compiled
    assert Sizes.of(90, 300.0, "cuda").batch_size is None
    assert Sizes.of(90, 300.0, "cpu").batch_size == 4


def test_a_stage_on_a_gpu_gets_whole_batches_made_by_workers(tmp_path: Path) -> None:
    sizes = Sizes.of(600, 300.0, "cuda")
    shards = tmp_path / "shards"
    machine = Machine(gpu=True, checkpoint_seconds=60, compiled=True, shards=shards)
    data = overlay(BY_NAME["base"], tmp_path, 300, sizes, machine)["data"]["init_args"]
    assert (data["batch_size"], data["chunk"], data["tokens"]) == (256, 512, True), "with its twins"
    assert data["workers"] > 0
    branch = overlay(BY_NAME["identity"], tmp_path, 60, sizes, machine)["data"]["init_args"]
    assert branch["shards"] == str(shards)
    assert "chunk" not in branch
    own = overlay(BY_NAME["identity"], tmp_path, 60, sizes, Machine(True, 60))["data"]["init_args"]
    assert own["shards"] == str(tmp_path / "work" / "shards")
    assert "shards" not in shares_of(choose(["identity"]), render=False)


@pytest.mark.parametrize("packaged", [False, True])
def test_the_decoder_goes_on_from_the_autoencoder_of_its_run(tmp_path: Path, packaged: bool) -> None:
    sizes = Sizes.of(600.0, 100.0)
    found = overlay(BY_NAME["decoder"], tmp_path, 60, sizes, Machine(False, 60, from_packaged=packaged))
    base = tmp_path / "weights" / "base"
    assert found["model"]["init_args"] == {"base": str(base)}
    begun = [each for each in found["trainer"]["callbacks"] if each["class_path"].endswith("InitialWeights")]
    assert [each["init_args"]["weights"] for each in begun] == [{"network": str(base / "vae")}]


def test_needs_come_first() -> None:
    names = [stage.name for stage in STAGES]
    for stage in STAGES:
        assert all(names.index(need) < names.index(stage.name) for need in stage.needs)
    assert [stage.name for stage in choose(["clip", "autoencoder", "base"])] == [
        "autoencoder",
        "base",
        "clip",
    ]
    assert choose(None) == list(STAGES)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["clips"], "'clips' is none (did you mean 'clip'?); there are autoencoder, base, decoder, clip"),
        ([], "none named"),
        (
            ["autoencoder", "identity"],
            "identity needs base, which does not fit any longer when autoencoder is",
        ),
    ],
)
def test_impossible_stages_are_refused(names: list[str], said: str) -> None:
    with pytest.raises(ValueError, match="--stages: ") as error:
        choose(names)
    assert said in str(error.value)
    assert BY_NAME["identity"].branch
