"""Logistic regression, 1,000,000 x 50, beside scikit-learn's solvers, dask-ml and Spark."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import SimpleNamespace

import dask.array as da
import numpy as np
from dask import delayed
from distributed import Client, LocalCluster, wait
from sklearn import linear_model

from benchmarks.harness import gemm_flops, interleave, memory_read_seconds, pairwise_ratio, table
from benchmarks.spark import has_spark, native_blas, spark_rows, spark_session
from daskml_kit.linear_model import LogisticRegression
from daskml_kit.linear_model.choice import SAMPLE

N_ROWS, N_FEATURES, N_CHUNKS = 1_000_000, 50, 20
L2 = 1e-4  # of the averaged objective
TOL = 1e-6
OURS, SPARK = "daskml_kit, 2 one-thread workers", "Spark"
DASK_ML, DASK_ML_DEFAULT = "dask-ml lbfgs", "dask-ml lbfgs, columns standardised"
PEERS = {"newton-cholesky": "scikit-learn newton-cholesky", "lbfgs": "scikit-learn lbfgs"}
ASKED = {PEERS["newton-cholesky"]: 5, PEERS["lbfgs"]: 16, SPARK: 17, DASK_ML: 45}
"""Times faster than each; all of them on both cores."""
REPEATS, REPEATS_OF_SLOW = 4, 2


def rows(chunk: int) -> tuple[np.ndarray, np.ndarray]:
    """One chunk of X, with scales over one decade, and labels from a fixed model."""
    rng = np.random.default_rng([1, chunk])
    scale = np.logspace(0, -1, N_FEATURES)
    X = rng.normal(size=(N_ROWS // N_CHUNKS, N_FEATURES)) * scale
    true = np.random.default_rng(0).normal(size=N_FEATURES)
    y = rng.random(len(X)) < 1 / (1 + np.exp(-X @ true))
    return X, y.astype(np.int64)


def objective(model: object, X: np.ndarray, y: np.ndarray) -> float:
    """The averaged objective at a fitted model's coefficients."""
    eta = X @ model.coef_[0] + model.intercept_[0]
    return float(np.mean(np.logaddexp(0, eta) - y * eta) + L2 / 2 * model.coef_[0] @ model.coef_[0])


def distributed_data(client: Client) -> tuple[da.Array, da.Array]:
    """The same rows, resident on the workers."""
    n = N_ROWS // N_CHUNKS
    parts = [delayed(rows, nout=2)(i) for i in range(N_CHUNKS)]
    X = da.concatenate([da.from_delayed(p[0], (n, N_FEATURES), np.float64) for p in parts])
    y = da.concatenate([da.from_delayed(p[1], (n,), np.int64) for p in parts])
    X, y = client.persist([X, y])
    wait([X, y])
    return X, y


def dask_ml_fit(X: da.Array, y: da.Array, C: float, *, normalize: bool) -> object:
    """Its ``C`` is scikit-learn's, but the intercept is penalised too."""
    from dask_ml.linear_model import LogisticRegression as Peer

    how = {"normalize": normalize}
    model = Peer(C=C, solver="lbfgs", tol=TOL, max_iter=1_000, solver_kwargs=how).fit(X, y)
    return SimpleNamespace(
        coef_=np.atleast_2d(model.coef_), intercept_=np.atleast_1d(model.intercept_), n_iter_=None
    )


def spark_fit(rows: object) -> object:
    """Its ``regParam`` is of the averaged objective; columns as they are, the intercept free."""
    from pyspark.ml.classification import LogisticRegression as Peer

    model = Peer(regParam=L2, standardization=False, tol=TOL, maxIter=1_000).fit(rows)
    return SimpleNamespace(
        coef_=model.coefficients.toArray()[None],
        intercept_=np.array([model.intercept]),
        n_iter_=[model.summary.totalIterations],
    )


def report() -> str:
    """Run it; the section of the report."""
    chunks = [rows(i) for i in range(N_CHUNKS)]
    X, y = np.concatenate([c[0] for c in chunks]), np.concatenate([c[1] for c in chunks])
    del chunks
    C = 1 / (N_ROWS * L2)
    fitted: dict[str, object] = {}

    def case(name: str, fit: Callable[[], object]) -> dict[str, Callable[[], None]]:
        return {name: lambda: fitted.update({name: fit()})}

    with ExitStack() as stack:
        cluster = stack.enter_context(
            LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0")
        )
        Xd, yd = distributed_data(stack.enter_context(Client(cluster)))
        ours = case(OURS, lambda: LogisticRegression(C=C, tol=TOL).fit(Xd, yd))
        fast = dict(ours)
        for solver, name in PEERS.items():
            model = linear_model.LogisticRegression(C=C, tol=TOL, solver=solver, max_iter=1_000)
            fast |= case(name, lambda model=model: model.fit(X, y))
        slow = ours | case(DASK_ML, lambda: dask_ml_fit(Xd, yd, C, normalize=False))
        slow |= case(DASK_ML_DEFAULT, lambda: dask_ml_fit(Xd, yd, C, normalize=True))
        # In groups, so that each peer's fits have ours as near neighbours.
        runs = [
            interleave(fast, REPEATS, rested=True),
            interleave(slow, REPEATS_OF_SLOW, rested=True),
        ]
        blas = ""
        if has_spark():
            session = stack.enter_context(spark_session())
            table_ = stack.enter_context(spark_rows(session, X, y))
            spark = ours | case(SPARK, lambda: spark_fit(table_))
            runs.append(interleave(spark, REPEATS, rested=True))
            blas = f" Spark's linear algebra: {native_blas(session)}."
    ratios = {name: pairwise_ratio(t, run[OURS]) for run in runs for name, t in run.items()}
    beside = ", ".join(f"{run[OURS].median:.2f}" for run in runs[1:])
    timings = {name: t for run in reversed(runs) for name, t in run.items()}
    best = min(objective(m, X, y) for m in fitted.values())
    passes, rounds = fitted[OURS].n_passes_, fitted[OURS].n_rounds_
    read = memory_read_seconds(X.nbytes) / 2
    sample = SAMPLE * (N_FEATURES + 1)
    flops = sample * (N_FEATURES + 1) ** 2 / gemm_flops() / 2
    body = [
        [
            name,
            f"{timings[name].median:.2f}",
            timings[name].spread,
            f"{(objective(model, X, y) - best) / best:.1e}",
            "" if model.n_iter_ is None else str(int(model.n_iter_[0])),
            f"{ratios[name]:.1f} (asked for: {ASKED[name]})" if name in ASKED else "",
        ]
        for name, model in fitted.items()
    ]
    floor = flops + passes * read
    head = [
        "",
        "seconds (median)",
        "min-max",
        "suboptimality",
        "iterations",
        "times slower than ours",
    ]
    return f"""## Logistic regression, {N_ROWS:,} x {N_FEATURES}, L2 {L2:g}

From data that lie where each library wants them (persisted Dask arrays; NumPy arrays; a cached table), all on
both cores, tol {TOL:g}, {REPEATS} repetitions in turn ({REPEATS_OF_SLOW} of dask-ml): scikit-learn's,
dask-ml's and Spark's fits each in turn with ours, whose median was {beside} s beside the two
latter. Ratios are medians of the pairs.

{table(head, body)}

All but one minimise the same objective, scikit-learn's being ``C n`` times the averaged one; dask-ml
penalises the intercept too, whose best value is near zero here. By default dask-ml standardises the columns
and penalises the coefficients of those: another objective, better conditioned.{blas}
Passes over all rows: {passes}, the validating read included; {rounds - passes} more rounds read a sample of
{sample:,} rows, and the last of them takes the Hessian that serves all passes. Floor on two cores:
{floor:.2f} s ({passes} reads of the memory of {read * 1e3:.0f} ms, one Hessian of {flops * 1e3:.1f} ms at the
speed of a matrix product with its symmetry used); the fit takes {timings[OURS].median / floor:.1f} times
the floor.
"""
