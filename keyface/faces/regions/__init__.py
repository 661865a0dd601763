"""Regions of a face, by CelebAMask-HQ's names: from label maps, or drawn from landmarks."""

from keyface.faces.regions.labels import check_regions, dilate, region_mask
from keyface.faces.regions.landmarks import Landmarker, crop_landmarks
from keyface.faces.regions.sources import (
    LandmarkRegions,
    ParsedRegions,
    RegionMasks,
    RegionSource,
    everywhere,
)

__all__ = [
    "LandmarkRegions",
    "Landmarker",
    "ParsedRegions",
    "RegionMasks",
    "RegionSource",
    "check_regions",
    "crop_landmarks",
    "dilate",
    "everywhere",
    "region_mask",
]
