"""What the first fit of a fresh process costs: imports, compilation, and both again with a warm cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from benchmarks.harness import table

SCRIPT = """
import json, time
t0 = time.perf_counter()
import numpy as np
import sklearn.linear_model, sklearn.cluster, dask.array, distributed
t1 = time.perf_counter()
from daskml_kit.linear_model import LogisticRegression, Ridge
from daskml_kit.cluster import KMeans
t2 = time.perf_counter()
rng = np.random.default_rng(0)
X = rng.normal(size=(2000, 10)); y = (X[:, 0] > 0).astype(int)
out = {"peers' imports": t1 - t0, "our imports": t2 - t1}
for name, fit in {
    "LogisticRegression": lambda: LogisticRegression().fit(X, y),
    "Ridge": lambda: Ridge().fit(X, X[:, 0]),
    "KMeans": lambda: KMeans(4, random_state=0).fit(X),
}.items():
    for which in ("first", "second"):
        t = time.perf_counter(); fit(); out[f"{name}, {which} fit"] = time.perf_counter() - t
print(json.dumps(out))
"""


def _run(cache: str) -> dict[str, float]:
    env = {**os.environ, "NUMBA_CACHE_DIR": cache}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    out: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return out


def report() -> str:
    """Run it; the section of the report."""
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = _run(cache), _run(cache)
    body = [[name, f"{cold[name]:.2f}", f"{warm[name]:.2f}"] for name in cold]
    return f"""## First fit of a fresh process (seconds, 2,000 x 10)

{table(["", "nothing cached", "kernels cached"], body)}

Kernels are compiled once for each machine and kept beside the package (or in Numba's cache directory).
"""
