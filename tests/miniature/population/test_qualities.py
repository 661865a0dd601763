import re

import torch

from keyface.miniature.population import captions, world
from keyface.miniature.population.qualities import QUALITY_WORDS

ADJECTIVES = {"round", "square", "black", "brown", "red", "gray"}


def said_of(noun: str, text: str) -> set[str] | None:
    """Return the adjectives before a noun; None where the caption has no such noun, or denies it."""
    phrase = next((each for each in text.split(", ") if each.endswith(noun)), None)
    if phrase is None or re.match(r"(no|without)\b", phrase):
        return None
    return set(phrase.split()) & (ADJECTIVES | {"blond"})


def test_glasses_of_an_unusual_kind_are_named() -> None:
    faces = world.counterfactual(world.draw_faces(torch.arange(600), 1), "Eyeglasses", True)
    shapes, colours = (faces.condition(f"glasses_{name}").tolist() for name in ("shape", "colour"))
    heard: set[str] = set()
    plain = 0
    for row, text in enumerate(captions.draw_captions(faces, 4)):
        said = said_of(" glasses", text)
        if said is None:
            continue
        shape = "round" if shapes[row] < 0.6 else "square"
        colour = next(
            name
            for name, end in (("black", 0.35), ("brown", 0.65), ("red", 0.85), ("gray", 2.0))
            if colours[row] < end
        )
        assert said <= {shape, colour}
        assert said >= {shape, colour} - {"round", "black"}, "what is not said is usual"
        heard |= said
        plain += not said
    assert heard == ADJECTIVES
    assert plain > 20, "round black glasses mostly have no words"


def test_only_bald_mens_beards_have_a_colour() -> None:
    bearded = world.counterfactual(world.draw_faces(torch.arange(300), 1), "Beard", True)
    haired = world.counterfactual(bearded, "Bald", False)
    assert all(not said_of(" beard", text) for text in captions.draw_captions(haired, 4))
    bald = world.counterfactual(bearded, "Bald", True)
    gray = (bald.attribute("gray_hair") > 0.5).tolist()
    dark = ((bald.attribute("black_hair") + bald.attribute("brown_hair")) > 0.5).tolist()
    for row, text in enumerate(captions.draw_captions(bald, 4)):
        said = said_of(" beard", text)
        if said is not None:
            assert said == ({"gray"} if gray[row] else set() if dark[row] else said & {"blond", "red"})
            assert dark[row] or said


def test_a_pair_is_worded_alike() -> None:
    faces = world.draw_faces(torch.arange(100), 1)
    off = captions.draw_captions(world.counterfactual(faces, "Eyeglasses", False), 2)
    on = captions.draw_captions(world.counterfactual(faces, "Eyeglasses", True), 2)
    for first, second in zip(off, on, strict=True):
        shared = [phrase for phrase in first.split(", ") if "glasses" not in phrase]
        assert set(second.split(", ")) >= set(shared) or len(second.split()) >= 28


def test_words_are_in_the_vocabulary() -> None:
    assert set(QUALITY_WORDS) == ADJECTIVES | {"blond"}
    assert set(QUALITY_WORDS) <= set(captions.VOCABULARY)
