"""Clustering fitted in rounds over blocks."""

from typing import TYPE_CHECKING

from daskml_kit.on_demand import on_demand

if TYPE_CHECKING:
    from daskml_kit.cluster.bisecting import BisectingKMeans
    from daskml_kit.cluster.gaussian_mixture import GaussianMixture
    from daskml_kit.cluster.k_means import KMeans
    from daskml_kit.cluster.mini_batch import MiniBatchKMeans
    from daskml_kit.cluster.spectral import SpectralClustering
    from daskml_kit.cluster.starting import k_means_parallel
else:
    __getattr__, __dir__ = on_demand(
        globals(),
        {
            "daskml_kit.cluster.bisecting": ["BisectingKMeans"],
            "daskml_kit.cluster.gaussian_mixture": ["GaussianMixture"],
            "daskml_kit.cluster.k_means": ["KMeans"],
            "daskml_kit.cluster.mini_batch": ["MiniBatchKMeans"],
            "daskml_kit.cluster.spectral": ["SpectralClustering"],
            "daskml_kit.cluster.starting": ["k_means_parallel"],
        },
    )

__all__ = [
    "BisectingKMeans",
    "GaussianMixture",
    "KMeans",
    "MiniBatchKMeans",
    "SpectralClustering",
    "k_means_parallel",
]
