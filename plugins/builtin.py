"""The categories that keyface brings: the paper's features (age, gender, expression) and attributes.

Phrases are those of the miniature's captions (`keyface.miniature.captions`) first, then what image captioners
write; so a caption of either kind is edited in place.
"""

from keyface.plugins.category import Category

_EYES = ("l_eye", "r_eye", "l_brow", "r_brow")
_MOUTH = ("mouth", "u_lip", "l_lip")
_FACE = ("skin", "nose", *_EYES, *_MOUTH)
_HEAD = (*_FACE, "l_ear", "r_ear", "hair", "neck")

_EXPRESSIONS = ("smile", "no-smile", "surprise", "anger", "sadness")
_HAIR = ("black-hair", "brown-hair", "blond-hair", "gray-hair", "bald")
_BEARDS = ("beard", "goatee", "no-beard")


def _others(group: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in group if other != name)


_SMILING = ("smiling", "with a smile", "a smile", "laughing")
_SURPRISED = ("surprised", "looking surprised", "with a surprised expression")
_ANGRY = ("angry", "looking angry", "frowning", "with an angry expression")
_SAD = ("sad", "looking sad", "with a sad expression")
_CALM = ("not smiling", "with a neutral expression", "with a serious expression")

AGE = (
    Category(
        "young",
        targets=("young",),
        source="old",
        attribute="Young",
        replaces=("old", "elderly", "older", "aged", "middle-aged", "senior"),
        regions=_HEAD,
        conflicts=("old",),
        place="adjective",
    ),
    Category(
        "old",
        targets=("old",),
        source="young",
        attribute="Young",
        present=False,
        replaces=("young", "younger", "youthful", "middle-aged", "teenage"),
        regions=_HEAD,
        conflicts=("young",),
        place="adjective",
    ),
)

GENDER = (
    Category(
        "man",
        targets=("man",),
        source="woman",
        attribute="Male",
        replaces=("woman", "girl", "lady", "female", "person"),
        regions=_HEAD,
        conflicts=("woman",),
        place="noun",
    ),
    Category(
        "woman",
        targets=("woman",),
        source="man",
        attribute="Male",
        present=False,
        replaces=("man", "boy", "guy", "gentleman", "male", "person"),
        regions=_HEAD,
        conflicts=("man", "beard", "goatee", "moustache"),
        place="noun",
    ),
)

EXPRESSION = (
    Category(
        "smile",
        targets=("smiling",),
        source="not smiling",
        attribute="Smiling",
        replaces=(*_CALM, *_SURPRISED, *_ANGRY, *_SAD),
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "smile"),
    ),
    Category(
        "no-smile",
        targets=("not smiling",),
        source="smiling",
        attribute="Smiling",
        present=False,
        replaces=_SMILING,
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "no-smile"),
    ),
    Category(
        "surprise",
        targets=("surprised",),
        source="not smiling",
        attribute="Surprised",
        replaces=(*_CALM, *_SMILING, *_ANGRY, *_SAD),
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "surprise"),
    ),
    Category(
        "anger",
        targets=("angry",),
        source="not smiling",
        attribute="Angry",
        replaces=(*_CALM, *_SMILING, *_SURPRISED, *_SAD),
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "anger"),
    ),
    Category(
        "sadness",
        targets=("sad",),
        source="not smiling",
        attribute="Sad",
        replaces=(*_CALM, *_SMILING, *_SURPRISED, *_ANGRY),
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "sadness"),
    ),
)

_COLOURS = {
    "black-hair": ("Black_Hair", ("black hair", "dark hair")),
    "brown-hair": ("Brown_Hair", ("brown hair", "brunette hair")),
    "blond-hair": ("Blond_Hair", ("blond hair", "blonde hair")),
    "gray-hair": ("Gray_Hair", ("gray hair", "grey hair", "white hair")),
}
_OTHER_HAIR = ("red hair", "auburn hair", "ginger hair")
_BALD = ("bald", "a bald head", "no hair")


def _hair_colour(name: str) -> Category:
    attribute, phrases = _COLOURS[name]
    return Category(
        name,
        targets=phrases[:1],
        source="brown hair" if name != "brown-hair" else "black hair",
        attribute=attribute,
        replaces=(
            *(phrase for other, (_, words) in _COLOURS.items() if other != name for phrase in words),
            *_OTHER_HAIR,
            *_BALD,
        ),
        regions=("hair", "l_brow", "r_brow"),
        conflicts=_others(_HAIR, name),
        hidden_by=("Bald", "Wearing_Hat"),
    )


HAIR = (
    *(_hair_colour(name) for name in _COLOURS),
    Category(
        "bald",
        targets=("bald",),
        source="brown hair",
        attribute="Bald",
        replaces=(*(phrase for _, words in _COLOURS.values() for phrase in words), *_OTHER_HAIR),
        regions=("hair", "skin", "l_ear", "r_ear", "background"),
        conflicts=(*_others(_HAIR, "bald"), "bangs"),
        needs=("Male",),
        hidden_by=("Wearing_Hat",),
    ),
    Category(
        "bangs",
        targets=("bangs",),
        source="no bangs",
        attribute="Bangs",
        replaces=("no bangs", "without bangs"),
        regions=("hair", "skin", "l_brow", "r_brow"),
        conflicts=("no-bangs", "bald"),
        hidden_by=("Bald", "Wearing_Hat"),
    ),
    Category(
        "no-bangs",
        targets=("no bangs",),
        source="bangs",
        attribute="Bangs",
        present=False,
        replaces=("bangs", "with bangs", "a fringe"),
        regions=("hair", "skin", "l_brow", "r_brow"),
        conflicts=("bangs",),
    ),
)

_NO_GLASSES = ("without glasses", "no glasses", "not wearing glasses")
_GLASSES = ("wearing glasses", "with glasses", "glasses", "eyeglasses", "wearing eyeglasses", "spectacles")
_SUNGLASSES = ("wearing sunglasses", "with sunglasses", "sunglasses")
_GLASSES_REGIONS = ("eye_g", *_EYES, "nose", "skin")

GLASSES = (
    Category(
        "glasses",
        targets=("wearing glasses",),
        source="without glasses",
        attribute="Eyeglasses",
        replaces=(*_NO_GLASSES, *_SUNGLASSES),
        regions=_GLASSES_REGIONS,
        conflicts=("sunglasses", "no-glasses"),
        hidden_by=("Sunglasses",),
    ),
    Category(
        "sunglasses",
        targets=("wearing sunglasses",),
        source="without glasses",
        attribute="Sunglasses",
        replaces=(*_NO_GLASSES, *_GLASSES),
        regions=_GLASSES_REGIONS,
        conflicts=("glasses", "no-glasses"),
    ),
    Category(
        "no-glasses",
        targets=("without glasses",),
        source="wearing glasses",
        attribute="Eyeglasses",
        present=False,
        replaces=(*_GLASSES, *_SUNGLASSES),
        regions=_GLASSES_REGIONS,
        conflicts=("glasses", "sunglasses"),
    ),
)

_NO_BEARD = ("no beard", "without a beard", "clean-shaven", "clean shaven")
_FULL_BEARD = ("a beard", "a full beard", "beard")
_GOATEE = ("a goatee", "goatee")
_MOUSTACHE = ("a moustache", "a mustache", "moustache", "mustache")
_STUBBLE = ("stubble", "a stubble")
_BEARD_REGIONS = ("skin", *_MOUTH, "neck")

FACIAL_HAIR = (
    Category(
        "beard",
        targets=("a beard",),
        source="no beard",
        attribute="Beard",
        replaces=(*_NO_BEARD, *_GOATEE, *_MOUSTACHE, *_STUBBLE),
        regions=_BEARD_REGIONS,
        conflicts=(*_others(_BEARDS, "beard"), "moustache", "woman"),
        needs=("Male",),
    ),
    Category(
        "goatee",
        targets=("a goatee",),
        source="no beard",
        attribute="Goatee",
        replaces=(*_NO_BEARD, *_FULL_BEARD, *_STUBBLE),
        regions=_BEARD_REGIONS,
        conflicts=(*_others(_BEARDS, "goatee"), "woman"),
        needs=("Male",),
    ),
    Category(
        "moustache",
        targets=("a moustache",),
        source="no beard",
        attribute="Mustache",
        replaces=(*_NO_BEARD, *_FULL_BEARD, *_STUBBLE, "a mustache", "mustache", "no moustache"),
        regions=("skin", *_MOUTH, "nose"),
        conflicts=("beard", "no-beard", "woman"),
        needs=("Male",),
    ),
    Category(
        "no-beard",
        targets=("no beard",),
        source="a beard",
        attribute="No_Beard",
        replaces=(*_FULL_BEARD, *_GOATEE, *_MOUSTACHE, *_STUBBLE),
        regions=_BEARD_REGIONS,
        conflicts=("beard", "goatee", "moustache"),
    ),
)


def _pair(
    name: str, attribute: str, on: tuple[str, ...], off: tuple[str, ...], regions: tuple[str, ...]
) -> tuple[Category, Category]:
    """The edit that puts something on and the one that takes it off; their first phrases are written."""
    without = f"no-{name}"
    return (
        Category(name, on[:1], off[0], attribute, True, replaces=off, regions=regions, conflicts=(without,)),
        Category(without, off[:1], on[0], attribute, False, replaces=on, regions=regions, conflicts=(name,)),
    )


WORN = (
    *_pair(
        "hat",
        "Wearing_Hat",
        on=("wearing a hat", "with a hat", "a hat", "hat", "wearing a cap"),
        off=("no hat", "without a hat"),
        regions=("hat", "hair", "background", "skin"),
    ),
    *_pair(
        "lipstick",
        "Wearing_Lipstick",
        on=("wearing lipstick", "with lipstick", "lipstick", "red lipstick"),
        off=("no lipstick", "without lipstick"),
        regions=("u_lip", "l_lip", "mouth"),
    ),
    *_pair(
        "makeup",
        "Heavy_Makeup",
        on=("wearing makeup", "heavy makeup", "with makeup", "makeup", "make-up"),
        off=("no makeup", "without makeup"),
        regions=_FACE,
    ),
    *_pair(
        "earrings",
        "Wearing_Earrings",
        on=("wearing earrings", "with earrings", "earrings"),
        off=("no earrings", "without earrings"),
        regions=("ear_r", "l_ear", "r_ear", "neck", "hair"),
    ),
)

CATEGORIES: tuple[Category, ...] = (*AGE, *GENDER, *EXPRESSION, *HAIR, *GLASSES, *FACIAL_HAIR, *WORN)
"""What the entry point `builtin` of the group `keyface.edits` names."""
