"""Many trees over the same binned rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from daskml_kit.kernels.tree_growth import Nodes
from daskml_kit.tree.ground import Ground, Growth, Way, replicate, way_to_grow
from daskml_kit.tree.levels import level_by_level


@dataclass(frozen=True, eq=False)
class Grown:
    """Trees, how they grew, and which way was taken."""

    trees: list[Nodes]
    growth: Growth
    way: Way


def grow_forest(ground: Ground, growth: Growth, keys: Sequence[int]) -> Grown:
    """A tree for each key; the same trees, whichever way, unless features are elected."""
    way = way_to_grow(ground, growth)
    grow = replicate if way == "replicate" else level_by_level
    return Grown(grow(ground, growth, keys), growth, way)


__all__ = ["Grown", "grow_forest"]
