"""Ensembles: models of models, fitted apart and fused into one."""

from daskml_kit.ensemble.blockwise import BlockwiseClassifier, BlockwiseRegressor
from daskml_kit.ensemble.stacking import StackingClassifier, StackingRegressor
from daskml_kit.ensemble.voting import VotingClassifier, VotingRegressor

__all__ = [
    "BlockwiseClassifier",
    "BlockwiseRegressor",
    "StackingClassifier",
    "StackingRegressor",
    "VotingClassifier",
    "VotingRegressor",
]
