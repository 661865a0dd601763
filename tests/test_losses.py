import math

import pytest
import torch
from torch import Tensor, nn

from keyface.losses import DirectionLoss, IdentityLoss, direction_loss, identity_loss

E1, E2, E3 = torch.eye(3)


class MeanColour(nn.Module):
    """A stand-in network: the direction of the mean colour, as a recognizer and as an encoder."""

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        return self.encode_image(images)

    def encode_image(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(images.mean(dim=(2, 3)), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.stack([{"red": E1, "green": E2, "blue": E3}[text] for text in texts])


def colour(*channels: float) -> Tensor:
    return torch.tensor(channels).view(1, 3, 1, 1).expand(1, 3, 4, 4).clone()


def test_identity_loss_by_hand() -> None:
    terms = identity_loss(
        torch.full((2, 3, 2, 2), 0.5),
        torch.zeros(2, 3, 2, 2),
        torch.stack([E1, (E1 + E2) / math.sqrt(2)]),
        torch.stack([E1, E1]),
        pixel_weight=2.0,
        identity_weight=3.0,
    )
    identity = (0 + 1 - math.sqrt(0.5)) / 2
    assert math.isclose(terms.pixel.item(), 0.5)
    assert math.isclose(terms.identity.item(), identity, abs_tol=1e-6)
    assert math.isclose(terms.total.item(), 2 * 0.5 + 3 * identity, abs_tol=1e-6)
    assert terms.each.tolist() == pytest.approx([2 * 0.5, 2 * 0.5 + 3 * (1 - math.sqrt(0.5))], abs=1e-6)


def test_identity_loss_weighs_one_to_one_and_tells_images_apart() -> None:
    images = torch.stack([torch.full((3, 2, 2), 0.5), torch.zeros(3, 2, 2)])
    terms = identity_loss(images, torch.zeros(2, 3, 2, 2), torch.stack([E1, E2]), torch.stack([E1, E1]))
    assert terms.each.tolist() == pytest.approx([0.5, 1.0])
    assert terms.total.item() == pytest.approx((0.5 + 1.0) / 2)


def test_identity_module_reaches_the_image_and_compares_with_the_original() -> None:
    reconstruction = colour(0.0, 1.0, 0.0).requires_grad_()
    terms = IdentityLoss(MeanColour())(reconstruction, colour(1.0, 0.0, 0.0), None)
    assert math.isclose(terms.identity.item(), 1.0, abs_tol=1e-6)
    assert math.isclose(terms.pixel.item(), 2 / 3, abs_tol=1e-6)
    (gradient,) = torch.autograd.grad(terms.identity, reconstruction)
    assert gradient[0, 0].sum() < 0  # more red makes it more like the original


def test_direction_loss_by_hand() -> None:
    generated = torch.stack([0.6 * E1 + 0.8 * E2])
    source = torch.stack([E1])
    terms = direction_loss(generated, source, source, E2[None], E1[None], epsilon=0.0)
    step = torch.tensor([-0.4, 0.8, 0.0])
    cosine = (step @ (E2 - E1)) / (step.norm() * math.sqrt(2))
    assert math.isclose(terms.content.item(), step.norm(), rel_tol=1e-6)
    assert math.isclose(terms.direction.item(), 1 - cosine, rel_tol=1e-5)
    assert math.isclose(terms.total.item(), 0.3 * step.norm() + 0.7 * (1 - cosine), rel_tol=1e-5)
    assert terms.each.tolist() == pytest.approx([float(0.3 * step.norm() + 0.7 * (1 - cosine))], rel=1e-5)


def test_eq_6_tells_images_apart() -> None:
    """One goes half of the text's way, the other against it; ε = 2 makes each length √(l² + 4)."""
    source, step = torch.stack([E1, E1]), E2 - E1
    generated = torch.stack([E1 + 0.5 * step, E1 - step])
    terms = direction_loss(generated, source, source, torch.stack([E2, E2]), source, epsilon=2.0)
    lengths = [0.5 * math.sqrt(2), math.sqrt(2)]
    cosines = [1.0 / math.sqrt(0.5 + 4) / math.sqrt(2 + 4), -2.0 / (2 + 4)]
    each = [0.3 * length + 0.7 * (1 - cosine) for length, cosine in zip(lengths, cosines, strict=True)]
    assert terms.each.tolist() == pytest.approx(each)
    assert terms.content.item() == pytest.approx(sum(lengths) / 2)
    assert terms.direction.item() == pytest.approx(1 - sum(cosines) / 2)
    assert terms.total.item() == pytest.approx(sum(each) / 2)


def test_guard_leaves_real_directions_as_they_are() -> None:
    arguments = (E2[None], E1[None], E1[None], E3[None], E1[None])
    exact, guarded = direction_loss(*arguments, epsilon=0.0), direction_loss(*arguments)
    assert math.isclose(exact.direction.item(), guarded.direction.item(), abs_tol=1e-5)


def test_unnormalized_directions_are_the_plain_inner_product() -> None:
    generated = torch.stack([0.6 * E1 + 0.8 * E2])
    terms = direction_loss(
        generated, E1[None], E1[None], E2[None], E1[None], normalize_directions=False, direction_weight=1.0
    )
    assert math.isclose(terms.direction.item(), 1 - (0.4 + 0.8), abs_tol=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
def test_gradients_are_finite_and_useful_where_nothing_changed(normalize: bool) -> None:
    generated = E1[None].clone().requires_grad_()
    terms = direction_loss(generated, E1[None], E1[None], E2[None], E1[None], normalize_directions=normalize)
    assert math.isclose(terms.content.item(), 0.0)
    assert math.isclose(terms.direction.item(), 1.0)
    (gradient,) = torch.autograd.grad(terms.total, generated)
    assert gradient.isfinite().all()
    torch.testing.assert_close(  # downhill is the text's direction
        nn.functional.normalize(-gradient, dim=-1), torch.tensor([[-1.0, 1.0, 0.0]]) / math.sqrt(2)
    )


def test_texts_that_do_not_differ_ask_for_no_direction() -> None:
    generated = E2[None].clone().requires_grad_()
    terms = direction_loss(generated, E1[None], E1[None], E3[None], E3[None], content_weight=0.0)
    assert math.isclose(terms.direction.item(), 1.0)
    (gradient,) = torch.autograd.grad(terms.total, generated)
    assert torch.equal(gradient, torch.zeros(1, 3))


def test_direction_module_uses_the_source_as_reference_unless_given() -> None:
    loss = DirectionLoss(MeanColour(), epsilon=0.0)
    generated, source = colour(0.0, 1.0, 0.0), colour(1.0, 0.0, 0.0)
    plain = loss(generated, source, ["green"], ["red"])
    assert math.isclose(plain.direction.item(), 0.0, abs_tol=1e-6)
    assert math.isclose(plain.content.item(), math.sqrt(2), rel_tol=1e-6)
    other = loss(generated, source, ["green"], ["red"], reference=colour(0.0, 0.0, 1.0))
    assert math.isclose(other.direction.item(), 1 - 0.5, rel_tol=1e-5)
    assert math.isclose(other.content.item(), plain.content.item())


def test_direction_module_is_finite_at_the_start_of_training() -> None:
    generated = colour(0.5, 0.2, 0.1).requires_grad_()
    terms = DirectionLoss(MeanColour())(generated, generated.detach(), ["green"], ["red"])
    (gradient,) = torch.autograd.grad(terms.total, generated)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 0


def test_eq_6_is_the_same_under_autocast() -> None:
    """The direction of a small edit is a small difference, which features of bf16 do not hold."""
    torch.manual_seed(0)
    encoder = Projection()
    source = torch.rand(2, 3, 8, 8) * 2 - 1
    generated = source + 0.01 * torch.randn_like(source)
    loss = DirectionLoss(encoder)
    with torch.no_grad():
        pictures, texts = [encoder.encode_image(x) for x in (generated, source)], ("ab", "cd")
        target, reference = (encoder.encode_text(list(text)) for text in texts)
        expected = direction_loss(pictures[0], pictures[1], pictures[1], target, reference)
    with torch.autocast("cpu", torch.bfloat16):
        ours = loss(generated, source, ["a", "b"], ["c", "d"])
    assert all(torch.equal(*pair) for pair in zip(ours, expected, strict=True))


class Shapes(MeanColour):
    """Knows shapes alone, as a network on the meta device does."""

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.empty(len(texts), 3, device="meta")


def test_eq_6_of_shapes_alone() -> None:
    """The meta device knows no autocast."""
    images = torch.empty(2, 3, 4, 4, device="meta")
    terms = DirectionLoss(Shapes())(images, images, ["red", "red"], ["blue", "blue"])
    assert (terms.total.shape, terms.each.shape) == ((), (2,))


class Projection(nn.Module):
    """A matrix product, which autocast would run in bf16."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * 8 * 8, 6)

    def encode_image(self, images: Tensor) -> Tensor:
        return nn.functional.normalize(self.linear(images.flatten(1)), dim=-1)

    def encode_text(self, texts: list[str]) -> Tensor:
        return torch.stack([torch.full((6,), float(ord(text))).log() for text in texts])


class Noting(MeanColour):
    """Notes the landmarks that it is given, and whether gradients are asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor | None, bool]] = []

    def forward(self, images: Tensor, landmarks: Tensor | None) -> Tensor:
        self.calls.append((landmarks, torch.is_grad_enabled()))
        return super().forward(images, landmarks)


def test_eq_5_weighs_one_to_one_and_aligns_both_images_by_the_original_s_landmarks() -> None:
    images = colour(0.6, 0.8, 0.0), colour(1.0, 0.0, 0.0)
    pixel, identity = (0.4 + 0.8) / 3, 1 - 0.6
    network, landmarks = Noting(), torch.ones(1, 5, 2)
    assert IdentityLoss(network)(*images, landmarks).total.item() == pytest.approx(pixel + identity)
    assert [(given is landmarks, grad) for given, grad in network.calls] == [(True, False), (True, True)]
    weighed = IdentityLoss(network, pixel_weight=2.0, identity_weight=3.0)
    assert weighed(*images, None).total.item() == pytest.approx(2 * pixel + 3 * identity)


def test_eq_6_has_the_paper_s_weights_unless_it_is_given_others() -> None:
    """A step of (-0.4, 0.8, 0) towards a text direction of (-1, 1, 0)."""
    images = colour(0.6, 0.8, 0.0), colour(1.0, 0.0, 0.0)
    length, product = math.sqrt(0.8), 0.4 + 0.8
    plain = DirectionLoss(MeanColour())(*images, ["green"], ["red"])
    cosine = product / math.sqrt(0.8 + 1e-6) / math.sqrt(2 + 1e-6)
    assert plain.total.item() == pytest.approx(0.3 * length + 0.7 * (1 - cosine), abs=1e-6)
    other = DirectionLoss(MeanColour(), 2.0, 3.0, normalize_directions=False)
    assert other(*images, ["green"], ["red"]).total.item() == pytest.approx(2 * length + 3 * (1 - product))
    soft = DirectionLoss(MeanColour(), epsilon=1.0)(*images, ["green"], ["red"])
    assert soft.direction.item() == pytest.approx(1 - product / math.sqrt(1.8) / math.sqrt(3))


def test_features_of_the_source_and_texts_are_made_without_gradients() -> None:
    asked = []

    class Encoder(MeanColour):
        def encode_image(self, images: Tensor) -> Tensor:
            asked.append(torch.is_grad_enabled())
            return super().encode_image(images)

    images = [colour(0.6, 0.8, 0.0), colour(1.0, 0.0, 0.0)]
    DirectionLoss(Encoder())(*images, ["green"], ["red"], reference=images[1])
    assert asked == [False, False, True]
