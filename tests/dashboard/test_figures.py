import math

import pytest

from daskml_kit.dashboard.aggregate import Aggregate, worker_loads
from daskml_kit.dashboard.figures import (
    MAX_POINTS,
    LoadPanel,
    bar_height,
    imbalance_panel,
    needs_log,
    objective_panel,
    thinned,
)


def fits_of(*runs):
    seen = Aggregate(max_points=None)
    for events in runs:
        seen.extend(events)
    return seen.fits


def test_load_panel_draws_each_worker(make_fit):
    fits = fits_of(make_fit())
    panel = LoadPanel(idle=True)
    panel.show(worker_loads(fits))
    data = panel._source.data
    assert data["worker"] == [f"10.0.0.{i}:40{i}" for i in range(1, 5)]
    assert data["compute"] == pytest.approx([0.6, 0.6, 1.2, 0.6])
    assert panel.seconds.y_range.factors == data["worker"][::-1]
    shares = [data[f"{k}_share"][0] for k in ("compute", "transfer", "wait", "idle")]
    assert sum(shares) == pytest.approx(1.0)
    assert panel.nbytes.xaxis[0].axis_label == "Data (kB)"
    assert data["size"] == [80.0] * 4


def test_curves_have_a_line_a_fit(make_fit):
    fits = fits_of(make_fit("Ridge-1"), make_fit("Ridge-2", n=4))
    panel = objective_panel(fits, "Ridge")
    assert panel._lines.data["fit"] == ["Ridge-1", "Ridge-2"]
    assert panel._lines.data["xs"] == [[1, 2, 3, 4, 5], [1, 2, 3]]
    assert len(set(panel._lines.data["color"])) == 2
    assert panel._dots.data["round"] == [1, 2, 3, 4, 5, 1, 2, 3]


def test_every_axis_has_a_title(make_fit):
    fits = fits_of(make_fit())
    load = LoadPanel(idle=False)
    load.show(worker_loads(fits))
    for fig in (load.seconds, load.rows, load.nbytes):
        assert fig.xaxis[0].axis_label
    for panel in (objective_panel(fits, "Ridge"), imbalance_panel()):
        assert panel.root.xaxis[0].axis_label == "Round"
        assert panel.root.yaxis[0].axis_label


def test_what_cannot_be_drawn_is_left_out(make_fit):
    values = {1: math.nan, 2: math.inf, 3: 2.0, 4: 1.0, 5: 0.5}
    panel = objective_panel(fits_of(make_fit(objective=values.__getitem__)), "Ridge")
    assert panel._lines.data["ys"] == [[2.0, 1.0, 0.5]]


@pytest.mark.parametrize(
    ("values", "log"),
    [([1e6, 1.0], True), ([0.69, 0.2], False), ([100.0, -1.0], False), ([5.0, 0.0], False)],
)
def test_a_log_axis_only_where_it_helps(values, log):
    assert needs_log(values) is log


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
