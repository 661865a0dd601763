import pytest
import torch

from keyface.celeba import ATTRIBUTES
from keyface.miniature.population import world
from keyface.miniature.population.labels import CHANGEABLE, own_labels
from keyface.miniature.population.parameters import (
    ATTRIBUTE_NAMES,
    IDENTITY_NAMES,
    NUISANCE_NAMES,
    Faces,
)


def _same(first: Faces, second: Faces) -> bool:
    return (
        torch.equal(first.identity.values, second.identity.values)
        and torch.equal(first.attributes.values, second.attributes.values)
        and torch.equal(first.nuisance.values, second.nuisance.values)
    )


def test_identity_depends_on_the_id_alone() -> None:
    many = world.draw_identities(torch.tensor([7, 3, world.HELD_OUT + 5]))
    alone = world.draw_identities(torch.tensor([3]))
    assert torch.equal(many.values[1:2], alone.values)
    assert not torch.equal(many.values[0], many.values[1])


def test_identity_columns_are_uniform_and_uncorrelated() -> None:
    values = world.draw_identities(torch.arange(4000)).values
    assert values.shape == (4000, len(IDENTITY_NAMES))
    assert values.min() >= -1
    assert values.max() <= 1
    assert values.mean(dim=0).abs().max() < 0.05
    assert (values.std(dim=0) - 3**-0.5).abs().max() < 0.03
    correlation = torch.corrcoef(values.T) - torch.eye(len(IDENTITY_NAMES))
    assert correlation.abs().max() < 0.08


def test_sample_does_not_depend_on_the_batch() -> None:
    ids = torch.arange(20, 30)
    faces = world.draw_faces(ids, seed=4)
    assert _same(faces, world.draw_faces(ids, seed=4))
    assert _same(faces[3:5], world.draw_faces(ids[3:5], seed=4))
    assert not _same(faces, world.draw_faces(ids, seed=5))


def test_an_id_that_occurs_twice_gets_two_photos() -> None:
    faces = world.draw_faces(torch.tensor([9, 2, 9]), seed=0)
    assert torch.equal(faces.identity.values[0], faces.identity.values[2])
    assert not torch.equal(faces.nuisance.values[0], faces.nuisance.values[2])
    assert _same(faces[0:1], world.draw_faces(torch.tensor([9]), seed=0))


def test_seeds_may_be_given_one_a_face() -> None:
    faces = world.draw_faces(torch.tensor([1, 1]), seed=torch.tensor([3, 8]))
    assert _same(faces[1:2], world.draw_faces(torch.tensor([1]), seed=8)) is False  # its second occurrence
    other = world.draw_faces(torch.tensor([1, 2]), seed=torch.tensor([3, 8]))
    assert _same(other[1:2], world.draw_faces(torch.tensor([2]), seed=8))


def test_rates_are_kept() -> None:
    faces = world.draw_faces(torch.arange(6000), 1, {"Eyeglasses": 0.4, "Sunglasses": 0.0, "Beard": 0.5})
    labels = world.true_labels(faces)
    men = labels["Male"]
    assert labels["Eyeglasses"].float().mean() == pytest.approx(0.4, abs=0.02)
    assert labels["Beard"][men].float().mean() == pytest.approx(0.5, abs=0.03)
    assert labels["Beard"][~men].float().mean() < 0.05
    assert men.float().mean() == pytest.approx(0.5, abs=0.03)
    assert labels["Young"].float().mean() == pytest.approx(0.7, abs=0.03)


def test_unknown_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="Glases"):
        world.draw_faces(torch.arange(2), 0, {"Glases": 0.5})


def test_labels_are_celebas_and_the_worlds_own() -> None:
    labels = world.true_labels(world.draw_faces(torch.arange(5), 0))
    assert tuple(labels) == ATTRIBUTES
    assert all(value.dtype == torch.bool for value in labels.values())


def test_exclusive_labels_never_meet() -> None:
    labels = world.true_labels(world.draw_faces(torch.arange(3000), 2))
    for group in (
        ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair", "Bald"),
        ("Smiling", "Surprised", "Angry", "Sad"),
        ("Eyeglasses", "Sunglasses"),
        ("Beard", "Goatee", "5_o_Clock_Shadow", "No_Beard"),
    ):
        assert int(torch.stack([labels[name] for name in group]).sum(dim=0).max()) == 1


@pytest.mark.parametrize("label", sorted(CHANGEABLE))
def test_counterfactual_sets_its_label(label: str) -> None:
    faces = world.draw_faces(torch.arange(40), 3)
    for value in (True, False):
        changed = world.counterfactual(faces, label, value)
        truth = {**world.true_labels(changed), **own_labels(changed)}[label]
        # Makeup comes with rosy cheeks of its own.
        seen = torch.ones_like(truth)
        if label == "Rosy_Cheeks" and not value:
            seen = changed.attribute("makeup") < 0.5
        assert bool((truth == value)[seen].all())
        columns = (changed.identity.values != faces.identity.values).any(dim=0).tolist()
        moved = {name for name, each in zip(IDENTITY_NAMES, columns, strict=True) if each}
        assert moved == ({"freckles"} if label == "Freckles" else set()), "freckles are a person's own"
        if label != "Mouth_Slightly_Open":
            assert torch.equal(changed.nuisance.values, faces.nuisance.values)


def test_counterfactual_leaves_unrelated_attributes_alone() -> None:
    faces = world.draw_faces(torch.arange(40), 3)
    changed = world.counterfactual(faces, "Eyeglasses", True)
    columns = (changed.attributes.values != faces.attributes.values).any(dim=0)
    assert {name for name, moved in zip(ATTRIBUTE_NAMES, columns.tolist(), strict=True) if moved} <= {
        "eyeglasses",
        "sunglasses",
    }


def test_counterfactual_exclusions() -> None:
    faces = world.draw_faces(torch.arange(10), 0).with_attributes(sunglasses=1.0, smiling=1.0, black_hair=1.0)
    assert not bool(world.true_labels(world.counterfactual(faces, "Eyeglasses", False))["Sunglasses"].any())
    assert not bool(world.true_labels(world.counterfactual(faces, "Angry", True))["Smiling"].any())
    assert not bool(world.true_labels(world.counterfactual(faces, "Blond_Hair", True))["Black_Hair"].any())


def test_only_what_is_controllable_can_be_changed() -> None:
    with pytest.raises(ValueError, match="Attractive"):
        world.counterfactual(world.draw_faces(torch.arange(2), 0), "Attractive", True)


def test_faces_select_and_join() -> None:
    faces = world.draw_faces(torch.arange(6), 0)
    assert len(faces) == 6
    assert _same(Faces.cat([faces[:2], faces[torch.tensor([2, 3, 4, 5])]]), faces)
    assert faces.nuisance.values.shape == (6, len(NUISANCE_NAMES))
    assert _same(faces.to("cpu"), faces)
