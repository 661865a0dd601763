"""Faces that are rendered as they are needed: which ones a step sees, and what their pictures show."""

from collections import Counter

import pytest
import torch

from keyface.datamodules.rendered import RenderedDataModule
from keyface.datamodules.rendered_faces import Batch
from keyface.miniature.networks.text import build_tokenizer
from keyface.miniature.population import captions, world
from keyface.miniature.population.captions import VOCABULARY
from keyface.miniature.population.pairs import FLIPS
from keyface.miniature.population.qualities import GLASSES_COLOURS, GLASSES_SHAPES, UNNAMED
from keyface.miniature.rendering import renderer


def data(**options: object) -> RenderedDataModule:
    settings = {"identities": 500, "size": 32, "batch_size": 4, "pairs": True, "held_out": 2, "steps": 3}
    return RenderedDataModule(**{**settings, **options})  # type: ignore[arg-type]


def batches(source: RenderedDataModule) -> list[Batch]:
    return [source.with_pictures(batch) for batch in source.train_dataloader()]


def test_twins_share_everything_but_one_edit() -> None:
    told = 0
    for batch in batches(data(mention=1.0)):
        assert batch["image"].shape == (8, 3, 32, 32)
        torch.testing.assert_close(batch["traits"][:4], batch["traits"][4:])
        changed = (batch["image"][:4] - batch["image"][4:]).abs().amax((1, 2, 3))
        assert bool((changed > 0.02).all())
        told += sum(a != b for a, b in zip(batch["caption"][:4], batch["caption"][4:], strict=True))
    assert told >= 10  # of 12: a caption of 30 words may leave the difference out


def test_pictures_are_those_of_the_faces_described() -> None:
    batch = next(iter(data().train_dataloader()))
    known = data().with_pictures(batch)
    for row, person in enumerate(known["identity"].tolist()):
        traits = world.draw_identities(torch.tensor([person])).values[0]
        torch.testing.assert_close(known["traits"][row], traits)
    faces = data().faces.numbered(0)[0]
    torch.testing.assert_close(known["image"][:4], renderer.render_images(faces, 32))
    torch.testing.assert_close(known["landmarks"][:4], renderer.locate_landmarks(faces, 32))
    assert torch.equal(known["labels"]["Smiling"][:4], world.true_labels(faces)["Smiling"])


def test_no_picture_comes_twice_and_a_seed_gives_the_same_ones() -> None:
    first, again, other = (batches(data(seed=seed)) for seed in (0, 0, 1))
    for one, two in zip(first, again, strict=True):
        assert torch.equal(one["image"], two["image"])
        assert one["caption"] == two["caption"]
    assert not torch.equal(first[0]["image"], other[0]["image"])
    shown = torch.cat([batch["image"][:4] for batch in first]).flatten(1)
    assert bool((torch.cdist(shown, shown) + 9 * torch.eye(len(shown)) > 1).all())


@pytest.mark.parametrize("pairs", [False, True])
def test_a_pool_shows_each_picture_about_as_often_as_asked(pairs: bool) -> None:
    source = data(reuse=3, pool=4, steps=60, pairs=pairs)
    seen: Counter[bytes] = Counter()
    for batch in batches(source):
        assert len(batch["image"]) == (8 if pairs else 4)
        seen.update(picture.numpy().tobytes() for picture in batch["image"][:4])
    assert sum(seen.values()) == 240
    assert len(seen) == pytest.approx(60 / 3 * 4, abs=8)


def test_a_pool_that_starts_late_holds_what_it_would_have_held() -> None:
    whole = data(reuse=2, pool=3, steps=20)
    expected = batches(whole)[13]
    late = data(reuse=2, pool=3)
    found = late.with_pictures(late.training_batch(13))
    assert torch.equal(found["image"], expected["image"])
    assert found["caption"] == expected["caption"]


@pytest.mark.parametrize("reuse", [1, 2])
def test_workers_make_the_same_batches_in_the_same_order(reuse: int) -> None:
    options = {"reuse": reuse, "pool": 3, "steps": 7, "tokens": True}
    alone, helped = batches(data(**options)), batches(data(**options, workers=2))
    assert len(helped) == 7
    for one, two in zip(alone, helped, strict=True):
        assert torch.equal(one["image"], two["image"])
        assert torch.equal(one["tokens"], two["tokens"])
        assert one["caption"] == two["caption"]


def test_tokens_are_those_of_the_captions() -> None:
    batch = data(tokens=True).training_batch(0)
    tokenizer = build_tokenizer(VOCABULARY)
    for caption, ids in zip(batch["caption"], batch["tokens"], strict=True):
        assert tokenizer.decode(ids, skip_special_tokens=True) == caption.replace(",", "")


def test_a_pool_shows_the_faces_it_describes() -> None:
    plain, pooled = data(), data(reuse=2, pool=3)
    for step in range(6):
        batch = pooled.training_batch(step)
        found = pooled.with_pictures(dict(batch))
        expected = plain.with_pictures(dict(batch))
        # The pool keeps 8 bits.
        torch.testing.assert_close(found["image"], expected["image"], atol=0.005, rtol=0)


def test_emphasis_draws_twins_of_a_label_more_often() -> None:
    def share(emphasis: dict[str, float]) -> float:
        source = data(batch_size=64, emphasis=emphasis)
        sides = [world.true_labels(side)["Bald"] for side in source.faces.numbered(0)]
        return float((sides[0] != sides[1]).float().mean())

    assert share({"Bald": 1e6}) > 3 * share({})
    with pytest.raises(ValueError, match="emphasis Hair: 2 needs a known label"):
        data(emphasis={"Hair": 2})


def test_held_out_people_are_never_trained_on() -> None:
    source = data()
    held = [source.with_pictures(batch) for batch in source.val_dataloader()]
    again = [source.with_pictures(batch) for batch in source.val_dataloader()]
    assert torch.equal(held[0]["image"], again[0]["image"])
    assert sum(len(batch["image"]) for batch in held) == 2 * 4 * 2
    assert all(bool((batch["identity"] >= world.HELD_OUT).all()) for batch in held)
    assert all(bool((batch["identity"] < 500).all()) for batch in batches(source))
    with pytest.raises(ValueError, match="identities 1000001: from 1 to 1000000"):
        data(identities=1_000_001)
    with pytest.raises(ValueError, match="reuse 0, pool 32"):
        data(reuse=0)


def test_twins_may_differ_in_several_labels() -> None:
    def differing(further: float) -> torch.Tensor:
        first, twins = (
            world.true_labels(side) for side in data(batch_size=200, further=further).faces.numbered(0)
        )
        return torch.stack([first[name] != twins[name] for name in FLIPS]).sum(0).float()

    one, several = differing(0.0), differing(0.5)
    assert bool((one > 0).all())
    # Sex changes what counts as a beard, and so on: not exactly one each.
    assert float(several.mean()) > float(one.mean()) + 0.4
    assert bool((several > 0).all())


def test_twins_stand_beside_the_faces_for_edits() -> None:
    (batch, *_) = batches(data(beside=True, mention=1.0))
    torch.testing.assert_close(batch["twin"][:4], batch["image"][4:])
    torch.testing.assert_close(batch["twin"][4:], batch["image"][:4])
    assert batch["twin_caption"] == batch["caption"][4:] + batch["caption"][:4]
    assert batch["twin_attributes"] == batch["attributes"][4:] + batch["attributes"][:4]
    for name, values in batch["labels"].items():
        assert [labels[name] for labels in batch["attributes"]] == values.tolist()
    assert all(own != twin for own, twin in zip(batch["attributes"], batch["twin_attributes"], strict=True))
    with pytest.raises(ValueError, match="beside needs pairs"):
        data(beside=True, pairs=False)


def test_some_batches_have_the_captions_that_edits_begin_with() -> None:
    source = data(canonical=0.5, steps=20)
    canonical = 0
    for number, batch in enumerate(source.train_dataloader()):
        faces, twins = source.faces.numbered(number)
        written = captions.write_captions(faces) + captions.write_captions(twins)
        canonical += batch["caption"] == written
    assert 5 <= canonical <= 15
    assert all(
        batch["caption"] != captions.write_captions(source.faces.joined(number, 2, torch.device("cpu")))
        for number, batch in enumerate(data(steps=6).train_dataloader())
    )


def test_glasses_that_a_twin_has_are_of_the_usual_kind() -> None:
    source, plain = (data(usual=usual, batch_size=200) for usual in (True, False))
    for side in range(2):
        faces, other = source.faces.numbered(0)[side], source.faces.numbered(0)[1 - side]
        differs = (faces.attribute("eyeglasses") != other.attribute("eyeglasses")) | (
            faces.attribute("sunglasses") != other.attribute("sunglasses")
        )
        assert 10 < int(differs.sum()) < 100
        assert bool((faces.condition("glasses_shape")[differs] < GLASSES_SHAPES[0][1]).all())
        assert bool((faces.condition("glasses_colour")[differs] < GLASSES_COLOURS[0][1]).all())
        before = plain.faces.numbered(0)[side]
        for name in ("glasses_shape", "glasses_colour"):
            torch.testing.assert_close(faces.condition(name)[~differs], before.condition(name)[~differs])
            assert bool((before.condition(name)[differs] > 0.65).any())


def test_most_that_a_twin_alone_wears_is_of_the_usual_kind() -> None:
    source, plain = (data(usual=usual, batch_size=1500) for usual in (True, False))
    first, second = source.faces.numbered(0)
    before = plain.faces.numbered(0)[0]
    assert torch.equal(first.nuisance.values, second.nuisance.values), "only attributes differ"
    differs = {name: first.attribute(name) != second.attribute(name) for name in UNNAMED}
    for attribute, kind in UNNAMED.items():
        for name, value in kind.items():
            share = float((first.condition(name)[differs[attribute]] == value).float().mean())
            assert 0.6 < share < 0.9, "three of four"
            untouched = torch.stack([~differs[each] for each, of in UNNAMED.items() if name in of]).all(dim=0)
            torch.testing.assert_close(first.condition(name)[untouched], before.condition(name)[untouched])
