"""LightningModules of the two branches and of the miniature's own networks."""

from typing import TYPE_CHECKING

from keyface.lazy import lazily

if TYPE_CHECKING:
    from keyface.lightning_modules.direction import DirectionModule
    from keyface.lightning_modules.identity import IdentityModule

__all__ = ["DirectionModule", "IdentityModule"]

__getattr__ = lazily(
    __name__,
    {
        "DirectionModule": "keyface.lightning_modules.direction",
        "IdentityModule": "keyface.lightning_modules.identity",
    },
)
