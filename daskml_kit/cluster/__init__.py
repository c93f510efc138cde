"""Clustering fitted in rounds over blocks."""

from daskml_kit.cluster.bisecting import BisectingKMeans
from daskml_kit.cluster.gaussian_mixture import GaussianMixture
from daskml_kit.cluster.k_means import KMeans
from daskml_kit.cluster.mini_batch import MiniBatchKMeans
from daskml_kit.cluster.spectral import SpectralClustering
from daskml_kit.cluster.starting import k_means_parallel

__all__ = [
    "BisectingKMeans",
    "GaussianMixture",
    "KMeans",
    "MiniBatchKMeans",
    "SpectralClustering",
    "k_means_parallel",
]
