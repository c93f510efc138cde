import math
from dataclasses import replace

import pytest

from daskml_kit.dashboard.aggregate import Aggregate, CriticalPath
from daskml_kit.dashboard.bars import LoadPanel, PathPanel
from daskml_kit.dashboard.curves import (
    MAX_POINTS,
    SECONDS,
    gradient_panel,
    imbalance_panel,
    needs_log,
    objective,
    objective_panel,
    thinned,
)
from daskml_kit.dashboard.figures import bar_height
from daskml_kit.dashboard.loads import worker_loads
from daskml_kit.dashboard.strip import StripPanel
from daskml_kit.dashboard.tail import MOST_BOXES, ROUNDS_SHOWN
from daskml_kit.runtime.machines import WorkerFacts


def fits_of(*runs):
    seen = Aggregate(max_points=None)
    for events in runs:
        seen.extend(events)
    return seen.fits


def test_load_panel_draws_each_worker(make_fit):
    fits = fits_of(make_fit())
    panel = LoadPanel()
    panel.show(worker_loads(fits))
    data = panel._source.data
    assert data["worker"] == [f"10.0.0.{i}:40{i}" for i in range(1, 5)]
    assert data["compute"] == pytest.approx([0.6, 0.6, 1.2, 0.6])
    assert panel.seconds.y_range.factors == data["worker"][::-1]
    shares = [data[f"{k}_share"][0] for k in ("compute", "transfer", "wait", "idle")]
    assert sum(shares) == pytest.approx(1.0)
    assert panel.memory.xaxis[0].axis_label == "Memory (kB)"
    assert data["size"] == [80.0] * 4
    assert (panel.rows.xaxis[0].axis_label, data["rows_scaled"]) == ("Rows (k)", [1.0] * 4)
    assert data["speed"] == pytest.approx([1e4, 1e4, 5e3, 1e4])


def test_curves_have_a_line_a_fit(make_fit):
    fits = fits_of(make_fit("Ridge-1"), make_fit("Ridge-2", n=4))
    panel = objective_panel(fits, "Ridge")
    panel.show(fits)
    assert panel._lines.data["fit"] == ["Ridge-1", "Ridge-2"]
    assert panel._lines.data["xs"] == [[1, 2, 3, 4, 5], [1, 2, 3]]
    assert len(set(panel._lines.data["color"])) == 2
    assert panel._dots.data["round"] == [1, 2, 3, 4, 5, 1, 2, 3]
    panel.show(fits, SECONDS)
    assert panel._lines.data["xs"][1] == pytest.approx([0.51, 0.77, 1.03])


def test_every_axis_has_a_title(make_fit):
    fits = fits_of(make_fit())
    load = LoadPanel()
    load.show(worker_loads(fits))
    for fig in (load.seconds, load.rows, load.memory, load.speed):
        assert fig.xaxis[0].axis_label
    for panel in (objective_panel(fits, "Ridge"), imbalance_panel()):
        assert panel.root.xaxis[0].axis_label == "Round"
        assert panel.root.yaxis[0].axis_label


def test_what_cannot_be_drawn_is_left_out(make_fit):
    values = {1: math.nan, 2: math.inf, 3: 2.0, 4: 1.0, 5: 0.5}
    fits = fits_of(make_fit(objective=values.__getitem__))
    panel = objective_panel(fits, "Ridge")
    panel.show(fits)
    assert panel._lines.data["ys"] == [[2.0, 1.0, 0.5]]


@pytest.mark.parametrize(
    ("values", "log"),
    [([1e6, 1.0], True), ([0.69, 0.2], False), ([100.0, -1.0], False), ([5.0, 0.0], False)],
)
def test_a_log_axis_only_where_it_helps(make_fit, values, log):
    fits = fits_of(make_fit(n=3, objective=lambda r: values[r - 1]))
    assert needs_log(fits, objective) is log


def test_imbalance_of_one_leaves_room_above(make_fit):
    panel = imbalance_panel()
    panel.show(fits_of(make_fit(workers=("local-0",))))
    assert (panel.root.y_range.start, panel.root.y_range.end) == (0.95, pytest.approx(1.47))


def test_long_curves_are_thinned_and_keep_their_end(make_fit):
    (fit,) = fits_of(make_fit(n=3 * MAX_POINTS))
    curve = [(p, 0.0) for p in fit.points]
    short = thinned(curve)
    assert len(short) <= MAX_POINTS + 1
    assert short[0] is curve[0]
    assert short[-1] is curve[-1]
    assert thinned(curve[:5]) == curve[:5]


def test_bars_of_many_workers_stay_on_the_screen():
    assert bar_height(4) < bar_height(20) <= bar_height(70) < 900


def test_memory_stands_against_its_limit(make_fit):
    panel = LoadPanel()
    facts = {"tcp://10.0.0.1:401": WorkerFacts(2, 4_000_000_000, 1_000_000_000, 500_000_000)}
    panel.show(worker_loads(fits_of(make_fit()), facts))
    data = panel._source.data
    assert panel.memory.xaxis[0].axis_label == "Memory (GB)"
    assert data["limit"] == [4.0, None, None, None]
    assert (data["memory"][0], data["spilled_to"][0], data["threads"][0]) == (1.0, 1.5, 2)
    assert data["limit_text"][1] == "no limit"


def test_many_workers_are_folded(make_fit):
    n = 320
    workers = [f"tcp://10.0.0.1:{4000 + i}" for i in range(n)]
    slow = [0.1 + 0.001 * i for i in range(n)]
    fits = fits_of(make_fit(workers=workers, seconds=slow, rows=[10] * n, n=3))
    panel = LoadPanel()
    panel.show(worker_loads(fits))
    names = panel._source.data["worker"]
    assert len(names) == 80
    assert names[0].endswith("4319")
    assert names[-1] == "7 workers: 10.0.0.1:4006 … 10.0.0.1:4000"
    strip = StripPanel()
    strip.show(fits)
    assert len(strip._boxes.data["left"]) <= MOST_BOXES


def test_the_strip_has_a_box_for_each_task_of_the_last_rounds(make_fit):
    fits = fits_of(make_fit(n=30), make_fit("KMeans-2", n=2, began=1003.0))
    strip = StripPanel()
    strip.show(fits)
    boxes = strip._boxes.data
    assert len(boxes["left"]) == 4 * 2 * ROUNDS_SHOWN
    assert min(boxes["left"]) == 0.0
    lengths = [b - a for a, b in zip(boxes["left"], boxes["right"], strict=True)]
    assert sorted({round(s, 6) for s in lengths}) == [0.1, 0.2]
    assert len(set(boxes["color"])) == 2
    assert len(strip._edges.data["x"]) == 1 + 2 * ROUNDS_SHOWN


def test_a_worker_with_another_clock_stays_in_its_round(make_fit):
    events = make_fit(n=2)
    late = tuple(t._replace(started=t.started - 3600.0) for t in events[2].measured)
    fits = fits_of([events[0], replace(events[2], measured=late)])
    strip = StripPanel()
    strip.show(fits)
    assert set(strip._boxes.data["left"]) == {0.0}


def test_the_critical_path_is_the_whole_fit(make_fit):
    (fit,) = fits = fits_of(make_fit(n=6))
    path = fit.critical_path
    assert path.compute == pytest.approx(6 * 0.2)
    assert path.transfer == pytest.approx(6 * 0.05)
    assert path.compute + path.transfer + path.driver == pytest.approx(fit.seconds)
    assert sum(path.shares) == pytest.approx(1.0)
    assert CriticalPath().shares == (0.0, 0.0, 0.0)
    panel = PathPanel()
    panel.show(fits)
    assert panel._source.data["compute"] == [pytest.approx(path.shares[0])]


def test_the_gradient_has_a_panel(make_fit):
    fits = fits_of(make_fit(gradient=lambda r: 10.0**-r), make_fit("KMeans-2"))
    panel = gradient_panel()
    panel.show(fits)
    assert panel._lines.data["fit"] == ["LogisticRegression-1"]
    assert panel._lines.data["ys"] == [[0.1, 0.01, 1e-3, 1e-4, pytest.approx(1e-5)]]
