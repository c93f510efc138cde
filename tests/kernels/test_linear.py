"""Sums of a linear model against the naive oracle, and against what sums must satisfy."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from daskml_kit.exceptions import InvalidDataError, InvalidDataTypeError
from daskml_kit.kernels import drawn_rows, linear_product, linear_sums, naive, predict_linear
from daskml_kit.kernels.linear_tiles import drawn
from daskml_kit.losses import Binomial, HalfSquared, Multinomial
from tests.kernels.cases import FORMS, cases, close, make

LOSSES = [HalfSquared(), Binomial(), Multinomial(3)]
few = settings(max_examples=40, deadline=None)


def targets(case, loss):
    return case.rng.integers(0, getattr(loss, "n_classes", 2), case.n)


def coefficients(case, loss, fit_intercept):
    shape = (case.d + fit_intercept,)
    shape = (loss.n_classes, *shape) if isinstance(loss, Multinomial) else shape
    return case.rng.normal(size=shape)


def both(loss, case, fit_intercept, order):
    y, w = targets(case, loss), coefficients(case, loss, fit_intercept)
    arguments = loss, case.X, y, case.weight, w
    options = {"fit_intercept": fit_intercept, "order": order}
    return linear_sums(*arguments, **options), naive.linear_sums(*arguments, **options)


@few
@given(case=cases, loss=st.sampled_from(LOSSES), fit_intercept=st.booleans())
def test_equals_the_naive_oracle(case, loss, fit_intercept):
    got, expected = both(loss, case, fit_intercept, order=2)
    scale = 100.0 * (1 + case.n)
    close(got.value, expected.value, scale)
    close(got.gradient, expected.gradient, scale)
    close(got.hessian, expected.hessian, scale)
    assert got.gradient.dtype == got.hessian.dtype == np.float64


@few
@given(case=cases, loss=st.sampled_from(LOSSES), cut=st.floats(0, 1))
def test_parts_sum_to_the_whole(case, loss, cut):
    y, w = targets(case, loss), coefficients(case, loss, True)
    at = int(cut * case.n)

    def sums(rows):
        part = case.rows(rows)
        return linear_sums(loss, part.X, y[rows], part.weight, w, fit_intercept=True, order=2)

    whole, head, tail = sums(slice(None)), sums(slice(0, at)), sums(slice(at, None))
    for total, a, b in zip(whole, head, tail, strict=True):
        close(a + b, total, 100.0 * (1 + case.n))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize(("form", "dtype"), FORMS)
def test_order_one_is_order_two_without_a_hessian(loss, form, dtype):
    case = make(100, 9, form, dtype)
    one, two = both(loss, case, True, order=1)[0], both(loss, make(100, 9, form, dtype), True, 2)[0]
    assert one.hessian is None
    assert one.value == two.value
    np.testing.assert_array_equal(one.gradient, two.gradient)


@few
@given(case=cases, loss=st.sampled_from(LOSSES), fit_intercept=st.booleans())
def test_a_product_is_the_hessians(case, loss, fit_intercept):
    y, w = targets(case, loss), coefficients(case, loss, fit_intercept)
    vector, rows = coefficients(case, loss, fit_intercept), (loss, case.X, y, case.weight, w)
    got = linear_product(*rows, vector, fit_intercept=fit_intercept)
    hessian = naive.linear_sums(*rows, fit_intercept=fit_intercept, order=2).hessian
    assert got.shape == w.shape
    close(got.ravel(), hessian @ vector.ravel(), 100.0 * (1 + case.n))


@few
@given(
    case=cases, loss=st.sampled_from(LOSSES), every=st.integers(1, 40), start=st.integers(0, 10**10)
)
def test_a_sampled_hessian_is_that_of_rows_chosen_by_their_numbers(case, loss, every, start):
    y, w = targets(case, loss), coefficients(case, loss, True)
    options = {"fit_intercept": True, "order": 2}
    got = linear_sums(loss, case.X, y, case.weight, w, every=every, start=start, **options)
    strata = range(start // every, (start + case.n) // every + 1)
    chosen = np.array([drawn(stratum, every) - start for stratum in strata])
    assert np.all((chosen + start) // every == strata)
    chosen = chosen[(chosen >= 0) & (chosen < case.n)]
    part = case.rows(chosen)
    expected = naive.linear_sums(loss, part.X, y[chosen], part.weight, w, **options)
    close(got.hessian, expected.hessian, 100.0 * (1 + case.n))
    weight = np.ones(case.n) if case.weight is None else case.weight
    assert got.sampled == pytest.approx(weight[chosen].sum() if every > 1 else 0.0)
    np.testing.assert_array_equal(drawn_rows(start, case.n, every), chosen)
    whole = linear_sums(loss, case.X, y, case.weight, w, fit_intercept=True, order=1)
    close(got.value, whole.value, 100.0 * (1 + case.n))
    close(got.gradient, whole.gradient, 100.0 * (1 + case.n))


@few
@given(
    case=cases,
    loss=st.sampled_from(LOSSES),
    every=st.integers(1, 5),
    sketch=st.sampled_from(["diagonal", "shared"]),
)
def test_a_sketch_is_part_of_the_hessian(case, loss, every, sketch):
    """The diagonal is of all rows; the shared matrix is the mean of the outputs' blocks, of a sample."""
    y, w = targets(case, loss), coefficients(case, loss, True)
    rows = loss, case.X, y, case.weight, w
    got = linear_sums(*rows, fit_intercept=True, order=1, every=every, sketch=sketch)
    exact = every if sketch == "shared" else 1
    sampled = linear_sums(*rows, fit_intercept=True, order=2, every=exact)
    hessian = sampled.hessian
    blocks = hessian.reshape(np.atleast_2d(w).shape * 2)
    shared = np.einsum("kikj->ij", blocks) / len(blocks)
    expected = np.diag(hessian).reshape(w.shape) if sketch == "diagonal" else shared
    assert got.value == sampled.value
    np.testing.assert_array_equal(got.gradient, sampled.gradient)
    close(got.hessian, expected, 100.0 * (1 + case.n) * every)


def test_a_sample_has_about_as_many_of_every_kind():
    """One of 50 rows, of data that repeat every 50, 100 or 3 rows."""
    rows = np.array([drawn(stratum, 50) for stratum in range(10_000)])
    for period in (3, 50, 100):
        counts = np.bincount(rows % period, minlength=period)
        assert counts.min() > 0.9 * counts.mean()
        assert counts.max() < 1.1 * counts.mean()


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_gradient_and_hessian_are_finite_differences(loss):
    case = make(30, 4, weighted=True)
    y, w = targets(case, loss), coefficients(case, loss, True)

    def sums(at):
        return linear_sums(loss, case.X, y, case.weight, at, fit_intercept=True, order=2)

    here, step = sums(w), 1e-5
    for index in range(w.size):
        change = step * (np.arange(w.size) == index).reshape(w.shape)
        above, below = sums(w + change), sums(w - change)
        slope = (above.value - below.value) / (2 * step)
        assert slope == pytest.approx(here.gradient.ravel()[index], abs=1e-6)
        bend = (above.gradient - below.gradient).ravel() / (2 * step)
        np.testing.assert_allclose(bend, here.hessian[index], atol=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize("form", ["dense", "csr"])
def test_weight_two_is_the_row_twice_and_weight_zero_the_row_absent(loss, form):
    case = make(20, 3, form)
    y, w = targets(case, loss), coefficients(case, loss, True)
    weight = np.ones(20)
    weight[3], weight[5] = 2.0, 0.0
    rows = np.r_[0:4, 3, 4, 6:20]
    options = {"fit_intercept": True, "order": 2}
    got = linear_sums(loss, case.X, y, weight, w, **options)
    expected = linear_sums(loss, case.X[rows], y[rows], None, w, **options)
    for a, b in zip(got, expected, strict=True):
        close(a, b, 100.0)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@pytest.mark.parametrize(("form", "dtype"), FORMS)
def test_an_empty_block_gives_zeros(loss, form, dtype):
    got, _ = both(loss, make(0, 5, form, dtype), True, order=2)
    assert got.value == 0.0
    assert not got.gradient.any()
    assert not got.hessian.any()


@pytest.mark.parametrize("loss", [Binomial(), Multinomial(3)], ids=str)
def test_extreme_predictions_stay_finite(loss):
    X = np.array([[1e4], [-1e4]] * 20)
    case = make(40, 1)._replace(X=X)
    w = np.ones(1) if loss == Binomial() else np.array([[1.0], [-1.0], [0.0]])
    got = linear_sums(loss, X, targets(case, loss), None, w, fit_intercept=False, order=2)
    assert all(np.isfinite(part).all() for part in got)


def test_float32_data_are_summed_in_float64():
    X = np.full((100_000, 1), 0.1, dtype=np.float32)
    got = linear_sums(
        HalfSquared(), X, np.zeros(len(X)), None, np.ones(1), fit_intercept=False, order=2
    )
    exact = len(X) * float(np.float32(0.1)) ** 2
    # Float32 would be off by 1e-3 here. 25,000 additions in float64: 2500 roundings at random.
    assert got.hessian[0, 0] == pytest.approx(exact, rel=1e-12)
    assert got.gradient[0] == pytest.approx(exact, rel=1e-11)


def test_unsorted_csr_with_duplicates_is_what_it_adds_up_to():
    case = make(10, 3, "csr")
    messy = case.X.copy()
    messy.indices, messy.data, messy.indptr = (
        np.array([2, 0, 2], dtype=np.int32),
        np.array([1.0, 2.0, 3.0]),
        np.r_[0, 3, [3] * 9],
    )
    messy = type(case.X)((messy.data, messy.indices, messy.indptr), shape=(10, 3))
    before = messy.indices.copy()
    options = {"fit_intercept": True, "order": 2}
    arguments = np.ones(10), None, np.array([1.0, 2.0, 3.0, 4.0])
    got = linear_sums(HalfSquared(), messy, *arguments, **options)
    expected = linear_sums(HalfSquared(), messy.toarray(), *arguments, **options)
    for a, b in zip(got, expected, strict=True):
        close(a, b)
    np.testing.assert_array_equal(messy.indices, before)


class Poisson(NamedTuple):
    """A loss that the package has not heard of, with a parameter."""

    exposure: float

    def value_gradient(self, y, eta, weight):
        mean = self.exposure * np.exp(eta)
        return float((mean - y * eta).sum()), mean - y

    def curvature(self, y, eta, weight):
        return self.exposure * np.exp(eta)

    @staticmethod
    def pointwise(loss, y, eta):
        mean = loss.exposure * math.exp(eta)
        return mean - y * eta, mean - y, mean


def test_a_loss_of_ones_own_needs_a_pointwise_only():
    case = make(50, 3)
    got, expected = both(Poisson(2.0), case, True, order=2)
    for a, b in zip(got, expected, strict=True):
        close(a, b, 1e4)


@few
@given(case=cases, loss=st.sampled_from(LOSSES), fit_intercept=st.booleans())
def test_predictions(case, loss, fit_intercept):
    w = coefficients(case, loss, fit_intercept)
    A = naive.dense(case.X)
    expected = np.c_[A, np.ones(case.n)] @ w.T if fit_intercept else A @ w.T
    close(predict_linear(case.X, w, fit_intercept), expected, 100.0)


def test_errors_say_what_came_and_what_to_do():
    X, y, w = np.ones((3, 2)), np.ones(3), np.ones(2)
    options = {"fit_intercept": False, "order": 1}
    with pytest.raises(InvalidDataTypeError, match=r"got list.*np\.asarray"):
        linear_sums(HalfSquared(), X.tolist(), y, None, w, **options)
    with pytest.raises(InvalidDataTypeError, match=r"got int64.*astype"):
        linear_sums(HalfSquared(), X.astype(int), y, None, w, **options)
    with pytest.raises(InvalidDataError, match=r"got shape \(2,\).*reshape"):
        linear_sums(HalfSquared(), X[0], y, None, w, **options)
    with pytest.raises(InvalidDataError, match=r"y must .* 3 rows .*got shape \(2,\)"):
        linear_sums(HalfSquared(), X, y[:2], None, w, **options)
    with pytest.raises(InvalidDataError, match=r"weight must .*got shape \(3, 1\)"):
        linear_sums(HalfSquared(), X, y, y[:, None], w, **options)
    with pytest.raises(InvalidDataError, match=r"w must have shape \(3,\) .*got \(2,\)"):
        linear_sums(HalfSquared(), X, y, None, w, fit_intercept=True, order=1)
    with pytest.raises(InvalidDataError, match=r"order must be 1 .*got 3"):
        linear_sums(HalfSquared(), X, y, None, w, fit_intercept=False, order=3)
    with pytest.raises(InvalidDataTypeError, match="got dict"):
        linear_sums({}, X, y, None, w, **options)
