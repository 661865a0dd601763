"""ε2's loss on pairs, by hand, and what it learns from them."""

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from keyface.diffusion.backbone import Backbone
from keyface.diffusion.inversion import invert
from keyface.diffusion.schedule import Grid
from keyface.diffusion.solvers import Solver, solver_step
from keyface.editing.parts import Injection
from keyface.editing.settings import EditSettings
from keyface.lightning_modules.objectives.pair_cells import DIFFERENT, SMALLEST_CHANGE
from keyface.lightning_modules.objectives.pairs import (
    BEND,
    LEAST_NOISE,
    Edited,
    Pairs,
    PairsLoss,
    Start,
    edits_between,
)
from keyface.plugins import edits

ALONE = EditSettings(steps=6, strength=0.7, injection=Injection(enabled=False))
ONE = Pairs(identity=None, kept_share=0.0)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def edited(backbone: Backbone, batch: dict[str, Any]) -> Edited:
    before = backbone.encode_images(batch["image"]).detach()
    after = before.clone()
    after[:, :, :5] += 0.8
    source = backbone.encode_prompts(["a man", "a woman"]).detach()
    target = backbone.encode_prompts(["a man wearing glasses", "a woman with glasses"]).detach()
    return Edited(before, after, source, target, [ALONE, ALONE])


def with_settings(edited: Edited, settings: EditSettings) -> Edited:
    return edited._replace(settings=[settings] * len(edited.settings))


@pytest.mark.parametrize(
    ("solver", "kept_share", "strength"),
    [("ddim", 0.0, 0.7), ("dpmpp_2m", 0.0, 0.7), ("dpmpp_2m", 0.999, 0.7), ("dpmpp_2m", 0.0, 1.0)],
)
def test_errors_by_hand(
    backbone: Backbone, edited: Edited, solver: Solver, kept_share: float, strength: float
) -> None:
    """Each picture edited alone, from where its start was drawn, step by step."""
    loss = PairsLoss(Pairs(identity=None, kept_share=kept_share), backbone)
    edited = with_settings(edited, replace(ALONE, solver=solver, strength=strength))
    grid = Grid.of(backbone.scheduler, 6)
    for seed in range(4):
        with torch.no_grad():
            found = loss(backbone.unet, edited, seeded(seed))
        whole, changed, outside = [], [], []
        for row, (shift, _) in enumerate(torch.rand(2, 2, generator=seeded(seed)).tolist()):
            before, after = edited.before[row : row + 1], edited.after[row : row + 1]
            source, target = edited.source[row : row + 1], edited.target[row : row + 1]
            text, wanted = (source, before) if kept_share else (target, after)
            differs = (after - before).abs().amax(1) > DIFFERENT
            change = max(float(((after - before) ** 2).mean(1)[differs].mean()), SMALLEST_CHANGE)
            start = min(round(strength * 6) + int(3 * shift) - 1, 6)
            latents = invert(backbone.unet, backbone.scheduler, before, source, 6, 1, until=start)[-1]
            former = None
            for level in range(start, 0, -1):
                with torch.no_grad():
                    v = backbone.unet(latents, grid.timestep(level), encoder_hidden_states=text).sample
                alpha = torch.tensor(grid.alphas[level])
                distance = (alpha.sqrt() * latents - (1 - alpha).sqrt() * v - wanted) / BEND
                size = 2 * BEND**2 * ((1 + distance**2).sqrt() - 1)
                size = size.mean(1) / max(float((1 - alpha).sqrt()), LEAST_NOISE) ** 2
                whole.append(size.mean())
                changed.append(size[differs].mean() / change)
                outside.append(size[~differs].sum() / size.numel())
                latents, former = solver_step(solver, grid, latents, v, level, former)
        expected = [sum(each) / len(each) for each in (whole, changed, outside)]
        torch.testing.assert_close(found.changed, expected[1], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(found.outside, expected[2], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(
            found.total, expected[0] + 0.5 * expected[1] + expected[2], rtol=1e-3, atol=1e-5
        )


def test_pictures_with_other_settings_go_their_own_ways(
    backbone: Backbone, edited: Edited, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One begins later than the other and is injected otherwise: together they are what each is alone."""
    settings = [
        EditSettings(steps=6, solver="dpmpp_2m", injection=Injection(mode="kv", until=0.5)),
        EditSettings(steps=6, solver="dpmpp_2m", injection=Injection(until=1.0)),
    ]
    levels = [6, 3]

    def errors(*rows: int) -> Tensor:
        starts = iter(rows)
        monkeypatch.setattr(PairsLoss, "_draw", lambda *_: Start(levels[next(starts)], False))
        some = Edited(*(part[list(rows)] for part in edited[:4]), [settings[row] for row in rows])
        with torch.no_grad():
            return torch.stack(PairsLoss(ONE, backbone)(backbone.unet, some, seeded()))

    torch.testing.assert_close(errors(0, 1), (6 * errors(0) + 3 * errors(1)) / 9)


def test_weights_count(backbone: Backbone, edited: Edited) -> None:
    def total(**weights: float) -> Tensor:
        loss = PairsLoss(Pairs(identity=None, **weights), backbone)
        with torch.no_grad():
            return loss(backbone.unet, edited, seeded())

    plain, both = (
        total(changed_weight=0.0, outside_weight=0.0),
        total(changed_weight=2.0, outside_weight=3.0),
    )
    torch.testing.assert_close(both.total, plain.total + 2 * plain.changed + 3 * plain.outside)


def test_what_is_injected_is_not_eps2s_own(backbone: Backbone, edited: Edited) -> None:
    """With ε1's queries and keys, ε2's own say nothing in the decoder; without, they do."""
    loss, student = PairsLoss(ONE, backbone), copy.deepcopy(backbone.unet)
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "up_blocks" in name and "attn1.to_q" in name:
                parameter.add_(torch.randn(parameter.shape, generator=seeded(7)))

        def differs(injection: Injection) -> bool:
            way = with_settings(edited, EditSettings(steps=6, strength=0.7, injection=injection))
            first, second = (loss(unet, way, seeded(3)).total for unet in (backbone.unet, student))
            return not torch.allclose(first, second, rtol=1e-5, atol=0)

        assert differs(Injection(enabled=False))
        assert differs(Injection(mode="kv", until=1.0))
        assert not differs(Injection(mode="qk", until=1.0))


def test_steps_after_injection_take_none(backbone: Backbone, edited: Edited) -> None:
    """Injected until 40 % of the steps, levels below have ε2 alone, as in editing."""
    ran: list[int] = []
    loss = PairsLoss(Pairs(identity=None, kept_share=0.5), backbone)
    identity = copy.deepcopy(backbone.unet)
    identity.register_forward_hook(lambda _, inputs, __: ran.append(int(inputs[1])))
    loss.identity = identity
    way = with_settings(edited, EditSettings(steps=10, strength=0.5, injection=Injection(until=0.4)))
    with torch.no_grad():
        for seed in range(6):
            loss(backbone.unet, way, seeded(seed))
    grid = Grid.of(backbone.scheduler, 10)
    assert set(ran) == {grid.timestep(level) for level in (3, 4, 5, 6)}, "starts are 4, 5 and 6"


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
def test_gradients_stay_within_a_step(backbone: Backbone, edited: Edited, solver: Solver) -> None:
    """The way that ε2 went so far is a fact to it: no step answers for the ones before."""
    edited = with_settings(edited, replace(ALONE, solver=solver))
    student, depends = copy.deepcopy(backbone.unet).requires_grad_(True), []
    student.register_forward_pre_hook(lambda _, inputs: depends.append(inputs[0].requires_grad))
    assert PairsLoss(ONE, backbone)(student, edited, seeded()).total.requires_grad
    assert len(depends) >= 3
    assert not any(depends)


def test_it_learns_the_edit(backbone: Backbone, edited: Edited) -> None:
    loss, student = PairsLoss(ONE, backbone), copy.deepcopy(backbone.unet).train()
    student.requires_grad_(True)
    optimizer = torch.optim.Adam(student.parameters(), 3e-3)
    generator = seeded()
    errors = []
    for _ in range(40):
        terms = loss(student, edited, generator)
        optimizer.zero_grad()
        terms.total.backward()
        optimizer.step()
        errors.append(float(terms.changed.detach()))
    assert sum(errors[-8:]) < 0.6 * sum(errors[:8])


def test_edits_between_are_those_that_the_twin_shows() -> None:
    categories = [edits[name] for name in ("glasses", "no-glasses", "smile", "no-beard", "old")]
    before = {"Eyeglasses": False, "Smiling": True, "No_Beard": False, "Young": True}
    after = {"Eyeglasses": True, "Smiling": True, "No_Beard": True, "Young": False}
    there = [category.name for category in edits_between(before, after, categories)]
    assert there == ["glasses", "no-beard", "old"]
    assert [category.name for category in edits_between(after, before, categories)] == ["no-glasses"]


@pytest.mark.parametrize("wrong", [{"steps_between": -1}, {"kept_share": 1.0}])
def test_settings_that_make_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="pairs: steps_between >= 0"):
        Pairs(**wrong)


def test_an_identity_branch_that_is_not_there(backbone: Backbone, tmp_path: Any) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder"):
        PairsLoss(Pairs(identity=str(tmp_path / "none")), backbone)
