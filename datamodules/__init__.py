"""LightningDataModules over WebDataset shards, rendered faces and videos."""
