"""The categories that keyface brings: the paper's features (age, gender, expression) and attributes.

Phrases are those of the miniature's captions first, then what image captioners write; so a caption of
either kind is edited in place.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from keyface.celeba import ABSENT_PHRASES, PHRASES
from keyface.plugins.category import Category
from keyface.plugins.extensions import Lazily

_EYES = ("l_eye", "r_eye", "l_brow", "r_brow")
_MOUTH = ("mouth", "u_lip", "l_lip")
_FACE = ("skin", "nose", *_EYES, *_MOUTH)
_HEAD = (*_FACE, "l_ear", "r_ear", "hair", "neck")

_FIRM_STRENGTH = 1.15
"""For what has to give way as a whole: hair on the forehead, a pair of glasses, the face of a man."""

_LINES_STRENGTH = 0.92
"""For lines that are drawn onto a face that stays."""

_WRINKLES = {"miniature": {"strength": 0.84, "guidance": 1.75, "threshold": 0.3}}
"""Less strength keeps the face nearer to the person; with less guidance wrinkles are too faint, and a higher
threshold would leave them out. Figures in docs/results.md."""

_SMOOTH = {"miniature": {"guidance": 1.3}}
"""With less, some wrinkles stay. Figures in docs/results.md."""

_AGE_THRESHOLD = 0.65
"""Age changes the whole skin a little."""

_PLAIN_THRESHOLD = 1.5
"""For changes that are plain to see where they are."""

_RESHAPED_INJECTION = 0.6
"""Fraction of the steps in which ε1's keys and values are injected; figures in docs/results.md."""

_EXPRESSIONS = ("smile", "no-smile", "surprise", "anger", "sadness")
_HAIR = ("black-hair", "brown-hair", "blond-hair", "gray-hair", "bald")
_BEARDS = ("beard", "goatee", "no-beard")


def _others(group: tuple[str, ...], name: str) -> tuple[str, ...]:
    return tuple(other for other in group if other != name)


def _reshaping(*categories: Category) -> tuple[Category, ...]:
    """Return the same categories as edits that change shapes."""
    return tuple(replace(each, injection=_RESHAPED_INJECTION, reshapes=True) for each in categories)


_SMILING = (*PHRASES["Smiling"], "a smile", "laughing")
_SURPRISED = (*PHRASES["Surprised"], "with a surprised expression")
_ANGRY = (*PHRASES["Angry"], "frowning", "with an angry expression")
_SAD = (*PHRASES["Sad"], "with a sad expression")
_SMILE_STRENGTH = 1.08
"""With less, some smiles are not seen. Figures in docs/results.md."""

_LIPS = {"miniature": {"threshold": 1.0}}
"""With a higher threshold, what a smile does to the lips' edges is left out. Figures in docs/results.md."""

_FROWN_GUIDANCE = 1.25
"""Brows and the mouth's corners change little."""

_CORNERS = {"miniature": {"guidance": 1.9}}
"""Of a sad or an angry face: with less, some do not look so. Figures in docs/results.md."""

_CALM = (*ABSENT_PHRASES["Smiling"], "with a serious expression")

AGE = (
    Category(
        "young",
        targets=("young",),
        source="old",
        attribute="Young",
        replaces=("old", "elderly", "older", "aged", "middle-aged", "senior"),
        regions=_HEAD,
        conflicts=("old",),
        defaults=_SMOOTH,
        threshold=_AGE_THRESHOLD,
        place="adjective",
    ),
    Category(
        "old",
        targets=("old", "elderly"),
        source="young",
        attribute="Young",
        present=False,
        replaces=("young", "younger", "youthful", "middle-aged", "teenage"),
        regions=_HEAD,
        conflicts=("young",),
        strength=_LINES_STRENGTH,
        defaults=_WRINKLES,
        threshold=_AGE_THRESHOLD,
        place="adjective",
    ),
)

_FAINT = {"miniature": {"guidance": 1.5}}
"""For lips: with less, some do not show it. Figures in docs/results.md."""

_TINY = {"miniature": {"guidance": 2.0}}
"""For what is smaller still, earrings and lids. Figures in docs/results.md."""

_BUILD = {"miniature": {"guidance": 1.7}}
"""Of a man's or a woman's face: with less, most faces stay what they are. Figures in docs/results.md."""

_JAW = {"miniature": {**_BUILD["miniature"], "strength": 1.25}}
"""Of a man: with less, one of four women stays a woman. Figures in docs/results.md."""

GENDER = _reshaping(
    Category(
        "man",
        targets=("man",),
        source="woman",
        attribute="Male",
        replaces=("woman", "female", "girl", "lady", "person"),
        regions=_HEAD,
        conflicts=("woman",),
        place="noun",
        strength=_FIRM_STRENGTH,
        defaults=_JAW,
    ),
    Category(
        "woman",
        targets=("woman",),
        source="man",
        attribute="Male",
        present=False,
        replaces=("man", "male", "boy", "guy", "gentleman", "person"),
        regions=_HEAD,
        conflicts=("man", "beard", "goatee", "moustache"),
        place="noun",
        strength=_FIRM_STRENGTH,
        defaults=_BUILD,
    ),
)

EXPRESSION = (
    Category(
        "smile",
        targets=_SMILING[:3],
        source="not smiling",
        attribute="Smiling",
        replaces=(*_CALM, *_SURPRISED, *_ANGRY, *_SAD),
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "smile"),
        strength=_SMILE_STRENGTH,
        defaults=_LIPS,
        threshold=_PLAIN_THRESHOLD,
    ),
    Category(
        "no-smile",
        targets=_CALM[:2],
        source="smiling",
        attribute="Smiling",
        present=False,
        replaces=_SMILING,
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "no-smile"),
    ),
    Category(
        "surprise",
        targets=_SURPRISED[:2],
        source="not smiling",
        attribute="Surprised",
        replaces=(*_CALM, *_SMILING, *_ANGRY, *_SAD),
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "surprise"),
    ),
    Category(
        "anger",
        targets=_ANGRY[:2],
        source="not smiling",
        attribute="Angry",
        replaces=(*_CALM, *_SMILING, *_SURPRISED, *_SAD),
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "anger"),
        guidance=_FROWN_GUIDANCE,
        defaults=_CORNERS,
    ),
    Category(
        "sadness",
        targets=_SAD[:2],
        source="not smiling",
        attribute="Sad",
        replaces=(*_CALM, *_SMILING, *_SURPRISED, *_ANGRY),
        regions=_FACE,
        conflicts=_others(_EXPRESSIONS, "sadness"),
        guidance=_FROWN_GUIDANCE,
        defaults=_CORNERS,
    ),
)

_COLOURS = {
    "black-hair": ("Black_Hair", (*PHRASES["Black_Hair"], "dark hair")),
    "brown-hair": ("Brown_Hair", (*PHRASES["Brown_Hair"], "brunette hair")),
    "blond-hair": ("Blond_Hair", ("blond hair", "with blond hair", "blonde hair")),
    "gray-hair": ("Gray_Hair", ("gray hair", "with gray hair", "grey hair", "white hair")),
}
_OTHER_HAIR = ("red hair", "with red hair", "auburn hair", "ginger hair")
_BALD = (*PHRASES["Bald"], "a bald head", "no hair")
_HAIR_STRENGTH = 1.15
_HAIR_GUIDANCE = 0.93
"""Hair comes nearer to the rendered edit when it is edited stronger and guided less than usual; more guidance
makes it gaudy. Figures in docs/results.md."""

_BANGS = (*PHRASES["Bangs"], "a fringe")
_NO_BANGS = ABSENT_PHRASES["Bangs"]


def _hair_colour(name: str) -> Category:
    attribute, phrases = _COLOURS[name]
    return Category(
        name,
        targets=phrases[:2],
        source="brown hair" if name != "brown-hair" else "black hair",
        attribute=attribute,
        replaces=(
            *(phrase for other, (_, words) in _COLOURS.items() if other != name for phrase in words),
            *_OTHER_HAIR,
            *_BALD,
        ),
        regions=("hair", "l_brow", "r_brow"),
        conflicts=_others(_HAIR, name),
        strength=_HAIR_STRENGTH,
        guidance=_HAIR_GUIDANCE,
        threshold=_PLAIN_THRESHOLD,
        hidden_by=("Bald", "Wearing_Hat"),
    )


HAIR = (
    *(_hair_colour(name) for name in _COLOURS),
    *_reshaping(
        Category(
            "bald",
            targets=_BALD[:2],
            source="brown hair",
            attribute="Bald",
            replaces=(*(phrase for _, words in _COLOURS.values() for phrase in words), *_OTHER_HAIR, *_BANGS),
            regions=("hair", "skin", "l_ear", "r_ear", "background"),
            conflicts=(*_others(_HAIR, "bald"), "bangs"),
            needs=("Male",),
            hidden_by=("Wearing_Hat",),
        ),
        Category(
            "bangs",
            targets=_BANGS[:2],
            source=_NO_BANGS[0],
            attribute="Bangs",
            replaces=_NO_BANGS,
            regions=("hair", "skin", "l_brow", "r_brow"),
            conflicts=("no-bangs", "bald"),
            hidden_by=("Bald", "Wearing_Hat"),
        ),
        Category(
            "no-bangs",
            targets=_NO_BANGS,
            source=_BANGS[0],
            attribute="Bangs",
            present=False,
            replaces=_BANGS,
            regions=("hair", "skin", "l_brow", "r_brow"),
            conflicts=("bangs",),
            strength=_FIRM_STRENGTH,
        ),
    ),
)

_NO_GLASSES = (*ABSENT_PHRASES["Eyeglasses"], "not wearing glasses")
_GLASSES = ("wearing glasses", "with glasses", "wearing eyeglasses", "glasses", "eyeglasses", "spectacles")
_SUNGLASSES = (*PHRASES["Sunglasses"], "sunglasses")
GLASSES_REGIONS = ("eye_g", *_EYES, "nose", "skin", "hair", "l_ear", "r_ear")
"""Where glasses can be, as classes: rims lie on bangs, temples on hair and ears. Skin and hair reach far, so
their mask cuts a band out."""

_SHADES_STRENGTH = 1.06
"""For sunglasses, which hide the eyes."""

_SHADES = {"miniature": {"strength": 1.25, "guidance": 0.85}}
"""With less strength, eyes are seen through some of them. Figures in docs/results.md."""

_FRAMES = {"miniature": {"strength": 1.12, "guidance": 0.92, "threshold": 1.75}}
"""With less strength, frames lack parts of their rims; less guidance keeps the face nearer to the person, and
so does a high threshold: frames are a strong change, what happens to the eyes behind them a weaker one.
Figures in docs/results.md."""

_GLASSES_MASK = Lazily("keyface.plugins.builtin_code:glasses_mask")

GLASSES = _reshaping(
    Category(
        "glasses",
        targets=_GLASSES[:3],
        source="without glasses",
        attribute="Eyeglasses",
        replaces=(*_NO_GLASSES, *_SUNGLASSES),
        regions=GLASSES_REGIONS,
        conflicts=("sunglasses", "no-glasses"),
        defaults=_FRAMES,
        mask=_GLASSES_MASK,
        hidden_by=("Sunglasses",),
    ),
    Category(
        "sunglasses",
        targets=_SUNGLASSES[:2],
        source="without glasses",
        attribute="Sunglasses",
        replaces=(*_NO_GLASSES, *_GLASSES),
        regions=GLASSES_REGIONS,
        conflicts=("glasses", "no-glasses"),
        mask=_GLASSES_MASK,
        strength=_SHADES_STRENGTH,
        defaults=_SHADES,
    ),
    Category(
        "no-glasses",
        targets=_NO_GLASSES[:2],
        source="wearing glasses",
        attribute="Eyeglasses",
        present=False,
        replaces=(*_GLASSES, *_SUNGLASSES),
        regions=GLASSES_REGIONS,
        conflicts=("glasses", "sunglasses"),
        mask=_GLASSES_MASK,
        strength=_FIRM_STRENGTH,
    ),
)

_NO_BEARD = (*PHRASES["No_Beard"], "clean-shaven")
_FULL_BEARD = (*PHRASES["Beard"][:3], "a beard", "beard")
_GOATEE = (*PHRASES["Goatee"], "goatee")
_MOUSTACHE = (*PHRASES["Mustache"], "a mustache", "moustache", "mustache")
_STUBBLE = (*PHRASES["5_o_Clock_Shadow"], "stubble")
_BEARD_REGIONS = ("skin", *_MOUTH, "neck")
_FULL = {"miniature": {"strength": 1.1, "guidance": 1.2, "threshold": 0.75}}
"""Of a full beard: more strength and guidance, since some are not seen with less, and a lower threshold,
since some hardly differ from the skin. Figures in docs/results.md."""

_GROWN_STRENGTH = 1.05
_GROWN_GUIDANCE = 1.1
"""Beards need more than usual to grow. Figures in docs/results.md."""

FACIAL_HAIR = _reshaping(
    Category(
        "beard",
        targets=_FULL_BEARD[:3],
        source="no beard",
        attribute="Beard",
        replaces=(*_NO_BEARD, *_GOATEE, *_MOUSTACHE, *_STUBBLE),
        regions=_BEARD_REGIONS,
        conflicts=(*_others(_BEARDS, "beard"), "moustache", "woman"),
        strength=_GROWN_STRENGTH,
        guidance=_GROWN_GUIDANCE,
        defaults=_FULL,
        threshold=_PLAIN_THRESHOLD,
        needs=("Male",),
    ),
    Category(
        "goatee",
        targets=_GOATEE[:2],
        source="no beard",
        attribute="Goatee",
        replaces=(*_NO_BEARD, *_FULL_BEARD, *_MOUSTACHE, *_STUBBLE, "no goatee"),
        regions=_BEARD_REGIONS,
        conflicts=(*_others(_BEARDS, "goatee"), "moustache", "woman"),
        strength=_GROWN_STRENGTH,
        guidance=_GROWN_GUIDANCE,
        needs=("Male",),
    ),
    Category(
        "moustache",
        targets=_MOUSTACHE[:3],
        source="no beard",
        attribute="Mustache",
        replaces=(*_NO_BEARD, *_FULL_BEARD, *_GOATEE, *_STUBBLE, "no moustache", "no mustache"),
        regions=("skin", *_MOUTH, "nose"),
        conflicts=("beard", "goatee", "no-beard", "woman"),
        strength=_GROWN_STRENGTH,
        guidance=_GROWN_GUIDANCE,
        needs=("Male",),
    ),
    Category(
        "no-beard",
        targets=_NO_BEARD[:3],
        source=_FULL_BEARD[0],
        attribute="No_Beard",
        replaces=(*_FULL_BEARD, *_GOATEE, *_MOUSTACHE, *_STUBBLE),
        regions=_BEARD_REGIONS,
        conflicts=("beard", "goatee", "moustache"),
    ),
)


def _pair(
    name: str,
    attribute: str,
    on: tuple[str, ...],
    off: tuple[str, ...],
    regions: tuple[str, ...],
    guidance: float = 1.0,
    defaults: Mapping[str, Mapping[str, float]] | None = None,
) -> tuple[Category, Category]:
    """Return the edit that puts something on, with its guidance, and the one that takes it off."""
    without = f"no-{name}"
    edit = partial(Category, attribute=attribute, regions=regions, defaults=defaults or {})
    return (
        edit(name, on[:2], off[0], replaces=off, conflicts=(without,), guidance=guidance),
        edit(without, off[:2], on[0], present=False, replaces=on, conflicts=(name,)),
    )


_HAT_GUIDANCE = 1.4
"""A hat covers what is there. Figures in docs/results.md."""

_COVERING = {"miniature": {"strength": 1.25, "guidance": 1.05, "residual": 0.0}}
"""For a hat, on and off: under ε1's residual features hair stays where it is. Figures in docs/results.md."""

WORN = (
    *_reshaping(
        *_pair(
            "hat",
            "Wearing_Hat",
            on=(*PHRASES["Wearing_Hat"], "a hat", "hat", "wearing a cap"),
            off=ABSENT_PHRASES["Wearing_Hat"],
            regions=("hat", "hair", "background", "skin"),
            guidance=_HAT_GUIDANCE,
            defaults=_COVERING,
        ),
    ),
    *_pair(
        "lipstick",
        "Wearing_Lipstick",
        on=(*PHRASES["Wearing_Lipstick"], "lipstick", "red lipstick"),
        off=ABSENT_PHRASES["Wearing_Lipstick"],
        regions=("u_lip", "l_lip", "mouth"),
        defaults=_FAINT,
    ),
    *_pair(
        "makeup",
        "Heavy_Makeup",
        on=(*PHRASES["Heavy_Makeup"], "wearing makeup", "with makeup", "makeup", "make-up"),
        off=ABSENT_PHRASES["Heavy_Makeup"],
        regions=_FACE,
        defaults=_TINY,
    ),
    *_pair(
        "earrings",
        "Wearing_Earrings",
        on=(*PHRASES["Wearing_Earrings"], "earrings"),
        off=ABSENT_PHRASES["Wearing_Earrings"],
        regions=("ear_r", "l_ear", "r_ear", "neck", "hair"),
        defaults=_TINY,
    ),
)

_FRECKLES_THRESHOLD = 0.5
"""Freckles are faint, and blurred before they are compared with it."""

SKIN = (
    Category(
        "freckles",
        targets=("freckles", "with freckles", "freckled skin"),
        weights=(2.0, 1.0, 1.0),
        source="clear skin",
        negative="smooth skin",
        attribute="Freckles",
        own_labels=("Freckles",),
        replaces=("no freckles", "without freckles", "smooth skin"),
        regions=("skin", "nose"),
        threshold=_FRECKLES_THRESHOLD,
        judge=Lazily("keyface.plugins.builtin_code:freckles_judge"),
        loss=Lazily("keyface.plugins.builtin_code:freckles_loss"),
    ),
)

CATEGORIES: tuple[Category, ...] = (
    *AGE, *GENDER, *EXPRESSION, *HAIR, *GLASSES, *FACIAL_HAIR, *WORN, *SKIN,
)  # fmt: skip
"""What the entry point `builtin` of the group `keyface.edits` names."""
