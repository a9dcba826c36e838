"""Pairs of samples at distance 0: how many, which, and whether reads or duplicates make them."""

from __future__ import annotations

from aam_core.zero_distances.search import ZeroDistances, find_zero_distances

__all__ = ["ZeroDistances", "find_zero_distances"]
