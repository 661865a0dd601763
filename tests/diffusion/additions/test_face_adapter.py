"""IP-Adapter-FaceID against diffusers' own pipeline, with weights in the published names."""

import pytest
import torch
from safetensors.torch import save_file
from tiny_diffusion import build_unet, make_text_encoder

from keyface.diffusion.additions.face_adapter import FaceAdapter
from keyface.diffusion.additions.weighted import Weighted

EMBEDDING, TOKENS, WIDTH = 12, 3, 16


def published(unet, lora: bool) -> dict[str, dict[str, torch.Tensor]]:
    """The two parts of such a file, by the names that they are published with."""
    generator = torch.Generator().manual_seed(8)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * 0.3

    hidden = 2 * EMBEDDING
    projection = {
        "proj.0.weight": random(hidden, EMBEDDING),
        "proj.0.bias": random(hidden),
        "proj.2.weight": random(TOKENS * WIDTH, hidden),
        "proj.2.bias": random(TOKENS * WIDTH),
        "norm.weight": 1 + random(WIDTH),
        "norm.bias": random(WIDTH),
    }
    attention = {}
    for number, name in enumerate(unet.attn_processors):
        layer = unet.get_submodule(name.removesuffix(".processor"))
        inner = layer.to_q.out_features
        if "attn2" in name:
            for part in ("to_k_ip", "to_v_ip"):
                attention[f"{number}.{part}.weight"] = random(inner, WIDTH)
        for part, module in (
            (("to_q", layer.to_q), ("to_k", layer.to_k), ("to_v", layer.to_v)) if lora else ()
        ):
            attention[f"{number}.{part}_lora.down.weight"] = random(2, module.in_features)
            attention[f"{number}.{part}_lora.up.weight"] = random(module.out_features, 2)
        if lora:
            attention[f"{number}.to_out_lora.down.weight"] = random(2, inner)
            attention[f"{number}.to_out_lora.up.weight"] = random(inner, 2)
    return {"image_proj": projection, "ip_adapter": attention}


def write(parts, path):
    save_file({f"{part}.{name}": w for part, named in parts.items() for name, w in named.items()}, path)
    return path


@pytest.mark.parametrize("lora", [False, True])
def test_sampling_equals_diffusers_pipeline(lora, make_pipeline, parts_of, theirs, ours, tmp_path):
    pipeline, untouched = make_pipeline(), make_pipeline()
    parts = published(pipeline.unet, lora)
    file = write(parts, tmp_path / "face.safetensors")
    embedding = torch.nn.functional.normalize(
        torch.randn(1, EMBEDDING, generator=torch.manual_seed(3)), dim=-1
    )
    copies = {part: {n: w.clone() for n, w in named.items()} for part, named in parts.items()}
    pipeline.load_ip_adapter(copies, subfolder="", weight_name="", image_encoder_folder=None)
    pipeline.set_ip_adapter_scale(0.6)
    both = torch.cat([torch.zeros_like(embedding), embedding])[:, None]
    expected = theirs(pipeline, ip_adapter_image_embeds=[both])
    backbone = parts_of(untouched)
    second = build_unet(5)
    adapter = FaceAdapter.load(
        Weighted(file, 0.6), [backbone.unet, second, backbone.unet], backbone.text_encoder, 8
    )
    reference = adapter.reference(embedding)
    assert reference.face.shape == (1, TOKENS, WIDTH)
    found = ours(backbone, face=reference)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    nobody = adapter.reference(torch.zeros_like(embedding))
    torch.testing.assert_close(nobody.face, reference.nobody)
    assert (found - ours(backbone, face=nobody)).abs().max() > 1e-2, "the face says something"
    assert sum("attn2.processor.to_k_ip" in name for name in second.state_dict()) == 7


def test_strength_zero_leaves_the_network_as_it_was(make_pipeline, parts_of, ours, tmp_path):
    backbone, before = parts_of(make_pipeline()), parts_of(make_pipeline())
    file = write(published(backbone.unet, False), tmp_path / "face.safetensors")
    adapter = FaceAdapter.load(Weighted(file, 0.0), [backbone.unet], backbone.text_encoder, 8)
    face = adapter.reference(torch.ones(1, EMBEDDING))
    torch.testing.assert_close(ours(backbone, face=face), ours(before), rtol=1e-4, atol=1e-5)


def test_prompts_without_a_face_are_read_as_without_the_adapter(make_pipeline, parts_of, ours, tmp_path):
    backbone, before = parts_of(make_pipeline()), parts_of(make_pipeline())
    file = write(published(backbone.unet, False), tmp_path / "face.safetensors")
    FaceAdapter.load(Weighted(file), [backbone.unet], backbone.text_encoder, 8)
    torch.testing.assert_close(ours(backbone), ours(before), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p["image_proj"].update(latents=torch.ones(1)), "an IP-Adapter-Plus; IP-Adapter-FaceID is"),
        (lambda p: p["image_proj"].pop("norm.weight"), "not an IP-Adapter-FaceID"),
        (lambda p: p["image_proj"].pop("proj.2.bias"), "not an IP-Adapter-FaceID"),
        (lambda p: p["ip_adapter"].pop("1.to_k_ip.weight"), "another U-Net: 13 .* this one has 14"),
        (lambda p: p["ip_adapter"].update({"1.to_k_ip.weight": torch.ones(4, 4)}), "for another U-Net"),
        (lambda p: p["ip_adapter"]["1.to_k_ip.weight"].fill_(float("nan")), "NaN or infinity"),
    ],
)  # fmt: skip
def test_others_are_refused_and_nothing_changes(change, told, tmp_path):
    unet = build_unet()
    parts = published(unet, True)
    change(parts)
    file = write(parts, tmp_path / "face.safetensors")
    with pytest.raises(ValueError, match=f"{file}: .*{told}"):
        FaceAdapter.load(Weighted(file), [unet], make_text_encoder(40), 8)
    torch.testing.assert_close(unet.state_dict(), build_unet().state_dict(), rtol=0, atol=0)


def test_pickles_are_not_opened_and_other_recognizers_refused(tmp_path):
    (tmp_path / "face.bin").write_bytes(b"cos\nsystem\n")
    with pytest.raises(ValueError, match=r"only \.safetensors is read.*convert it: python -c"):
        FaceAdapter.load(Weighted(tmp_path / "face.bin"), [build_unet()], None, 8)
    unet = build_unet()
    file = write(published(unet, False), tmp_path / "face.safetensors")
    adapter = FaceAdapter.load(Weighted(file), [unet], None, 8)
    with pytest.raises(ValueError, match="for embeddings of length 12, the recognizer's are of length 5"):
        adapter.reference(torch.ones(1, 5))
