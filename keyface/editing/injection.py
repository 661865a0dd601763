"""ε1's features on their way into ε2: read on the inverted latents, put in place of ε2's own."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from keyface.diffusion.prediction import Timestep, predict
from keyface.diffusion.protocol import Network
from keyface.editing.attention import (
    Features,
    KeyframeAttention,
    KeyframeState,
    RecordFeatures,
    processors,
    recorded_outputs,
    replaced_outputs,
)
from keyface.editing.parts import SELF_ATTENTION, Injection

if TYPE_CHECKING:
    from keyface.diffusion.additions.control import Control


class Injected(NamedTuple):
    """What ε1 gives at one step; empty where nothing is injected.

    Attributes:
        attention: Features of attn1 by layer.
        residuals: Outputs (F, C, h, w) of the modules that Plug-and-Play replaces, by name.
    """

    attention: dict[str, Features]
    residuals: dict[str, Tensor]


def identity_features(
    identity: Network,
    latents: Tensor,
    timestep: Timestep,
    text: Tensor,
    injection: Injection,
    step: int,
    steps: int,
    control: "Control | None" = None,
) -> Injected:
    """Run ε1, and return its features for denoising step `step` (0 is the noisiest) of `steps`.

    It does not run where the step takes none.

    Args:
        identity: ε1.
        latents: Inverted, (F, C, h, w).
        timestep: Theirs.
        text: Source prompt, (F, L, D) or (1, L, D).
        injection: What is wanted, and until when.
        step: Of denoising.
        steps: From where the edit starts.
        control: As of `predict`.
    """
    found = Injected({}, {})
    attention, residual = injection.attention_active(step, steps), injection.residual_active(step, steps)
    if not (attention or residual):
        return found
    with ExitStack() as stack:
        if attention:
            stack.enter_context(
                processors(
                    identity,
                    injection.layers,
                    lambda name: RecordFeatures(name, injection.mode, found.attention),
                )
            )
        if residual:
            stack.enter_context(recorded_outputs(identity, injection.residual_layers, found.residuals))
        predict(identity, latents, timestep, text, control)
    return found


@contextmanager
def injecting(
    direction: Network, injected: Injected, injection: Injection, state: KeyframeState
) -> Iterator[None]:
    """Have ε2 take the features, and attend as `state` says; its own processors come back at the end."""
    state.source = injected.attention
    with ExitStack() as stack:
        stack.enter_context(
            processors(direction, SELF_ATTENTION, lambda name: KeyframeAttention(name, state))
        )
        if injected.residuals:
            stack.enter_context(replaced_outputs(direction, injection.residual_layers, injected.residuals))
        yield
