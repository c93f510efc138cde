"""Runs as tables, beside each other, in notebooks; and on the metrics page."""

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import daskml_kit
from daskml_kit.dashboard.aggregate import Aggregate
from daskml_kit.dashboard.prometheus import FitCollector
from daskml_kit.dashboard.summary import sparkline
from daskml_kit.exceptions import InvalidDataTypeError, InvalidParameterError
from daskml_kit.linear_model import LogisticRegression, Ridge
from daskml_kit.runtime.events import Run


def run_of(*fits):
    return Run(events=[event for events in fits for event in events])


def test_every_task_is_a_row(make_fit):
    run = run_of(make_fit(gradient=lambda r: 0.1, fit_id="a"), make_fit("KMeans-2", n=2))
    frame = run.to_dataframe()
    assert len(frame) == sum(len(r.tasks) for r in run.rounds) == 32
    assert frame["compute_seconds"].sum() == pytest.approx(6 * 0.5 + 2 * 0.5)
    assert frame["round_seconds"].unique() == pytest.approx([0.25])
    assert frame.groupby("fit")["round"].max().to_dict() == {
        "KMeans-2": 1,
        "LogisticRegression-1": 5,
    }
    per_worker = frame.assign(busy=frame.compute_seconds / frame.threads)
    spent = per_worker[["busy", "transfer_seconds", "wait_seconds"]].sum(axis=1)
    assert spent.to_numpy() == pytest.approx(frame["round_seconds"].to_numpy())
    assert list(Run().to_dataframe().columns) == list(frame.columns)


def test_two_runs_side_by_side(make_fit):
    mine = run_of(make_fit(n=6), make_fit("KMeans-2"))
    other = run_of(make_fit("LogisticRegression-7", n=3, seconds=(0.2, 0.2, 0.4, 0.2)))
    frame = mine.compare(other)
    first = frame.loc["LogisticRegression 1"]
    assert first.loc["n_rounds"].tolist() == [6, 3, 2]
    assert first.loc["compute"].tolist() == pytest.approx([3.0, 3.0, 1.0])
    assert first.loc["mean_imbalance", "ratio"] == pytest.approx(1.0)
    assert np.isnan(frame.loc["KMeans 1"]["other"]).all()
    assert len(Run().compare(Run())) == 0
    with pytest.raises(InvalidDataTypeError, match=r"other must be a Run.*got str"):
        mine.compare("report.html")


def test_a_run_and_a_fitted_estimator_show_themselves():
    X = np.random.default_rng(0).normal(size=(60, 3))
    with daskml_kit.record() as run:
        model = LogisticRegression().fit(X, X[:, 0] > 0)
    html = run._repr_html_()
    assert run.fits[0] in html
    assert "<svg" in html
    assert "No fit was recorded" in Run()._repr_html_()
    assert run.workers["local"].threads >= 1

    bare, shown = Ridge()._repr_mimebundle_(), model._repr_mimebundle_()
    assert "Mean imbalance".lower() not in bare["text/html"]
    assert bare["text/plain"] == "Ridge()"
    assert "sk-container" in shown["text/html"]  # scikit-learn's diagram stays
    assert f"<td>{model.n_rounds_}</td>" in shown["text/html"]
    pipe = make_pipeline(StandardScaler(), model)
    assert "sk-container" in pipe._repr_html_()


def test_a_sparkline_draws_what_is_finite():
    assert sparkline([1.0]) == sparkline([1.0, float("nan")]) == ""
    assert sparkline([100.0, 1.0, float("inf"), 0.1]).count(",") == 3


def test_a_graph_is_svg_or_refused(tmp_path):
    with pytest.raises(InvalidParameterError, match=r"does not end in \.svg.*'v\.svg'"):
        Run().visualize(tmp_path / "v.png")
    assert list(tmp_path.iterdir()) == []


def test_prometheus_hears_of_the_fits(make_fit):
    prometheus = pytest.importorskip("prometheus_client")
    seen = Aggregate(max_fits=1)
    registry = prometheus.CollectorRegistry()
    registry.register(FitCollector(seen))
    seen.extend(make_fit("KMeans-1", n=3))
    seen.extend(make_fit(max_iter=100, end=None))

    def value(name, **labels):
        return registry.get_sample_value(f"daskml_{name}", labels)

    fit = {"fit": "LogisticRegression-1"}
    assert value("fit_rounds_total", **fit) == 6
    assert value("fit_round_seconds_total", **fit) == pytest.approx(6 * 0.25)
    assert value("fit_imbalance", **fit) == pytest.approx(1.6)
    assert value("fit_objective", **fit) == 1 / 6
    assert (value("fit_iterations", **fit), value("fit_iterations_max", **fit)) == (5, 100)
    assert value("fit_running", **fit) == 1
    assert value("fit_gradient_norm", **fit) is None
    assert value("fit_rounds_total", fit="KMeans-1") is None  # kept no more
    third = "tcp://10.0.0.3:403"
    assert value("worker_compute_seconds_total", worker=third) == pytest.approx(9 * 0.2)
    assert value("worker_rows_total", worker=third) == 9000
