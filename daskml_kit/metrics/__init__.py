"""Scores on whatever the estimators answer: NumPy, pandas, dask or xarray, in one pass or a few rounds."""

from daskml_kit.metrics.areas import average_precision_score, roc_auc_score
from daskml_kit.metrics.clusters import (
    calinski_harabasz_score,
    davies_bouldin_score,
    silhouette_score,
    simplified_silhouette_score,
)
from daskml_kit.metrics.scores import accuracy_score, log_loss, r2_score

__all__ = [
    "accuracy_score",
    "average_precision_score",
    "calinski_harabasz_score",
    "davies_bouldin_score",
    "log_loss",
    "r2_score",
    "roc_auc_score",
    "silhouette_score",
    "simplified_silhouette_score",
]
