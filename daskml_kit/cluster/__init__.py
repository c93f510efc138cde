"""Clustering fitted in rounds over blocks."""

from daskml_kit.cluster.bisecting import BisectingKMeans
from daskml_kit.cluster.gaussian_mixture import GaussianMixture
from daskml_kit.cluster.k_means import KMeans
from daskml_kit.cluster.mini_batch import MiniBatchKMeans
from daskml_kit.cluster.spectral import SpectralClustering

__all__ = ["BisectingKMeans", "GaussianMixture", "KMeans", "MiniBatchKMeans", "SpectralClustering"]
