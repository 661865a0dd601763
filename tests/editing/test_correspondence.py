import pytest
import torch
import torch.nn.functional as F

from keyface.diffusion.backbone import MATCHED_LAYERS
from keyface.editing.attention import processors
from keyface.editing.correspondence import (
    Correspondences,
    TokenRecorder,
    descriptor_sizes,
    displacement_penalty,
    nearest_tokens,
    resize_field,
    token_grid,
)
from keyface.resume.memory_maps import MemoryMaps


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_a_permutation_is_found():
    keys, permutation = unit(1, 64, 16), torch.randperm(64, generator=torch.Generator().manual_seed(1))
    tokens = F.normalize(keys[:, permutation] + 0.05 * unit(1, 64, 16, seed=2), dim=-1)
    assert torch.equal(nearest_tokens(tokens, keys)[0], permutation)


def test_a_translation_is_found():
    keys = unit(8, 8, 16)
    tokens = keys.roll((1, 2), dims=(0, 1))
    found = nearest_tokens(tokens.flatten(0, 1)[None], keys.flatten(0, 1)[None])[0].view(8, 8)
    cells = torch.arange(64).view(8, 8)
    assert torch.equal(found, cells.roll((1, 2), dims=(0, 1)))


def test_locality_decides_between_equals():
    same = unit(1, 1, 16).expand(1, 16, 16)
    penalty = displacement_penalty((4, 4), 0.1)
    assert penalty[0, 3] == pytest.approx(0.1 * (3 / 4) ** 2)
    assert penalty[0, 5] == pytest.approx(0.1 * 2 / 16)
    assert torch.equal(nearest_tokens(same, same, penalty)[0], torch.arange(16))


def test_token_grid():
    assert token_grid((16, 16), 64) == (8, 8)
    assert token_grid((8, 16), 32) == (4, 8)
    with pytest.raises(ValueError, match="do not tile"):
        token_grid((8, 16), 33)


def test_fields_keep_their_displacement_at_other_sizes():
    coarse = torch.arange(16).view(4, 4).roll(1, dims=1).flatten()
    fine = resize_field(coarse, (4, 4), (8, 8)).view(8, 8)
    inner = torch.arange(64).view(8, 8)
    assert torch.equal(fine[:, 2:], inner[:, :-2])
    assert torch.equal(resize_field(fine.flatten(), (8, 8), (4, 4)), coarse)


@pytest.mark.parametrize(
    ("grid", "to"), [((2, 3), (4, 6)), ((4, 6), (2, 3)), ((3, 5), (2, 4)), ((2, 3), (3, 5))]
)
def test_a_field_of_any_shape_cell_by_cell(grid, to):
    """The cell that a cell lies in, where that goes, and the same displacement in the new grid's cells."""
    cells = grid[0] * grid[1]
    field = torch.randint(cells, (3, cells), generator=torch.Generator().manual_seed(0))
    expected = []
    for indices in field.tolist():
        for row, column in ((r, c) for r in range(to[0]) for c in range(to[1])):
            own = [row * grid[0] // to[0], column * grid[1] // to[1]]
            goes = divmod(indices[own[0] * grid[1] + own[1]], grid[1])
            moved = [(goes[i] - own[i]) * to[i] // grid[i] for i in range(2)]
            expected.append((row + moved[0]) * to[1] + column + moved[1])
    found = resize_field(field, grid, to)
    assert found.dtype == torch.int64
    assert found.flatten().tolist() == expected
    assert 0 <= min(expected) <= max(expected) < to[0] * to[1]
    assert resize_field(field.to("meta"), grid, to).device.type == "meta"


def test_recorder_gives_unit_descriptors_of_chosen_levels(backbone, make_unet):
    unet, recorder = make_unet(), TokenRecorder([2])
    text, latents = torch.randn(2, 8, 16), torch.randn(2, 4, 8, 8)
    with torch.no_grad(), processors(unet, MATCHED_LAYERS, recorder.make):
        for level in (1, 2, 3):
            recorder.before_level(level)
            seen = unet(latents, 100 * level, encoder_hidden_states=text).sample
    with torch.no_grad():
        torch.testing.assert_close(seen, unet(latents, 300, encoder_hidden_states=text).sample)
    descriptors = recorder.descriptors()
    # 16 tokens: up_blocks.0 has two layers of width 32, the middle one; 64: up_blocks.1 two of 16.
    assert {size: d.shape for size, d in descriptors.items()} == {16: (2, 16, 96), 64: (2, 64, 32)}
    assert descriptor_sizes(backbone, unet, (8, 8), levels=1) == {16: 96, 64: 32}
    for tokens in descriptors.values():
        torch.testing.assert_close(tokens.norm(dim=-1), torch.ones(tokens.shape[:2]))
    assert recorder.descriptors() == {}


def test_stored_fields_are_the_matched_ones(tmp_path):
    keys = unit(1, 64, 16).expand(2, -1, -1)
    shifted = keys.view(2, 8, 8, 16).roll(1, dims=2).flatten(1, 2)
    files = MemoryMaps(tmp_path).allocate(Correspondences.layout(5, 2, {64: 16}))
    store = Correspondences([0, 4], (8, 8), 0.0, files)
    store.put_descriptors([0, 4], {64: torch.stack([keys[0], shifted[0]])})
    pairs = [(0, 4), (0, 4)]
    fields = store.match(pairs, {64: keys})
    store.put_fields([1, 2], fields)
    found = store.fields([2], torch.device("cpu"))[64]
    cells = torch.arange(64).view(8, 8)
    assert torch.equal(found[0, 0], cells.flatten())
    assert torch.equal(found[0, 1].view(8, 8), cells.roll(-1, dims=1))
    assert store.at({64: found}, 16).shape == (1, 2, 16)


def test_locality_counts_where_fields_are_matched(tmp_path):
    """Tokens that all look alike stay where they are; what is matched is on the descriptors' device."""
    files = MemoryMaps(tmp_path).allocate(Correspondences.layout(5, 2, {16: 4}))
    store, same = Correspondences([0, 4], (4, 4), 1.0, files), unit(1, 1, 4).expand(2, 16, 4)
    store.put_descriptors([0, 4], {16: same})
    assert torch.equal(store.match([(0, 4)], {16: same[:1]})[16], torch.arange(16).expand(1, 2, 16))
    elsewhere = Correspondences([0, 4], (4, 4), 1.0, files)
    assert elsewhere.match([(0, 4)], {16: same[:1].to("meta")})[16].device.type == "meta"


def test_indices_count_32768_tokens():
    layout = Correspondences.layout(3, 1, {32768: 2})
    assert layout == {
        "descriptors-32768": ((1, 32768, 2), torch.float16),
        "field-32768": ((3, 2, 32768), torch.int16),
    }
    with pytest.raises(ValueError, match="32769 tokens"):
        Correspondences.layout(3, 1, {32769: 2})
