"""Ensembles: models of models, fitted apart and fused into one."""

from daskml_kit.ensemble.adaboost import AdaBoostClassifier, AdaBoostRegressor
from daskml_kit.ensemble.bagging import BaggingClassifier, BaggingRegressor
from daskml_kit.ensemble.blockwise import BlockwiseClassifier, BlockwiseRegressor
from daskml_kit.ensemble.boosting_classifier import GradientBoostingClassifier
from daskml_kit.ensemble.boosting_regressor import GradientBoostingRegressor
from daskml_kit.ensemble.forest_classifiers import ExtraTreesClassifier, RandomForestClassifier
from daskml_kit.ensemble.forest_regressors import ExtraTreesRegressor, RandomForestRegressor
from daskml_kit.ensemble.fused import FusedClassifier, FusedRegressor, fuse
from daskml_kit.ensemble.stacking import StackingClassifier, StackingRegressor
from daskml_kit.ensemble.voting import VotingClassifier, VotingRegressor

__all__ = [
    "AdaBoostClassifier",
    "AdaBoostRegressor",
    "BaggingClassifier",
    "BaggingRegressor",
    "BlockwiseClassifier",
    "BlockwiseRegressor",
    "ExtraTreesClassifier",
    "ExtraTreesRegressor",
    "FusedClassifier",
    "FusedRegressor",
    "GradientBoostingClassifier",
    "GradientBoostingRegressor",
    "RandomForestClassifier",
    "RandomForestRegressor",
    "StackingClassifier",
    "StackingRegressor",
    "VotingClassifier",
    "VotingRegressor",
    "fuse",
]
