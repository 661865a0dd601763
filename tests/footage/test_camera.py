"""A moving camera's views and their flow, against pictures whose values are known everywhere."""

import torch

from keyface.footage.camera import Camera
from keyface.metrics.temporal import temporal_loss, warp

SIZE = 40


def ramps() -> torch.Tensor:
    """A picture whose two channels are the pixels' own x and y, from -1 to 1."""
    places = (torch.arange(SIZE) + 0.5) / SIZE * 2 - 1
    return torch.stack(torch.meshgrid(places, places, indexing="xy"))[None]


def test_a_view_by_hand() -> None:
    """Half the picture's side, its centre a quarter to the right and a tenth up."""
    camera = Camera(torch.tensor([0.5]), torch.tensor([[0.25, -0.1]]), SIZE)
    (view,) = camera.film(ramps())
    assert view.shape == (2, SIZE, SIZE)
    for column, row in ((0, 0), (13, 27), (39, 39)):
        x, y = ((place + 0.5) / SIZE * 2 - 1 for place in (column, row))
        wanted = torch.tensor([0.5 * x + 0.25, 0.5 * y - 0.1])
        assert torch.allclose(view[:, row, column], wanted, atol=1e-5)


def test_flow_by_hand() -> None:
    """A tenth of the picture to the right is a fifth of half of it: everything goes 8 of 40 pixels left."""
    camera = Camera(torch.tensor([0.5, 0.5]), torch.tensor([[0.0, 0.0], [0.2, 0.0]]), SIZE)
    flow, valid = camera.flow()
    assert torch.allclose(flow[0, 0], torch.full((SIZE, SIZE), -8.0), atol=1e-4)
    assert torch.allclose(flow[0, 1], torch.zeros(SIZE, SIZE), atol=1e-4)
    assert not valid[0, :, :8].any()
    assert valid[0, :, 8:].all()


def test_a_round_stays_in_the_picture_and_its_flow_holds() -> None:
    camera = Camera.round(8, SIZE)
    assert bool((camera.centres.abs() + camera.sides[:, None] <= 1).all())
    views = camera.film(ramps())
    flow, valid = camera.flow()
    assert float(flow.abs().amax()) > 0.5
    warped, inside = warp(views[1:], flow)
    seen = (valid & inside)[:, None].expand_as(warped)
    assert torch.allclose(warped[seen], views[:-1][seen], atol=1e-4)
    assert float(temporal_loss(views, flow, valid)) < 1e-4 < float(temporal_loss(views, flow * 0, valid))
