import torch
from skimage.data import astronaut
from torch.nn.functional import interpolate

from keyface.miniature import zoo
from keyface.miniature.familiarity import LIMIT, surprise
from keyface.miniature.measure import held_out_faces
from keyface.miniature.rendering.renderer import render_images


def test_rendered_faces_are_familiar_and_a_photograph_is_not() -> None:
    base = zoo.backbone()
    faces = surprise(base, render_images(held_out_faces(16, 1), 256))
    # One still may be odd; `keyface edit` takes the median over a clip.
    assert float(faces.quantile(0.9)) < LIMIT
    photo = torch.from_numpy(astronaut()[0:200, 124:324].copy()).permute(2, 0, 1).float() / 127.5 - 1
    assert float(surprise(base, interpolate(photo[None], (256, 256), mode="area"))) > LIMIT
