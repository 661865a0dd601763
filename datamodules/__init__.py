"""LightningDataModules over WebDataset shards, rendered faces and videos."""

from typing import TYPE_CHECKING

from keyface.lazy import lazily

if TYPE_CHECKING:
    from keyface.datamodules.shards import ShardsDataModule

__all__ = ["ShardsDataModule"]

__getattr__ = lazily(__name__, {"ShardsDataModule": "keyface.datamodules.shards"})
