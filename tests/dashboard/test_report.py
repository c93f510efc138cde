import re
import subprocess
import sys

import pytest

from daskml_kit.dashboard import report as module, write_report
from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.events import FitEvent, Run


def run_of(*fits):
    return Run(events=[event for events in fits for event in events])


def test_the_report_says_how_each_fit_went(make_fit, tmp_path):
    run = run_of(make_fit(), make_fit("KMeans-2", objective=lambda r: 5e6 - r, began=1010.0))
    path = write_report(run, tmp_path / "report.html")
    html = path.read_text(encoding="utf-8")
    assert path == tmp_path / "report.html"
    for expected in (
        "LogisticRegression-1",
        "KMeans-2",
        "0.166667",
        "5e+06",
        "10.0.0.3:403",
        "4 on the cluster",
        "scikit-learn",
        "distributed",
        "All fits",
        "How each worker spent its time",
        "Imbalance of each round",
    ):
        assert expected in html


def test_the_report_needs_no_network(make_fit, tmp_path):
    html = write_report(run_of(make_fit()), tmp_path / "r.html").read_text(encoding="utf-8")
    assert not re.search(r"""<(script|link|img|iframe)\b[^>]*(src|href)""", html)


def test_a_local_fit(make_fit, tmp_path):
    run = run_of(make_fit("Ridge-1", workers=("local-0", "local-1")))
    html = write_report(run, str(tmp_path / "r.html")).read_text(encoding="utf-8")
    assert "2 in this process" in html


def test_a_run_without_fits_says_so(tmp_path):
    html = write_report(Run(), tmp_path / "r.html").read_text(encoding="utf-8")
    assert module.NO_FIT in html
    assert "How each worker" not in html


def test_fits_without_objective_or_rounds_say_so(make_fit, tmp_path):
    path = tmp_path / "r.html"
    html = write_report(run_of(make_fit(objective=None)), path).read_text(encoding="utf-8")
    assert "None of these fits reports an objective" in html
    only_started = Run(events=[FitEvent("Ridge-1", "started", 0.0)])
    html = write_report(only_started, path).read_text(encoding="utf-8")
    assert "No round has ended yet" in html


def test_many_fits_stay_readable(make_fit, tmp_path):
    run = run_of(*(make_fit(f"Ridge-{k}", n=2) for k in range(30)))
    html = write_report(run, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "The first 24 of 30 fits" in html
    assert "Ridge-29" in html


def test_names_are_escaped(make_fit, tmp_path):
    html = write_report(run_of(make_fit("<img>-1")), tmp_path / "r.html").read_text("utf-8")
    assert "<img>-1" not in re.sub(
        r'<script type="application/json".*?</script>', "", html, flags=re.S
    )


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(InvalidParameterError, match="is a folder"):
        write_report(Run(), tmp_path)
    with pytest.raises(InvalidParameterError, match="does not exist"):
        write_report(Run(), tmp_path / "none" / "r.html")


def test_nothing_is_left_behind_on_error(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    (tmp_path / "old.html").write_text("old")
    with monkeypatch.context() as patch:
        patch.setattr(module, "file_html", fail)
        with pytest.raises(OSError, match="disk full"):
            write_report(Run(), tmp_path / "new.html")
    monkeypatch.setattr(module.Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(Run(), tmp_path / "old.html")
    assert [p.name for p in tmp_path.iterdir()] == ["old.html"]
    assert (tmp_path / "old.html").read_text() == "old"


def test_bokeh_is_loaded_only_when_it_is_needed():
    code = "import sys, daskml_kit, daskml_kit.dashboard; print('bokeh' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=module_root()
    )
    assert done.stdout.strip() == "False"


def module_root():
    return module.Path(module.__file__).parents[2]
