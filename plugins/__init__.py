"""Edit categories and their registry.

A category is data (`Category`) and, where data are not enough, functions (`extensions`). The registry finds
it by name (`edits`), and `compose` writes the source and the target prompt of one or several of them.
"""

from keyface.plugins.category import Category
from keyface.plugins.compose import PromptPair, compose
from keyface.plugins.demands import Demands, free_regions
from keyface.plugins.faults import EditError
from keyface.plugins.registry import PluginError, Registry, edits

__all__ = [
    "Category",
    "Demands",
    "EditError",
    "PluginError",
    "PromptPair",
    "Registry",
    "compose",
    "edits",
    "free_regions",
]
