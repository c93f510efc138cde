from daskml_kit.dashboard import live
from daskml_kit.dashboard.aggregate import Aggregate
from daskml_kit.dashboard.live import (
    ALL,
    NOTHING_YET,
    PAGE,
    CurvesView,
    LoadView,
    Page,
    Scene,
    rest,
)


def test_a_message_until_the_first_fit(make_fit):
    seen = Aggregate()
    page = Page(Scene(seen), PAGE)
    assert NOTHING_YET in page.root.children[0].text
    seen.extend(make_fit())
    page.update()
    assert len(page.root.children) == len(PAGE)
    assert "LogisticRegression-1" in page.root.children[1].text


def test_nothing_is_redrawn_without_news(make_fit, monkeypatch):
    seen = Aggregate()
    seen.extend(make_fit())
    page = Page(Scene(seen), PAGE)
    drawn = []
    for view in page._views:
        monkeypatch.setattr(view, "update", lambda: drawn.append(1))
    page.update()
    assert not drawn
    seen.extend(make_fit("Ridge-2"))
    page.update()
    page.update()
    assert len(drawn) == len(PAGE)


def test_a_page_rests_after_it_has_drawn(make_fit, monkeypatch):
    seen, drawn = Aggregate(), []
    seen.extend(make_fit())
    page = Page(Scene(seen), PAGE)
    monkeypatch.setattr(live, "rest", lambda cost, n_pages: drawn.append(n_pages) or 3600.0)
    for k in range(3):
        seen.extend(make_fit(f"Ridge-{k}"))
        page.update()
    assert len(drawn) == 1
    assert "Ridge-2" not in page.root.children[1].text
    assert rest(0.002, 3) == 0.002 * 3 / live.SHARE
    assert rest(2.0, 3) == live.LONGEST_REST


def test_a_panel_for_each_estimator(make_fit):
    seen = Aggregate()
    view = CurvesView(Scene(seen), imbalance=False)
    assert "No objective" in view._message.text
    seen.extend(make_fit("KMeans-1", objective=lambda r: 1e6 - r))
    seen.extend(make_fit("Ridge-2"))
    seen.extend(make_fit("KMeans-3", objective=lambda r: 1e6 - 2 * r))
    view.update()
    assert list(view._panels) == [("KMeans", False), ("Ridge", False)]
    assert view._panels["KMeans", False]._lines.data["fit"] == ["KMeans-1", "KMeans-3"]


def test_a_panel_is_kept_until_its_scale_changes(make_fit):
    seen = Aggregate()
    seen.extend(make_fit("Ridge-1", end=None))
    view = CurvesView(Scene(seen), imbalance=False)
    before = view._panels["Ridge", False]
    seen.extend(make_fit("Ridge-2", n=3))
    view.update()
    assert view._panels["Ridge", False] is before
    seen.extend(make_fit("Ridge-3", objective=lambda r: 10.0**-r))
    view.update()
    assert list(view._panels) == [("Ridge", True)]


def test_the_load_is_of_the_fits_chosen(make_fit):
    seen = Aggregate()
    seen.extend(make_fit("Ridge-1"))
    seen.extend(make_fit("Ridge-2"))
    view = LoadView(Scene(seen))
    assert "of Ridge-2." in view._words.text
    view._choice.value = "Ridge-1"
    assert "of Ridge-1." in view._words.text
    view._choice.value = ALL
    assert "of Ridge-1, Ridge-2." in view._words.text


def test_a_chosen_fit_that_is_forgotten_gives_way_to_the_latest(make_fit):
    seen = Aggregate(max_fits=1)
    seen.extend(make_fit("Ridge-1"))
    view = LoadView(Scene(seen))
    view._choice.value = "Ridge-1"
    seen.extend(make_fit("Ridge-2"))
    view.update()
    assert "of Ridge-2." in view._words.text
