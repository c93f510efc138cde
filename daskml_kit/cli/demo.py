"""``daskml-kit demo``: real data, a real cluster, beside scikit-learn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from PIL import Image
from sklearn import datasets, ensemble as sk_ensemble, linear_model as sk_linear
from sklearn.cluster import KMeans as SKMeans
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import daskml_kit
from daskml_kit import dashboard
from daskml_kit.cli.tables import load_table, model_table
from daskml_kit.cluster import KMeans
from daskml_kit.ensemble import BlockwiseClassifier
from daskml_kit.exceptions import ClusterError, InvalidParameterError
from daskml_kit.linear_model import LogisticRegression, Ridge
from daskml_kit.runtime.events import Run

N_COLOURS = 16
N_CHUNKS = 8
CONNECT_SECONDS = 10
REPORT = "demo-report.html"
PICTURE = "demo-photo.png"
FEW = 160  # rows to warm up with
BLOCKWISE = (
    "block-wise: a model for each of 4 blocks, which sees no other rows; scikit-learn's sees them all,\n"
    "and so does ensemble.ExtraTreesClassifier."
)


@dataclass(frozen=True)
class Result:
    """One row of the first table."""

    model: str
    measure: str
    ours: float
    theirs: float
    seconds: float
    their_seconds: float
    rounds: int
    passes: int


@dataclass(frozen=True)
class Job:
    """One model to train: how, beside what, and how to measure both on the same split."""

    title: str
    measure: str
    small: Callable[[], Any]  # the same on few rows
    ours: Callable[[], Any]  # a fitted estimator
    theirs: Callable[[], Any]
    score: Callable[[Any], float]


def run_demo(scheduler: str | None, n_workers: int, output: Path) -> int:
    """Train everything, print two tables, write the picture and the report."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidParameterError(
            f"--output {output}: no folder can be made there ({error.strerror}). Name another one."
        ) from None
    begun = time.perf_counter()
    with ExitStack() as stack:
        client = stack.enter_context(_client(scheduler, n_workers))
        _announce(client)
        jobs = [*_photo_jobs(), *_digits_jobs(), *_diabetes_jobs()]
        _warm_up(jobs)
        with daskml_kit.record() as run:
            results, photo = _train(jobs, output)
        report = run.report(output / REPORT)
    print("\n" + model_table(results))
    if any("block-wise" in each.model for each in results):
        print(BLOCKWISE)
    print("\n" + load_table(run))
    print(f"\nphotograph in {N_COLOURS} colours  {photo}\nreport                    {report}")
    print(f"total                     {time.perf_counter() - begun:.1f} s")
    return 0


@contextmanager
def _client(scheduler: str | None, n_workers: int) -> Iterator[Client]:
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS)
        except OSError as error:
            raise ClusterError(f"No scheduler answers at {scheduler}: {error}") from None
        except ValueError as error:
            raise InvalidParameterError(
                f"--scheduler {scheduler} is no address of a scheduler: {error}. It looks like "
                "tcp://host:8786."
            ) from None
        with client:
            yield client
        return
    with (
        LocalCluster(
            n_workers=n_workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def _announce(client: Client) -> None:
    info = client.scheduler_info()
    print(f"cluster    {info['address']}, {len(info['workers'])} workers")
    try:
        print(f"dashboard  {dashboard.install(client)}   (open it while the demo runs)")
    except ClusterError as error:
        print(f"dashboard  not available: {error}")


def _warm_up(jobs: list[Job]) -> None:
    """Each worker imports the package and loads its compiled kernels once: no matter of any model."""
    start = time.perf_counter()
    for job in jobs:
        job.small()
    print(
        f"workers    warm after {time.perf_counter() - start:.1f} s: each fit is timed from here on"
    )


def _train(jobs: list[Job], output: Path) -> tuple[list[Result], Path]:
    results = []
    photo = output / PICTURE
    with tqdm(jobs, unit="model", bar_format="{desc} [{n_fmt}/{total_fmt} {elapsed}]") as line:
        for job in line:
            line.set_description_str(f"training {job.title:<34}")
            result, model = _run(job)
            results.append(result)
            if isinstance(model, KMeans):
                _recolour(model, photo)
        line.set_description_str("trained  all")
    return results, photo


def _run(job: Job) -> tuple[Result, Any]:
    start = time.perf_counter()
    model = job.ours()
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    peer = job.theirs()
    their_seconds = time.perf_counter() - start
    result = Result(
        job.title, job.measure, job.score(model), job.score(peer), seconds, their_seconds,
        model.n_rounds_, model.n_passes_,
    )  # fmt: skip
    return result, model


def _blocks(*arrays: Any, chunks: int = N_CHUNKS) -> list[da.Array]:
    rows = -(-len(arrays[0]) // chunks)
    return [da.from_array(a, chunks=(rows, *a.shape[1:])) for a in arrays]


# ---------------------------------------------------------------- the models


def _photograph() -> Any:
    return datasets.load_sample_images().images[0]


def _photo_jobs() -> list[Job]:
    pixels = _photograph().reshape(-1, 3) / 255.0
    (X,) = _blocks(pixels)
    return [
        Job(
            f"k-means, {len(pixels):,} pixels, k={N_COLOURS}",
            "inertia",
            lambda: KMeans(N_COLOURS, random_state=0).fit(*_blocks(pixels[:: len(pixels) // FEW])),
            lambda: KMeans(N_COLOURS, random_state=0).fit(X),
            lambda: SKMeans(N_COLOURS, random_state=0).fit(pixels),
            lambda model: float(model.inertia_),
        )
    ]


def _digits_jobs() -> list[Job]:
    X, y = datasets.load_digits(return_X_y=True)
    X = X / 16.0
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=0, stratify=y)
    Xd, yd = _blocks(X, y)
    X_few, y_few = _blocks(X, y, chunks=4)

    def accuracy(model: Any) -> float:
        return float(model.score(X_test, y_test))

    def blockwise() -> Any:
        forest = sk_ensemble.ExtraTreesClassifier(n_estimators=25, random_state=0)
        return BlockwiseClassifier(forest, fusion="average", random_state=0)

    return [
        Job(
            "logistic regression, digits",
            "accuracy",
            lambda: LogisticRegression().fit(*_blocks(X[:FEW], y[:FEW])),
            lambda: LogisticRegression(tol=1e-5).fit(Xd, yd),
            lambda: sk_linear.LogisticRegression(tol=1e-5, max_iter=1000).fit(X, y),
            accuracy,
        ),
        Job(
            "block-wise extra trees, digits",
            "accuracy",
            lambda: blockwise().fit(*_blocks(X[:FEW], y[:FEW], chunks=4)),
            lambda: blockwise().fit(X_few, y_few),
            lambda: sk_ensemble.ExtraTreesClassifier(n_estimators=100, random_state=0).fit(X, y),
            accuracy,
        ),
    ]


def _diabetes_jobs() -> list[Job]:
    X, y = datasets.load_diabetes(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.25, random_state=0)
    Xd, yd = _blocks(X, y)
    return [
        Job(
            "ridge, diabetes",
            "R2",
            lambda: Ridge(alpha=0.1).fit(*_blocks(X[:FEW], y[:FEW])),
            lambda: Ridge(alpha=0.1).fit(Xd, yd),
            lambda: sk_linear.Ridge(alpha=0.1).fit(X, y),
            lambda model: float(model.score(X_test, y_test)),
        )
    ]


def _recolour(model: KMeans, path: Path) -> None:
    """The photograph with each pixel in the colour of its cluster."""
    photo = _photograph()
    colours = np.clip(model.cluster_centers_ * 255.0, 0, 255).round().astype(np.uint8)
    labels = model.predict(photo.reshape(-1, 3) / 255.0)
    Image.fromarray(colours[labels].reshape(photo.shape)).save(path)


__all__ = ["Job", "Result", "Run", "run_demo"]
