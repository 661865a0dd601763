from keyface.celeba import (
    ABSENT_PHRASES,
    ATTRIBUTES,
    CELEBA_ATTRIBUTES,
    PEOPLE,
    PHRASES,
    REGION_IDS,
    REGIONS,
)


def test_the_attributes_are_celeba_s_in_the_published_order() -> None:
    assert len(CELEBA_ATTRIBUTES) == 40
    assert list(CELEBA_ATTRIBUTES) == sorted(CELEBA_ATTRIBUTES), "the published list is alphabetical"
    published = {1: "5_o_Clock_Shadow", 16: "Eyeglasses", 21: "Male", 32: "Smiling", 40: "Young"}
    assert {number: CELEBA_ATTRIBUTES[number - 1] for number in published} == published
    assert len(set(ATTRIBUTES)) == 45


def test_the_regions_have_the_published_ids() -> None:
    assert len(REGIONS) == 19
    published = {"background": 0, "skin": 1, "eye_g": 3, "mouth": 10, "hair": 13, "hat": 14, "cloth": 18}
    assert {name: REGION_IDS[name] for name in published} == published


def test_phrases_describe_known_attributes_and_one_thing_each() -> None:
    assert {*PHRASES, *ABSENT_PHRASES} <= set(ATTRIBUTES)
    groups = (*PHRASES.values(), *ABSENT_PHRASES.values(), *PEOPLE.values())
    said = [phrase for group in groups for phrase in group]
    assert len(said) == len(set(said))
