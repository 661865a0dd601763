"""External weights: which there are, where they come from, their licences, and whether they are here."""

from keyface.weights.catalogue import Entry, WeightFile, catalogue
from keyface.weights.store import MissingWeightsError, Store

__all__ = ["Entry", "MissingWeightsError", "Store", "WeightFile", "catalogue"]
