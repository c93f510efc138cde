"""Clustering fitted in rounds over blocks."""

from daskml_kit.cluster.gaussian_mixture import GaussianMixture
from daskml_kit.cluster.k_means import KMeans

__all__ = ["GaussianMixture", "KMeans"]
