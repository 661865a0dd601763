"""CelebA's attributes, CelebAMask-HQ's regions and the phrases that captions use: plain data, no imports."""

from collections.abc import Mapping

CELEBA_ATTRIBUTES: tuple[str, ...] = (
    "5_o_Clock_Shadow", "Arched_Eyebrows", "Attractive", "Bags_Under_Eyes", "Bald", "Bangs", "Big_Lips",
    "Big_Nose", "Black_Hair", "Blond_Hair", "Blurry", "Brown_Hair", "Bushy_Eyebrows", "Chubby",
    "Double_Chin", "Eyeglasses", "Goatee", "Gray_Hair", "Heavy_Makeup", "High_Cheekbones", "Male",
    "Mouth_Slightly_Open", "Mustache", "Narrow_Eyes", "No_Beard", "Oval_Face", "Pale_Skin", "Pointy_Nose",
    "Receding_Hairline", "Rosy_Cheeks", "Sideburns", "Smiling", "Straight_Hair", "Wavy_Hair",
    "Wearing_Earrings", "Wearing_Hat", "Wearing_Lipstick", "Wearing_Necklace", "Wearing_Necktie", "Young",
)  # fmt: skip
"""The 40 attributes of CelebA, in the order of `list_attr_celeba.txt`."""

EXTRA_ATTRIBUTES: tuple[str, ...] = ("Sunglasses", "Beard", "Surprised", "Angry", "Sad")
"""Attributes that the paper edits and CelebA does not label. `Beard` is a full beard."""

ATTRIBUTES: tuple[str, ...] = CELEBA_ATTRIBUTES + EXTRA_ATTRIBUTES
"""All names that an attribute may have."""

REGIONS: tuple[str, ...] = (
    "background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth",
    "u_lip", "l_lip", "hair", "hat", "ear_r", "neck_l", "neck", "cloth",
)  # fmt: skip
"""The 19 classes of CelebAMask-HQ in the order of their ids: `REGIONS[id]`.

`eye_g` is glasses, `ear_r` an earring, `neck_l` a necklace. Left and right are the person's in CelebAMask-HQ,
and the viewer's in the miniature.
"""

REGION_IDS: Mapping[str, int] = {name: index for index, name in enumerate(REGIONS)}
"""The id of each region."""

PEOPLE: Mapping[tuple[bool, bool], tuple[str, ...]] = {
    (True, True): ("a young man", "a young male"),
    (True, False): ("an old man", "an old male", "an elderly man"),
    (False, True): ("a young woman", "a young female"),
    (False, False): ("an old woman", "an old female", "an elderly woman"),
}
"""(`Male`, `Young`) → phrases for the person, the usual one first."""

PHRASES: Mapping[str, tuple[str, ...]] = {
    "5_o_Clock_Shadow": ("with stubble", "unshaven"),
    "Angry": ("angry", "looking angry"),
    "Bald": ("bald", "with no hair"),
    "Bangs": ("with bangs", "bangs"),
    "Beard": ("with a full beard", "with a beard", "a full beard", "bearded"),
    "Black_Hair": ("black hair", "with black hair"),
    "Blond_Hair": ("blond hair", "blonde hair", "with blond hair"),
    "Brown_Hair": ("brown hair", "with brown hair"),
    "Eyeglasses": ("wearing glasses", "wearing eyeglasses", "with glasses"),
    "Goatee": ("with a goatee", "a goatee"),
    "Gray_Hair": ("gray hair", "grey hair", "with gray hair"),
    "Heavy_Makeup": ("heavy makeup", "with heavy makeup"),
    "Mustache": ("with a moustache", "with a mustache", "a moustache"),
    "No_Beard": ("no beard", "without a beard", "clean shaven"),
    "Sad": ("sad", "looking sad"),
    "Smiling": ("smiling", "happy", "with a smile"),
    "Sunglasses": ("wearing sunglasses", "with sunglasses"),
    "Surprised": ("surprised", "looking surprised"),
    "Wearing_Earrings": ("wearing earrings", "with earrings"),
    "Wearing_Hat": ("wearing a hat", "with a hat"),
    "Wearing_Lipstick": ("wearing lipstick", "with lipstick"),
}
"""Attribute → what a caption says where it holds, the usual phrase first.

The miniature's captions draw from these tuples by position, so their order decides its training captions.
"""

ABSENT_PHRASES: Mapping[str, tuple[str, ...]] = {
    "Bangs": ("no bangs", "without bangs"),
    "Eyeglasses": ("without glasses", "no glasses"),
    "Heavy_Makeup": ("no makeup", "without makeup"),
    "Smiling": ("not smiling", "with a neutral expression"),
    "Wearing_Earrings": ("no earrings", "without earrings"),
    "Wearing_Hat": ("without a hat", "no hat"),
    "Wearing_Lipstick": ("no lipstick", "without lipstick"),
}
"""Attribute → what a caption says where it does not hold, the usual phrase first."""
