"""Voting and stacking, ours beside scikit-learn's, of the same members."""

from __future__ import annotations

import sklearn.ensemble as reference
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import daskml_kit.ensemble as own

TREES = [
    ("shallow", DecisionTreeClassifier(max_depth=3, random_state=0)),
    ("deep", DecisionTreeClassifier(max_depth=6, random_state=1)),
]
SOFT = [*TREES, ("line", LogisticRegression())]
MIXED = [*TREES, ("margin", RidgeClassifier()), ("near", KNeighborsClassifier())]
VALUES = [
    ("tree", DecisionTreeRegressor(max_depth=4, random_state=0)),
    ("line", Ridge()),
    ("none", "drop"),
]

CLASSIFIERS = {
    "hard": ("VotingClassifier", SOFT, {"weights": [1, 2, 3]}),
    "soft": ("VotingClassifier", SOFT, {"voting": "soft", "weights": [0.2, 1, 0.5]}),
    "stack": ("StackingClassifier", MIXED, {}),
    "stack labels": ("StackingClassifier", MIXED, {"stack_method": "predict", "cv": 3}),
    "stack all": (
        "StackingClassifier",
        TREES,
        {"passthrough": True, "final_estimator": RidgeClassifier(), "cv": 4},
    ),
}
REGRESSORS = {
    "mean": ("VotingRegressor", VALUES, {"weights": [0.3, 1, 7]}),
    "stack": ("StackingRegressor", VALUES, {}),
    "stack all": ("StackingRegressor", VALUES, {"passthrough": True, "final_estimator": Ridge()}),
}


def pair(case):
    """(ours, scikit-learn's)"""
    name, members, how = case
    return getattr(own, name)(members, **how), getattr(reference, name)(members, **how)
