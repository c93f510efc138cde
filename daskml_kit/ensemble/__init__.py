"""Ensembles: models fitted apart on blocks of the data and fused into one."""

from daskml_kit.ensemble.blockwise import BlockwiseClassifier, BlockwiseRegressor

__all__ = ["BlockwiseClassifier", "BlockwiseRegressor"]
