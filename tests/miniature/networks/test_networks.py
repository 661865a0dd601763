from pathlib import Path

import pytest
import torch

from keyface.faces.alignment import TEMPLATE, similarity_from_landmarks
from keyface.miniature.networks.attributes import AttributeClassifier
from keyface.miniature.networks.autoencoder import PatchAutoencoder
from keyface.miniature.networks.clip import ClipPair
from keyface.miniature.networks.face_finder import FaceFinder
from keyface.miniature.networks.recognition import IdentityNetwork
from keyface.miniature.networks.text import build_text_encoder, build_tokenizer
from keyface.miniature.networks.unet import build_scheduler, build_unet
from keyface.miniature.storage import load_network, save_network


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_all_components_make_the_linear_autoencoder_exact(images: torch.Tensor) -> None:
    network = PatchAutoencoder(latent_channels=192, width=32, depth=1)
    network.fit_components(images.repeat(4, 1, 1, 1) + 0.01 * torch.randn(16, 3, 64, 64))
    latents = network.encode(images).latent_dist.mode()
    assert latents.shape == (4, 192, 8, 8)
    torch.testing.assert_close(network.decode_linear(latents), images, atol=1e-3, rtol=0)


def test_untrained_decoder_is_the_pca(images: torch.Tensor) -> None:
    network = PatchAutoencoder(latent_channels=12, width=32, depth=1)
    network.fit_components(images)
    latents = network.encode(images).latent_dist.mode()
    torch.testing.assert_close(network.decode(latents).sample, network.decode_linear(latents))


def test_latents_have_unit_variance_on_average(images: torch.Tensor) -> None:
    network = PatchAutoencoder(latent_channels=12, width=32, depth=1)
    network.fit_components(images)
    latents = network.encode(images).latent_dist.mode()
    assert latents.var((0, 2, 3)).mean() == pytest.approx(1, abs=0.05)


def test_autoencoder_survives_a_round_trip_through_its_folder(images: torch.Tensor, tmp_path: Path) -> None:
    network = PatchAutoencoder(width=32, depth=1)
    network.fit_components(images)
    network.save_pretrained(tmp_path)
    again = PatchAutoencoder.from_pretrained(tmp_path)
    torch.testing.assert_close(again(images).sample, network(images).sample)


@pytest.mark.parametrize("architecture", ["iresnet", "vgg", "convnext", "inception"])
def test_identity_embeddings_have_unit_length(architecture: str, images: torch.Tensor) -> None:
    network = IdentityNetwork(architecture, width=8, dim=16).eval()  # type: ignore[arg-type]
    torch.testing.assert_close(network(images).norm(dim=1), torch.ones(4))


def test_aligned_network_asks_for_landmarks(images: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="needs landmarks"):
        IdentityNetwork("vgg", width=8, dim=16, aligned=True)(images)


def test_face_finder_begins_at_the_average_face_and_stays_a_similarity(images: torch.Tensor) -> None:
    finder = FaceFinder().eval()
    side = images.shape[-1]
    first = finder(images).detach()
    assert (first[:, 0] == first[0, 0]).all(), "untrained, it finds the same place in every frame"
    assert 0.3 < float(first[0, 2, 0]) / side < 0.7
    torch.nn.init.normal_(finder.head.weight, std=10.0)
    template = torch.tensor(TEMPLATE).expand(len(images), 5, 2)
    found = finder(images).detach()
    matrix = similarity_from_landmarks(template, found)
    again = template @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]
    torch.testing.assert_close(again, found, atol=1e-3, rtol=1e-4)


def test_a_network_that_finds_faces_needs_no_landmarks(images: torch.Tensor) -> None:
    network = IdentityNetwork("vgg", width=8, dim=16, finds_faces=True).eval()
    torch.testing.assert_close(network(images, torch.zeros(4, 5, 2)), network(images))


def test_classifier_names_its_predictions(images: torch.Tensor) -> None:
    network = AttributeClassifier(["Smiling", "Young"], width=8).eval()
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor([100.0, -100.0]))
    predicted = network.predict(images)
    assert predicted["Smiling"].all()
    assert not predicted["Young"].any()


def test_clip_pair_embeds_words_and_pictures_in_one_space(images: torch.Tensor) -> None:
    pair = ClipPair(build_tokenizer(["a", "man"]), dim=16, width=8, text_width=16).eval()
    image, text = pair.encode_image(images), pair.encode_text(["a man", "man"])
    assert image.shape == (4, 16)
    assert text.shape == (2, 16)
    torch.testing.assert_close(text.norm(dim=1), torch.ones(2))


def test_tokenizer_keeps_words_whole_and_marks_unknown_ones() -> None:
    tokenizer = build_tokenizer(["a", "man", ","], length=8)
    tokens = tokenizer(["A man, bald"], padding="max_length", truncation=True).input_ids[0]
    assert tokenizer.convert_ids_to_tokens(tokens) == [
        "<start>", "a", "man", ",", "<unknown>", "<end>", "<pad>", "<pad>",
    ]  # fmt: skip


def test_unet_and_text_encoder_fit_together() -> None:
    tokenizer = build_tokenizer(["a", "man"], length=8)
    context = build_text_encoder(tokenizer, width=32, layers=1, heads=2)(
        tokenizer(["a man"], padding="max_length", return_tensors="pt").input_ids
    ).last_hidden_state
    unet = build_unet(12, 16, (32, 32, 32), text_width=32)
    assert unet(torch.zeros(1, 12, 16, 16), 5, context).sample.shape == (1, 12, 16, 16)


def test_last_timestep_carries_no_signal() -> None:
    assert float(build_scheduler().alphas_cumprod[-1]) == 0


def test_half_precision_weights_come_back(tmp_path: Path) -> None:
    network = IdentityNetwork("vgg", width=8, dim=16)
    save_network(network, tmp_path)
    again = load_network(IdentityNetwork("vgg", width=8, dim=16), tmp_path)
    for name, value in again.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert not any(p.requires_grad for p in again.parameters())


def test_missing_weights_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_network(torch.nn.Linear(1, 1), tmp_path)
