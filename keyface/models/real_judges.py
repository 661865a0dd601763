"""Judges for real faces: `keyface evaluate --judges keyface.models.real_judges:judges`.

Whatever of the evaluation recognizers is in the folder of weights takes part, with face-api's detector
before each.
"""

from keyface.models.judges import Judges
from keyface.models.recognizers import load_finding
from keyface.weights import Store, catalogue

RECOGNIZERS = ("cosface", "facenet", "vggface", "face-api")
"""Those that do not train ε1: ArcFace is f_arc of Eq. 5 and no judge."""


def judges() -> Judges:
    """Make the judges from the weights that are here.

    Raises:
        MissingWeightsError: There is no recognizer, or no detector; the message says how to get them.
        ValueError: Weights differ from the published ones.
    """
    store = Store()
    here = [name for name in RECOGNIZERS if not store.missing(catalogue()[name])]
    if not here or "face-api" not in here:
        store.require(["face-api"])
    versions = {name: version_of(name, store) for name in here}
    absent = [name for name in RECOGNIZERS if name not in here]
    remark = "Recognizers of real faces; ArcFace, which trained ε1, is none of them."
    if absent:
        remark += f" Not here: {', '.join(absent)}."
    return Judges(load_finding(here, store), versions=versions, remark=remark)


def version_of(name: str, store: Store) -> str:
    """Return the hashes of a recognizer's files, and of the detector's, on which it depends.

    Raises:
        ValueError: A file differs from what was published or pinned.
    """
    checked = [each for key in dict.fromkeys((name, "face-api")) for each in store.verify(catalogue()[key])]
    wrong = [each for each in checked if each.verdict in ("differs", "missing")]
    if wrong:
        raise ValueError(f"{wrong[0].path}: {wrong[0].verdict}; run `keyface weights verify`")
    return " ".join(f"{each.path.name}:{each.sha256[:16]}" for each in checked)
