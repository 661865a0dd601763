"""What each strategy says of a clip of 20 frames with an edit of 20 steps."""

from typing import get_args, get_type_hints

import pytest

from keyface.editing.editor import STRATEGIES, EditSettings, Propagation


def strategy(mode="tokens", strength=1.0, **propagation):
    settings = EditSettings(steps=20, strength=strength, propagation=Propagation(mode=mode, **propagation))
    return STRATEGIES[mode](settings)


def test_there_is_one_for_every_mode():
    assert set(STRATEGIES) == set(get_args(get_type_hints(Propagation)["mode"]))


@pytest.mark.parametrize(
    ("keyframes_first", "strength", "level"),
    [(0.0, 1.0, 20), (0.4, 1.0, 12), (0.85, 1.0, 3), (1.0, 1.0, 1), (0.4, 0.5, 6)],
)
def test_tokens_run_every_frame_in_the_steps_that_keyframes_leave(keyframes_first, strength, level):
    assert strategy(strength=strength, keyframes_first=keyframes_first).every_frame_from == level


def test_latent_never_runs_every_frame_and_tokenflow_always():
    assert strategy("latent").every_frame_from == 0
    assert strategy("tokenflow").every_frame_from == 20
    assert strategy("tokenflow", strength=0.5).every_frame_from == 10


def test_sources():
    for mode in ("tokens", "latent"):
        assert strategy(mode).source_frames(20, [3, 12, 18]) == (3, 12, 18)
    assert strategy("tokenflow").source_frames(20, [3, 12, 18]) == tuple(range(20))


@pytest.mark.parametrize(
    ("fractions", "strength", "levels"),
    [
        ((0.2,), 1.0, (4,)),
        ((0.3, 0.1, 0.2), 1.0, (2, 4, 6)),
        ((0.1, 0.2, 0.3), 0.15, (2, 3)),
        ((0.0,), 1.0, (1,)),
    ],
)
def test_levels_at_which_tokens_are_compared(fractions, strength, levels):
    assert strategy(strength=strength, correspondence_at=fractions).matched_levels == levels


def test_frames_between_keyframes_are_inverted_where_they_run_and_it_is_asked_for():
    for keyframes_first in (0.0, 0.4, 1.0):
        assert strategy(keyframes_first=keyframes_first).inverts_others
        assert not strategy(keyframes_first=keyframes_first, invert_others=0).inverts_others
    assert not strategy("latent").inverts_others


def test_all_keyframes_are_reconstructed_only_to_cancel_the_inversion():
    assert strategy("latent").needs_reconstruction
    assert not strategy("latent", cancel_inversion=False).needs_reconstruction
    assert not strategy("tokens").needs_reconstruction
