"""Which token of a keyframe a frame's token comes from, found in U-Net features during the inversion."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from keyface.diffusion.protocol import EditableModel, Network
from keyface.editing.attention import attend, finish, self_attention
from keyface.resume.memory_maps import Layout, Shape

MAXIMUM_TOKENS = torch.iinfo(torch.int16).max + 1

_DESCRIPTORS, _FIELD = "descriptors-", "field-"


class TokenRecorder:
    """Keeps what attn1 layers are given, at the chosen levels of an inversion.

    Set `make` as the processors of the inverting U-Net, tell `before_level` each level, take `descriptors`
    at the end.
    """

    def __init__(self, levels: Sequence[int]) -> None:
        self.levels = frozenset(levels)
        self.level = 0
        self._processors: list[_RecordTokens] = []
        self._tokens: dict[tuple[int, str], Tensor] = {}

    def before_level(self, level: int) -> None:
        """Take note that the U-Net is about to run at `level`; of several runs the last one counts."""
        self._collect()
        self.level = level

    def make(self, name: str) -> "_RecordTokens":
        """Return the processor of the layer `name`."""
        self._processors.append(_RecordTokens(name))
        return self._processors[-1]

    def _collect(self) -> None:
        """Take the layers' tokens of the level that the U-Net has just run at, if it is one of the chosen."""
        for each in self._processors:
            if self.level in self.levels and each.tokens is not None:
                self._tokens[self.level, each.name] = each.tokens
            each.tokens = None

    def descriptors(self) -> dict[int, Tensor]:
        """Return unit-length descriptors (B, S, D) by number of tokens S, and forget the tokens.

        Every layer and level counts alike: each is normalised, then all of one size are joined.
        """
        self._collect()
        parts: dict[int, list[Tensor]] = {}
        for _, tokens in sorted(self._tokens.items()):
            parts.setdefault(tokens.shape[1], []).append(F.normalize(tokens.float(), dim=-1))
        self._tokens.clear()
        return {size: torch.cat(part, dim=-1) / math.sqrt(len(part)) for size, part in parts.items()}


def descriptor_sizes(
    model: EditableModel, network: Network, latent_size: tuple[int, int], levels: int
) -> dict[int, int]:
    """Return the length D of the descriptors of a recorder of so many levels, by number of tokens S.

    Known before anything runs, so that files can be made.
    """
    found: dict[int, int] = {}
    for name, module in self_attention(network, model.matched_layers).items():
        tokens = model.token_count(name, latent_size)
        found[tokens] = found.get(tokens, 0) + levels * int(module.query_dim)
    return found


class _RecordTokens:
    """Ordinary self-attention that keeps its tokens, of each run anew.

    It knows of no level, so that a compiled U-Net has one graph for all of them.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.tokens: Tensor | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Keep the tokens (B, S, C), and attend: → output of the same shape."""
        self.tokens = hidden_states
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        return finish(attn, attend(attn, query, key, value))


def nearest_tokens(tokens: Tensor, keys: Tensor, penalty: Tensor | None = None) -> Tensor:
    """Return the most similar key of each token: argmax over s' of ⟨token_s, key_s'⟩ − penalty_ss'.

    Args:
        tokens: (B, S, D), unit length.
        keys: (B, S', D), unit length.
        penalty: (S, S'), or None.

    Returns:
        (B, S), int64.
    """
    similarity = tokens @ keys.transpose(-1, -2)
    if penalty is not None:
        similarity -= penalty
    return similarity.argmax(dim=-1)


def displacement_penalty(grid: tuple[int, int], locality: float) -> Tensor:
    """Return the cost (S, S), `locality` · d², of a displacement of d image sides; tokens by rows."""
    height, width = grid
    rows = (torch.arange(height) / height).repeat_interleave(width)
    columns = (torch.arange(width) / width).repeat(height)
    squared = (rows[:, None] - rows[None]) ** 2 + (columns[:, None] - columns[None]) ** 2
    return locality * squared


def token_grid(latent_size: tuple[int, int], tokens: int) -> tuple[int, int]:
    """Return height and width of a layer's token grid, from the latent's (h, w) and the number of tokens."""
    height, width = latent_size
    scale = math.isqrt(height * width // tokens)
    if tokens * scale * scale != height * width or height % scale or width % scale:
        raise ValueError(f"{tokens} tokens do not tile a {height} by {width} latent")
    return height // scale, width // scale


def resize_field(indices: Tensor, grid: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """Carry a field (…, S) of indices on `grid` over to the grid `to`, keeping the displacements.

    A finer cell goes where its coarse one goes, by the same distance; a coarser one takes its first
    fine one's.
    """
    if grid == to:
        return indices
    rows = torch.arange(to[0], device=indices.device).repeat_interleave(to[1])
    columns = torch.arange(to[1], device=indices.device).repeat(to[0])
    own_rows, own_columns = rows * grid[0] // to[0], columns * grid[1] // to[1]
    target = indices[..., own_rows * grid[1] + own_columns]
    moved_rows = rows + (target // grid[1] - own_rows) * to[0] // grid[0]
    moved_columns = columns + (target % grid[1] - own_columns) * to[1] // grid[1]
    return moved_rows * to[1] + moved_columns  # on the grid, since all divisions round down


class Correspondences:
    """For each frame, the nearest tokens in the two keyframes it follows, at every attention resolution.

    Indices are kept as int16 for every frame, descriptors as fp16 for keyframes, both in memory-mapped files.

    Args:
        keyframes: Whose tokens are pointed to.
        latent_size: (h, w) of the latents.
        locality: See `Propagation`.
        files: Tensors named as `layout` names them.
    """

    def __init__(
        self,
        keyframes: Sequence[int],
        latent_size: tuple[int, int],
        locality: float,
        files: Mapping[str, Tensor],
    ) -> None:
        self.latent_size, self.locality = latent_size, locality
        self._row = {keyframe: row for row, keyframe in enumerate(keyframes)}
        self._descriptors, self._indices = (
            {
                int(name.removeprefix(prefix)): tensor
                for name, tensor in files.items()
                if name.startswith(prefix)
            }
            for prefix in (_DESCRIPTORS, _FIELD)
        )
        self._penalties: dict[int, Tensor] = {}

    @staticmethod
    def layout(frames: int, keyframes: int, sizes: Mapping[int, int]) -> Layout:
        """Return the files that are needed for a clip.

        Args:
            frames: Its length.
            keyframes: How many of them are keyframes.
            sizes: descriptors' length by number of tokens, as `descriptor_sizes` says.

        Raises:
            ValueError: There are more tokens than the indices can count.
        """
        files: dict[str, tuple[Shape, torch.dtype]] = {}
        for size, length in sizes.items():
            if size > MAXIMUM_TOKENS:
                raise ValueError(f"{size} tokens a frame are too many for int16 indices; use smaller frames")
            files[f"{_DESCRIPTORS}{size}"] = ((keyframes, size, length), torch.float16)
            files[f"{_FIELD}{size}"] = ((frames, 2, size), torch.int16)
        return files

    def put_descriptors(self, keyframes: Sequence[int], descriptors: dict[int, Tensor]) -> None:
        """Store descriptors (F, S, D) of `keyframes` by S."""
        for size, tokens in descriptors.items():
            self._descriptors[size][[self._row[k] for k in keyframes]] = tokens.to("cpu", torch.float16)

    def match(self, pairs: Sequence[tuple[int, int]], descriptors: dict[int, Tensor]) -> dict[int, Tensor]:
        """Match frames with these descriptors to their (before, after) keyframes: fields (F, 2, S) by S."""
        found = {}
        for size, tokens in descriptors.items():
            # Neighbouring frames follow the same keyframes: each is read and moved to the device once.
            used = {k for pair in pairs for k in pair}
            keys = {k: self._descriptors[size][self._row[k]].to(tokens.device, torch.float32) for k in used}
            penalty = self._penalty(size, tokens.device)
            fields = (
                [nearest_tokens(own[None], keys[k][None], penalty)[0] for k in pair]
                for own, pair in zip(tokens.float(), pairs, strict=True)
            )
            found[size] = torch.stack([torch.stack(field) for field in fields])
        return found

    def put_fields(self, frames: Sequence[int], fields: dict[int, Tensor]) -> None:
        """Store fields (F, 2, S) of `frames` by S."""
        for size, indices in fields.items():
            self._indices[size][list(frames)] = indices.to("cpu", torch.int16)

    def fields(self, frames: Sequence[int], device: torch.device) -> dict[int, Tensor]:
        """Return fields (F, 2, S), int64, of `frames` by S."""
        return {size: indices[list(frames)].to(device).long() for size, indices in self._indices.items()}

    def at(self, fields: dict[int, Tensor], tokens: int) -> Tensor:
        """Return the field (F, 2, tokens) of one resolution, from the finest where it was not matched."""
        if tokens in fields:
            return fields[tokens]
        finest = max(fields)
        to = token_grid(self.latent_size, tokens)
        return resize_field(fields[finest], token_grid(self.latent_size, finest), to)

    def _penalty(self, size: int, device: torch.device) -> Tensor | None:
        if self.locality == 0.0:
            return None
        if size not in self._penalties:
            grid = token_grid(self.latent_size, size)
            self._penalties[size] = displacement_penalty(grid, self.locality).to(device)
        return self._penalties[size]
