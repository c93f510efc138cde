"""Distances of rows to centres are used as they are found: no n x k matrix is ever written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from daskml_kit.cluster import KMeans, MiniBatchKMeans

N, K, D = 10_000, 1_000, 8
X = np.random.default_rng(0).normal(size=(N, D))


def status(name: str) -> int:
    """Bytes that the kernel counts for this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def peak_growth(do) -> int:
    """Largest resident memory above what there was, that of compiled code included."""
    Path("/proc/self/clear_refs").write_text("5")  # the largest so far is forgotten
    before = status("VmRSS:")
    do()
    return status("VmHWM:") - before


@pytest.mark.parametrize(
    ("form", "algorithms"),
    [(np.asarray, ["lloyd", "hamerly", "elkan"]), (sparse.csr_array, ["lloyd"])],
)
def test_no_matrix_of_rows_by_centres(form, algorithms):
    rows, few = form(X), form(X[:K])
    models = [KMeans(K, init=X[:K], max_iter=2, algorithm=name) for name in algorithms]
    for model in [*models, MiniBatchKMeans(K, init=X[:K], batch_size=N, max_iter=1)]:
        model.fit(few)  # what is compiled or imported is there

        def fit_and_answer(model=model):
            model.fit(rows).predict(rows)

        # not even a byte for each pair; elkan's bounds take one for two
        assert peak_growth(fit_and_answer) < N * K, model
    assert peak_growth(lambda: model.transform(rows)) > 4 * N * K  # what is asked for is seen
