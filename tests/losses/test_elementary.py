"""exp and log1p of the kernels against NumPy's."""

from __future__ import annotations

import numpy as np

from daskml_kit.losses.elementary import exp_any, exp_nonpositive, log1p_unit

FOUR_ULPS = 4 * np.finfo(float).eps


def test_exp_nonpositive():
    x = -np.r_[0.0, np.logspace(-17, np.log10(707.0), 2000)]
    np.testing.assert_allclose([exp_nonpositive(v) for v in x], np.exp(x), rtol=FOUR_ULPS)


def test_exp_nonpositive_ends_at_nearly_zero():
    for x in (-709.0, -1e4, -1e300, -np.inf):
        assert 0.0 <= exp_nonpositive(x) < 1e-300
    assert exp_nonpositive(0.0) == 1.0


def test_exp_any():
    x = np.linspace(-700.0, 700.0, 999)
    np.testing.assert_allclose([exp_any(v) for v in x], np.exp(x), rtol=FOUR_ULPS)
    assert 1e306 < exp_any(1e4) < np.inf


def test_nan_stays_nan():
    assert np.isnan(exp_nonpositive(np.nan))
    assert np.isnan(exp_any(np.nan))


def test_log1p_unit():
    x = np.r_[0.0, np.logspace(-300, 0, 2000), np.linspace(0, 1, 500)]
    np.testing.assert_allclose([log1p_unit(v) for v in x], np.log1p(x), rtol=FOUR_ULPS)
