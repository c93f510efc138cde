"""Bagging of 16 scikit-learn trees, 200,000 x 20, side by side, against scikit-learn on both cores."""

from __future__ import annotations

import dask.array as da
from distributed import Client, LocalCluster, wait
from sklearn import ensemble
from sklearn.datasets import make_classification
from sklearn.tree import DecisionTreeClassifier

from benchmarks.harness import interleave, pairwise_ratio, table
from daskml_kit.ensemble import BaggingClassifier

N_ROWS, N_FEATURES, N_CHUNKS = 200_000, 20, 20
N_MEMBERS, DEPTH = 16, 8
REPEATS = 3


def report() -> str:
    """Run it; the section of the report."""
    X, y = make_classification(2 * N_ROWS, N_FEATURES, n_informative=10, flip_y=0.1, random_state=0)
    X, y, X_test, y_test = X[:N_ROWS], y[:N_ROWS], X[N_ROWS:], y[N_ROWS:]
    tree = DecisionTreeClassifier(max_depth=DEPTH)
    ours = BaggingClassifier(tree, N_MEMBERS, random_state=0)
    theirs = ensemble.BaggingClassifier(tree, N_MEMBERS, random_state=0, n_jobs=2)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        n = N_ROWS // N_CHUNKS
        Xd, yd = client.persist([da.from_array(X, chunks=(n, -1)), da.from_array(y, chunks=n)])
        wait([Xd, yd])
        cases = {
            "daskml_kit": lambda: ours.fit(Xd, yd),
            "scikit-learn": lambda: theirs.fit(X, y),
            "one member": lambda: tree.fit(X, y),
        }
        timings = interleave(cases, REPEATS)
    labels = {
        "daskml_kit": ("daskml_kit, 2 one-thread workers", ours),
        "scikit-learn": ("scikit-learn, n_jobs=2", theirs),
    }
    body = [
        [
            label,
            f"{timings[name].median:.2f}",
            timings[name].spread,
            f"{m.score(X_test, y_test):.4f}",
        ]
        for name, (label, m) in labels.items()
    ]
    ratio = pairwise_ratio(timings["scikit-learn"], timings["daskml_kit"])
    floor = N_MEMBERS * timings["one member"].median / 2
    fit = next(r for r in ours.history_ if r["name"] == "fit-members")
    return f"""## Bagging, {N_MEMBERS} scikit-learn trees of depth {DEPTH}, {N_ROWS:,} x {N_FEATURES}

From data that lie where each library wants them (persisted Dask arrays; NumPy arrays), {REPEATS} repetitions
in turn. Members are scikit-learn's own trees in both: what is compared is drawing and gathering their rows.

{table(["", "seconds (median)", "min-max", "test accuracy"], body)}

**{ratio:.2f} times scikit-learn's speed** (median of the pairs). Floor on two cores: {floor:.2f} s, half of
{N_MEMBERS} such trees on all rows. Members took {fit["seconds"]:.2f} s of the last fit, and
{fit["bytes"] / 1e6:.0f} MB were gathered.
"""
