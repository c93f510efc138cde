"""Scores on whatever the estimators answer: NumPy, pandas, dask or xarray, in one pass."""

from daskml_kit.metrics.scores import accuracy_score, r2_score

__all__ = ["accuracy_score", "r2_score"]
