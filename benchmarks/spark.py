"""Spark as a peer: one session on two threads, and rows as its cached table."""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

MEMORY = "8g"
THREADS = 2


def has_spark() -> bool:
    """Whether Spark and a Java runtime are installed."""
    return importlib.util.find_spec("pyspark") is not None and shutil.which("java") is not None


@contextmanager
def spark_session() -> Iterator[Any]:
    """A session on this machine alone, with Arrow, without a page and without progress lines."""
    from pyspark.sql import SparkSession

    session = (
        SparkSession.builder.master(f"local[{THREADS}]")
        .config("spark.driver.memory", MEMORY)
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.execution.arrow.pyspark.enabled", "true")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


def native_blas(session: Any) -> str:
    """Which linear algebra Spark found: "NativeBLAS" or a Java one."""
    from py4j.protocol import Py4JError

    blas = session._jvm.dev.ludovic.netlib.blas
    try:
        return str(blas.NativeBLAS.getInstance().getClass().getSimpleName())
    except (Py4JError, TypeError) as error:  # TypeError: Py4J takes a missing class for a package
        return f"none that is native ({type(error).__name__})"


@contextmanager
def spark_rows(session: Any, X: np.ndarray, y: np.ndarray | None = None) -> Iterator[Any]:
    """Rows as a cached table of ``row features label``, a part for each thread."""
    from pyspark.ml.functions import array_to_vector

    label = np.zeros(len(X)) if y is None else y.astype(np.float64)
    size = -(-len(X) // THREADS)
    with tempfile.TemporaryDirectory() as place:
        for start in range(0, len(X), size):
            part = slice(start, start + size)
            flat = X[part].astype(np.float64).ravel()
            columns = {
                "row": np.arange(len(X))[part],
                "x": pa.FixedSizeListArray.from_arrays(flat, X.shape[1]),
                "label": label[part],
            }
            parquet.write_table(pa.table(columns), Path(place) / f"{start:09}.parquet")
        vectors = array_to_vector("x").alias("features")
        rows = session.read.parquet(place).select("row", vectors, "label").coalesce(THREADS).cache()
        rows.count()
        try:
            yield rows
        finally:
            rows.unpersist()
