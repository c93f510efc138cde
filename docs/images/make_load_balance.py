"""Take the README's pictures of the load-balance page: a real cluster, two fits at once, a real browser.

    make picture

Needs Chromium (Debian: apt-get install chromium) and Playwright (in the ``test`` extra).
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import dask.array as da
from distributed import Client, LocalCluster
from playwright.sync_api import sync_playwright

import daskml_kit
from daskml_kit import dashboard
from daskml_kit.cluster import KMeans
from daskml_kit.linear_model import LogisticRegression

HERE = Path(__file__).parent
SECONDS = 15
SIZE = {"width": 1360, "height": 1560}


def fit_until(stop: threading.Event) -> list[threading.Thread]:
    """K-means and logistic regression, each again and again."""
    n = 200_000
    X = da.random.default_rng(0).normal(size=(n, 20), chunks=(n // 16, 20)).persist()
    y = (X[:, 0] - 2 * X[:, 1] + da.random.default_rng(1).normal(size=n) > 0.5).persist()
    KMeans(24, n_init=1, max_iter=40, tol=0, random_state=1).fit(X)  # compiles the kernels
    LogisticRegression(solver="lbfgs", tol=1e-9, max_iter=200).fit(X, y)

    def again(make: object, *data: object) -> None:
        while not stop.is_set():
            make().fit(*data)

    makers = (
        (lambda: KMeans(24, n_init=1, max_iter=300, tol=0, random_state=0), X),
        (lambda: LogisticRegression(solver="lbfgs", tol=1e-9, max_iter=200), X, y),
    )
    return [threading.Thread(target=again, args=each) for each in makers]


def main() -> None:
    """Fit, look, and keep what is seen in both themes."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("No browser here. Install Chromium (Debian: apt-get install chromium).")
    stop = threading.Event()
    options = {"n_workers": 3, "threads_per_worker": 1, "memory_limit": "1GB"}
    with (
        LocalCluster(dashboard_address="127.0.0.1:0", **options) as cluster,
        Client(cluster) as client,
        daskml_kit.config_context(executor="actor"),
        sync_playwright() as playwright,
    ):
        address = dashboard.install(client)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        threads = fit_until(stop)
        for thread in threads:
            thread.start()
        page.wait_for_timeout(1000 * SECONDS)
        for theme, name in (("light", "load-balance.png"), ("dark", "load-balance-dark.png")):
            page.goto(f"{address}?theme={theme}")
            page.wait_for_selector(".running")
            page.wait_for_timeout(6000)
            page.screenshot(path=HERE / name, full_page=True)
            print(HERE / name)
        browser.close()
        stop.set()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
