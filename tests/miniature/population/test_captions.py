import re

import torch

from keyface.miniature.population import captions, world


def test_captions_use_the_vocabulary_and_stay_short() -> None:
    faces = world.draw_faces(torch.arange(400), 1)
    words = set(captions.VOCABULARY)
    for text in (*captions.draw_captions(faces, 5), *captions.write_captions(faces)):
        found = re.findall(r"[^\s,]+", text)
        assert set(found) <= words
        assert len(found) <= 30


def test_what_a_caption_says_is_true() -> None:
    faces = world.draw_faces(torch.arange(400), 2)
    labels = {name: value.tolist() for name, value in world.true_labels(faces).items()}
    claims = {
        "without glasses": ("Eyeglasses", False),
        "no glasses": ("Sunglasses", False),
        "wearing glasses": ("Eyeglasses", True),
        "wearing sunglasses": ("Sunglasses", True),
        "not smiling": ("Smiling", False),
        "smiling": ("Smiling", True),
        "no beard": ("No_Beard", True),
        "with a full beard": ("Beard", True),
        "without a hat": ("Wearing_Hat", False),
        "no bangs": ("Bangs", False),
        "with bangs": ("Bangs", True),
        "blond hair": ("Blond_Hair", True),
        "bald": ("Bald", True),
        "wearing earrings": ("Wearing_Earrings", True),
    }
    heard = set()
    for index, text in enumerate(captions.draw_captions(faces, 0)):
        head, *phrases = text.split(", ")
        assert bool(re.search(r"\b(man|male)\b", head)) == labels["Male"][index]
        if re.search(r"\b(old|elderly|young)\b", head):
            assert ("young" in head) == labels["Young"][index]
        for phrase in set(phrases) & set(claims):
            label, value = claims[phrase]
            assert labels[label][index] is value
            heard.add(phrase)
    assert heard == set(claims)


def test_captions_are_deterministic_and_vary_with_the_seed() -> None:
    faces = world.draw_faces(torch.arange(20), 1)
    assert captions.draw_captions(faces, 3) == captions.draw_captions(faces, 3)
    assert captions.draw_captions(faces, 3) != captions.draw_captions(faces, 4)
    assert captions.draw_captions(faces[5:6], 3) == captions.draw_captions(faces, 3)[5:6]


def test_mention_decides_how_much_is_said() -> None:
    faces = world.draw_faces(torch.arange(300), 1)
    silent = captions.draw_captions(faces, 0, mention=0.0)
    assert all("," not in text and "old" not in text for text in silent)
    # Fields other than the age, at most 30 words.
    full = [text.count(",") for text in captions.draw_captions(faces, 0, mention=1.0)]
    assert sum(full) / len(full) > 8.0


def test_the_full_caption_changes_with_an_edit_in_one_place() -> None:
    faces = world.draw_faces(torch.arange(30), 1)
    before = captions.write_captions(world.counterfactual(faces, "Eyeglasses", False))
    after = captions.write_captions(world.counterfactual(faces, "Eyeglasses", True))
    for first, second in zip(before, after, strict=True):
        assert first.replace("without glasses", "wearing glasses") == second


def test_edit_words_are_known() -> None:
    prompts = "make her look older add glasses remove the beard change hair to blonde with a hat"
    assert set(prompts.split()) - {"look"} <= set(captions.VOCABULARY)
