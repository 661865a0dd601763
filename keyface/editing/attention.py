"""The seam to diffusers' self-attention: processors set on attn1 by name and taken off again.

A processor gets the names of things from one explicit state object; nothing is written onto modules.
Projected queries, keys and values are (B, S, I) with I = heads · head width; heads are split only at the
attention itself, so a window of frames is a view, (branches, F · S, I), and not a copy.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from keyface.diffusion.protocol import Network

Processor = Callable[..., Tensor]


def self_attention(unet: Network, pattern: str) -> dict[str, Attention]:
    """Return the attn1 modules whose names match `pattern`, by name, in the network's order.

    The prefix that peft puts before names is dropped, so that a network with LoRA layers and one without
    name their layers alike.
    """
    found: dict[str, Attention] = {}
    for path, module in unet.named_modules():
        name = path.removeprefix("base_model.model.")
        self_attending = isinstance(module, Attention) and not module.is_cross_attention
        if self_attending and name.endswith("attn1") and re.search(pattern, name):
            found[name] = module
    if not found:
        raise ValueError(
            f"no attn1 module of the U-Net matches {pattern!r}; see unet.attn_processors for names"
        )
    return found


@contextmanager
def processors(unet: Network, pattern: str, make: Callable[[str], Processor]) -> Iterator[None]:
    """Set `make(name)` on every attn1 module matching `pattern`; put the old processors back at the end."""
    modules = self_attention(unet, pattern)
    before = {name: module.processor for name, module in modules.items()}
    try:
        for name, module in modules.items():
            module.set_processor(make(name))
        yield
    finally:
        for name, module in modules.items():
            module.set_processor(before[name])


def attend(attn: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Apply multi-head attention to projected tokens: (B, S, I), (B, S', I), (B, S', I) → (B, S, I)."""
    query, key, value = (
        torch.unflatten(x, -1, (attn.heads, -1)).transpose(1, 2) for x in (query, key, value)
    )
    if attn.norm_q is not None:
        query = attn.norm_q(query)
    if attn.norm_k is not None:
        key = attn.norm_k(key)
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


def finish(attn: Attention, attended: Tensor) -> Tensor:
    """Return the layer's output (B, S, C) from what was attended to (B, S, I)."""
    output: Tensor = attn.to_out[1](attn.to_out[0](attended))
    return output / attn.rescale_output_factor if attn.rescale_output_factor != 1.0 else output


class Features(NamedTuple):
    """What one attn1 layer of ε1 saw: projections (F, S, I) and output (F, S, C); only what is wanted."""

    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    output: Tensor | None = None


class RecordFeatures:
    """Ordinary self-attention that keeps what a mode of injection will need of it."""

    def __init__(self, name: str, mode: Literal["qk", "kv", "output"], store: dict[str, Features]) -> None:
        self.name, self.mode, self.store = name, mode, store

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Attend: tokens (F, S, C) → output of the same shape; keep the features."""
        query, key, value = attn.to_q(hidden_states), attn.to_k(hidden_states), attn.to_v(hidden_states)
        output = finish(attn, attend(attn, query, key, value))
        self.store[self.name] = {
            "qk": Features(query=query, key=key),
            "kv": Features(key=key, value=value),
            "output": Features(output=output),
        }[self.mode]
        return output


@dataclass
class KeyframeState:
    """What the keyframes' attention in ε2 has to know at one step.

    Attributes:
        branches: Names of the branches that the batch holds, outermost: (branch, frame) → batch.
        mode: Of injection.
        joint: Keyframes attend to each other.
        stride: n; every n-th token of another keyframe is attended to.
        source: ε1's features of the keyframes in the batch by layer; layers not in it are left alone.
        anchors: Keys and values (branches, A · S, I) of the anchors by layer.
        anchors_in_batch: Number of frames at the head of the batch to remember as anchors.
        outputs: The layers' outputs (branches, F, S, C), where propagation needs them.
        keep_outputs: Whether it does.
    """

    branches: tuple[str, ...]
    mode: Literal["qk", "kv", "output"] = "qk"
    joint: bool = True
    stride: int = 1
    source: dict[str, Features] = field(default_factory=dict)
    anchors: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    anchors_in_batch: int = 0
    outputs: dict[str, Tensor] = field(default_factory=dict)
    keep_outputs: bool = False


class KeyframeAttention:
    """attn1 of ε2 on keyframes: ε1's features injected, and attention joined over the window (Eq. 2–3)."""

    def __init__(self, name: str, state: KeyframeState) -> None:
        self.name, self.state = name, state

    def __call__(self, attn: Attention, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """Attend: tokens (branches · F, S, C) → output of the same shape."""
        state, source = self.state, self.state.source.get(self.name, Features())
        if source.output is not None:
            output = self._over_branches(source.output).flatten(0, 1)
        else:
            query = self._own_or(source.query, attn.to_q, hidden_states)
            key = self._own_or(source.key, attn.to_k, hidden_states)
            value = self._own_or(source.value, attn.to_v, hidden_states)
            attended = (
                self._joint(attn, query, key, value) if state.joint else self._each(attn, query, key, value)
            )
            output = finish(attn, attended.reshape(*hidden_states.shape[:2], -1))
        if state.keep_outputs:
            state.outputs[self.name] = torch.unflatten(output, 0, (len(state.branches), -1))
        return output

    def _over_branches(self, tokens: Tensor) -> Tensor:
        """Show every branch the same features of ε1: (F, S, I) → (branches, F, S, I)."""
        return tokens.expand(len(self.state.branches), *tokens.shape)

    def _own_or(self, injected: Tensor | None, project: nn.Module, hidden_states: Tensor) -> Tensor:
        """Return the projection (branches, F, S, I): ε1's where there is one, else ε2's own."""
        if injected is not None:
            return self._over_branches(injected).to(hidden_states.dtype)
        own: Tensor = project(hidden_states)
        return torch.unflatten(own, 0, (len(self.state.branches), -1))

    def _each(self, attn: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Let every frame attend to itself."""
        return attend(attn, query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1))

    def _joint(self, attn: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Let every frame attend to all frames of the window and to the anchors (Eq. 2–3)."""
        if self.state.stride > 1:
            return self._thinned(attn, query, key, value)
        state, tokens = self.state, query.shape[2]
        query, key, value = query.flatten(1, 2), key.flatten(1, 2), value.flatten(1, 2)
        if state.anchors_in_batch:
            head = state.anchors_in_batch * tokens
            state.anchors[self.name] = (key[:, :head], value[:, :head])
        elif self.name in state.anchors:
            anchor_key, anchor_value = state.anchors[self.name]
            key, value = torch.cat([anchor_key, key], dim=1), torch.cat([anchor_value, value], dim=1)
        return attend(attn, query, key, value)

    def _thinned(self, attn: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Let every frame attend to all its own tokens, and to every n-th of the others and the anchors.

        Which ones differs from frame to frame, so that neighbours together show every place.
        """
        state, frames = self.state, query.shape[1]
        anchored = self.name in state.anchors and not state.anchors_in_batch
        kept_key, kept_value = (_every(x, state.stride) for x in (key, value))
        if state.anchors_in_batch:
            head = state.anchors_in_batch
            state.anchors[self.name] = (kept_key[:, :head], kept_value[:, :head])
        others = [[other for other in range(frames) if other != frame] for frame in range(frames)]
        seen = []
        for own, kept, of_anchors in zip(
            (key, value), (kept_key, kept_value), state.anchors.get(self.name, (None, None)), strict=True
        ):
            parts = [own, kept[:, others].flatten(2, 3)]
            if anchored and of_anchors is not None:
                anchors = of_anchors.flatten(1, 2)[:, None]
                parts.append(anchors.expand(-1, frames, -1, -1))
            seen.append(torch.cat(parts, dim=2).flatten(0, 1))
        return attend(attn, query.flatten(0, 1), seen[0], seen[1])


def _every(tokens: Tensor, stride: int) -> Tensor:
    """Return every n-th token of each frame i, from token i mod n on: (…, F, S, I) → (…, F, S/n, I)."""
    kept = tokens.shape[-2] // stride
    rows = [
        tokens[..., frame, frame % stride :: stride, :][..., :kept, :] for frame in range(tokens.shape[-3])
    ]
    return torch.stack(rows, dim=-3)


@contextmanager
def recorded_outputs(unet: Network, pattern: str, store: dict[str, Tensor]) -> Iterator[None]:
    """Keep the outputs of the modules matching `pattern` in `store`, by name (Plug-and-Play's features)."""

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> None:
            store[name] = output

        return hook

    with _hooks(unet, pattern, keep):
        yield


@contextmanager
def replaced_outputs(unet: Network, pattern: str, store: dict[str, Tensor]) -> Iterator[None]:
    """Put ε1's outputs (F, C, h, w) in place of those of the modules (branches · F, C, h, w) of ε2."""

    def replace(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            source = store[name].to(output.dtype)
            return source.expand(output.shape[0] // source.shape[0], *source.shape).flatten(0, 1)

        return hook

    with _hooks(unet, pattern, replace):
        yield


@contextmanager
def shared_outputs(unet: Network, pattern: str, branches: int) -> Iterator[None]:
    """Put the first branch's outputs in place of all branches', in the modules matching `pattern`."""

    def share(_: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            first = output[: output.shape[0] // branches]
            return first.expand(branches, *first.shape).flatten(0, 1)

        return hook

    with _hooks(unet, pattern, share):
        yield


@contextmanager
def _hooks(unet: Network, pattern: str, make: Callable[[str], Callable[..., Any]]) -> Iterator[None]:
    names = {path.removeprefix("base_model.model."): module for path, module in unet.named_modules()}
    matching = {name: module for name, module in names.items() if re.search(pattern, name)}
    if not matching:
        raise ValueError(
            f"no module of the U-Net matches {pattern!r}; nothing to take residual features from"
        )
    handles = [module.register_forward_hook(make(name)) for name, module in matching.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
