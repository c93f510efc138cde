"""Raw predictions in which equal rows are equal."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from daskml_kit.kernels import predict_linear
from daskml_kit.kernels.raw_scores import raw_scores


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_equal_rows_are_equal_wherever_they_stand(form, fit_intercept):
    rng = np.random.default_rng(0)
    few, w = rng.normal(size=(3, 13)), rng.normal(size=(4, 13 + fit_intercept))
    which = rng.integers(0, 3, 1_001)
    got = raw_scores(form(few[which]), w, fit_intercept)
    naive = predict_linear(few[which], w, fit_intercept).T
    np.testing.assert_allclose(got, naive, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(got, raw_scores(form(few), w, fit_intercept)[:, which])
    np.testing.assert_array_equal(
        got[:, 700:], raw_scores(form(few[which][700:]), w, fit_intercept)
    )
    assert raw_scores(form(few[:0]), w, fit_intercept).shape == (4, 0)
