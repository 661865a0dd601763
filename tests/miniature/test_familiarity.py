import torch

from keyface.miniature import zoo
from keyface.miniature.familiarity import LIMIT, surprise
from keyface.miniature.measure import held_out_faces
from keyface.miniature.renderer import render_images


def test_rendered_faces_are_familiar_and_noise_is_not() -> None:
    base = zoo.backbone()
    faces = surprise(base, render_images(held_out_faces(8, 1), 128))
    assert bool((faces < LIMIT).all())
    noise = torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert bool((surprise(base, noise) > LIMIT).all())
