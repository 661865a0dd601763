"""The functions of built-in categories, on rendered faces whose truth is known."""

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.faces.regions import region_mask
from keyface.miniature.population import world
from keyface.miniature.population.labels import counterfactual, own_labels, true_labels
from keyface.miniature.rendering.renderer import render
from keyface.plugins import edits
from keyface.plugins.masks import free_masks

SIZE = 128
FACES = world.draw_faces(world.HELD_OUT + 80_000 + torch.arange(48), seed=3)
"""Others than those on which the numbers were chosen."""


def test_the_mask_of_glasses_holds_glasses_and_leaves_the_mouth_alone() -> None:
    bare = counterfactual(FACES, "Eyeglasses", False)
    before, after = render(bare, SIZE), render(counterfactual(bare, "Eyeglasses", True), SIZE)

    def regions(names: tuple[str, ...]) -> Tensor:
        return region_mask(before.mask, names)[:, None].float()

    glasses = edits["glasses"]
    mask = free_masks([glasses], before.image, regions)[:, 0] > 0.5  # type: ignore[arg-type]
    changed = (after.image - before.image).abs().amax(dim=1) > 0.1
    held = (changed & mask).flatten(1).sum(dim=1) / changed.flatten(1).sum(dim=1)
    assert float(held.min()) > 0.95, "rims on bangs, temples on hair and ears"
    wide = region_mask(before.mask, glasses.regions)
    assert float(mask.sum() / wide.sum()) < 0.5, "the regions hold the whole skin and hair"
    lips = region_mask(before.mask, ("mouth", "u_lip", "l_lip"))
    below = lips.any(dim=2).int().argmax(dim=1)  # first row of the lips
    rows = torch.arange(SIZE)[None, :, None] >= below[:, None, None]
    assert not (mask & rows)[lips.any(dim=(1, 2))].any()


def test_where_one_eye_is_seen_glasses_reach_all_across() -> None:
    skin, eye = torch.ones(1, 1, 30, 30), torch.zeros(1, 1, 30, 30)
    eye[..., 14:16, 3:8] = 1  # of 5 columns, with its middle at row 14.5

    def regions(names: tuple[str, ...]) -> Tensor:
        found = torch.zeros(1, 1, 30, 30)
        for name, mask in (("skin", skin), ("l_eye", eye)):
            found = found.maximum(mask) if name in names else found
        return found

    mask = free_masks([edits["glasses"]], torch.zeros(1, 3, 30, 30), regions)[0, 0]  # type: ignore[arg-type]
    rows = mask.any(dim=1).nonzero()[:, 0].tolist()
    assert rows == list(range(11, 19)), "3.6 rows above and 4.2 below, .3 and .35 of three eyes' width"
    assert mask[rows].all()


def test_without_eyes_glasses_have_their_regions() -> None:
    images = torch.zeros(1, 3, 8, 8)
    skin = torch.zeros(1, 1, 8, 8)
    skin[..., 2:6, :] = 1

    def regions(names: tuple[str, ...]) -> Tensor:
        return skin if "skin" in names else torch.zeros(1, 1, 8, 8)

    assert torch.equal(free_masks([edits["glasses"]], images, regions), skin)  # type: ignore[arg-type]
    everywhere = torch.ones(1, 1, 8, 8)
    found = free_masks([edits["glasses"]], images, lambda names: everywhere)
    assert torch.equal(found, everywhere), "nothing finds regions there"


def test_the_judge_of_freckles_tells_the_truth() -> None:
    judge = edits["freckles"].judge
    assert judge is not None
    on, off = (counterfactual(FACES, "Freckles", value) for value in (True, False))
    assert own_labels(on)["Freckles"].all()
    assert not own_labels(off)["Freckles"].any()
    seen, unseen = judge(render(on, SIZE).image), judge(render(off, SIZE).image)
    assert float((seen >= 0.5).float().mean()) > 0.95
    assert float((unseen < 0.5).float().mean()) > 0.93
    larger = F.interpolate(render(on[:8], SIZE).image, scale_factor=2.0, mode="bicubic")
    assert float((judge(larger) >= 0.5).float().mean()) > 0.8, "at another size"


def test_freckles_change_nothing_else() -> None:
    on, off = (true_labels(counterfactual(FACES, "Freckles", value)) for value in (True, False))
    assert all(torch.equal(on[name], off[name]) for name in on)
    assert "Freckles" not in on, "networks and shards have CelebA's labels"


def test_the_loss_of_freckles_is_about_tone_and_not_about_spots() -> None:
    loss = edits["freckles"].loss
    assert loss is not None
    source = torch.zeros(2, 3, 32, 32)
    spots = source.clone()
    spots[:, :, ::2, ::2], spots[:, :, 1::2, 1::2] = 0.4, -0.4  # of mean 0 in each cell of 2 x 2
    assert torch.allclose(loss(spots, source), torch.zeros(2), atol=1e-7)
    tan = source.clone()
    tan[1] -= 0.2  # a tenth of the range, times the weight of one half
    assert torch.allclose(loss(tan, source), torch.tensor([0.0, 0.05]))
    learnt = tan.requires_grad_()
    loss(learnt, source).sum().backward()
    assert learnt.grad is not None
    assert learnt.grad[1].abs().sum() > 0
