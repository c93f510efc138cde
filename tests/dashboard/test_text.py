from daskml_kit.dashboard import text
from daskml_kit.dashboard.aggregate import Aggregate
from daskml_kit.dashboard.loads import worker_loads


def loads_of(events):
    seen = Aggregate()
    seen.extend(events)
    return worker_loads(seen.fits)


def test_verdict_on_an_even_load(make_fit):
    assert "even" in text.verdict(loads_of(make_fit(seconds=(0.1, 0.1, 0.102, 0.1))))


def test_verdict_tells_a_slow_worker_from_one_with_more_rows(make_fit):
    slow = text.verdict(loads_of(make_fit()))
    assert "10.0.0.3:403" in slow
    assert "1.60 × the mean" in slow
    assert "slower" in slow
    skewed = text.verdict(loads_of(make_fit(rows=(1000, 1000, 2000, 1000))))
    assert "1.60 × the mean number of rows" in skewed


def test_verdict_on_nothing_and_on_one_worker(make_fit):
    assert "No worker" in text.verdict([])
    assert "One worker, local-0" in text.verdict(loads_of(make_fit(workers=("local-0",))))


def test_tables_escape_names(make_fit):
    seen = Aggregate()
    seen.extend(make_fit("<script>-1", workers=("<b>",)))
    assert "<script>" not in text.fit_table(seen.fits)
    assert "<b>" not in text.worker_table(worker_loads(seen.fits))
