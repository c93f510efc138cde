"""Which solver fits a loss and a penalty: what is possible, and what ``"auto"`` takes.

The choice of ``"auto"`` is a cost model from measured speeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from daskml_kit.exceptions import InvalidParameterError
from daskml_kit.runtime.ingest import DataFacts
from daskml_kit.solvers import (
    LBFGS,
    GradientDescent,
    Kinked,
    Newton,
    NewtonCG,
    ProximalLBFGS,
    ProximalNewton,
)

SMOOTH: dict[str, Any] = {
    "newton": Newton,
    "newton-cg": NewtonCG,
    "lbfgs": LBFGS,
    "gd": GradientDescent,
}
"""Solvers of objectives with a gradient everywhere."""

PROXIMAL: dict[str, Any] = {
    "newton": ProximalNewton,
    "lbfgs": ProximalLBFGS,
    "gd": lambda kinks: GradientDescent(penalty=kinks),
}
"""Those that take L1 strengths and bounds."""

FAMILIAR = {"newton-cholesky": "newton", "sag": "auto", "saga": "auto"}
"""scikit-learn's names of logistic regression's solvers, by what stands for them here."""

LOCAL = ("admm", "giant", "cocoa")
"""Those whose rounds hold local computations (:mod:`~daskml_kit.linear_model.pieces`). They are asked for by
name: where a Hessian can be formed, Newton needs fewer rounds, and else Newton-CG is as good or better."""

EVERY_SMOOTH_LOSS = ("auto", "newton-cholesky", *SMOOTH, *LOCAL)
"""Names that a model of one output takes for a loss with a gradient and an L2 penalty at most. What a loss or
a penalty lacks for one of them is said of the pair: by :func:`solver_named` and
:func:`~daskml_kit.linear_model.pieces.piece_solver`."""

NEWTON_ROUNDS, NEWTON_HESSIANS, LBFGS_ROUNDS = 8, 5, 60
"""Rounds to a gradient of 1e-6 on problems of condition 100 to 1,000 (``docs/design.md``), and how many of
Newton's ask for a Hessian."""

SKETCHED_ROUNDS, SKETCHED_ROUNDS_OF_CLASSES = 15, 30
"""The same of L-BFGS with a sketch of the Hessian, two classes and several. Measured on 6,000 x 20, Hessians
of condition 10 to 10,000, C of 1 and 1,000: two classes 12 to 16 rounds, five 21 to 34, Newton 7 or 8."""

ROUND_SECONDS = 0.001  # messages of one round: 0.7 ms led by a worker, 3 by direct calls
GRAM_SPEED = 9e9  # operations a second of one core in the Hessian's kernel
PASS_SPEED = 2.6e9  # the same in the fused pass for value and gradient, which waits for memory
"""Measured on 5,000 x 20 to 1,000,000 x 50 and 50,000 x 200, of condition 10 and 10,000, to 1e-4 and 1e-8, in
one process and on two workers (``docs/solvers.md``)."""
SAMPLE = 1_000
"""Rows a coefficient for Newton's first Hessians. Measured on 1,000,000 x 50 to a gradient of 1e-8: exact
Hessians 8 passes and 1.66 s of processor time, 1,000 rows a coefficient 9 and 0.58, 200 rows 11 and 0.88."""

SKETCH_SAMPLE = 10
"""Rows a column for L-BFGS's sketches of dense data. Measured on digits of MNIST, ten classes: rounds to
1e-6 of the optimum 44 with exact matrices, 48 with samples of ten rows a column, 250 without any."""

MAX_SIZE = 2_000  # coefficients: the Hessian is then 32 MB a message


def newton_is_cheaper(
    facts: DataFacts, n_outputs: int, width: int, *, sketched: bool = False
) -> bool:
    """Whether exact Newton beats L-BFGS on dense data of this shape.

    Newton pays ``n d^2 K(K+1)/2`` operations and a Cholesky factorisation on the driver for each of its few
    Hessians (``n`` of the sample's rows, where rows are many); L-BFGS ``4 n d K`` a round for more rounds,
    with a sketch of the Hessian for two to four times Newton's.

    Parameters
    ----------
    facts : of the data
    n_outputs : K, 1 for two classes
    width : d, coefficients an output
    sketched : whether L-BFGS begins with :func:`sketch_for`
    """
    if facts.sparse or n_outputs * width > MAX_SIZE:
        return False
    pairs = n_outputs * (n_outputs + 1) / 2
    every = rows_a_sample(facts, n_outputs * width)
    hessian = facts.n_rows / every * width**2 * pairs + (n_outputs * width) ** 3 / 3
    gradient = 4.0 * facts.n_rows * width * n_outputs
    a_round = ROUND_SECONDS + gradient / PASS_SPEED
    newton = NEWTON_ROUNDS * a_round + NEWTON_HESSIANS * hessian / GRAM_SPEED
    known = SKETCHED_ROUNDS if n_outputs == 1 else SKETCHED_ROUNDS_OF_CLASSES
    rounds = known if sketched else LBFGS_ROUNDS
    return newton <= rounds * a_round


def rows_a_sample(facts: DataFacts, size: int) -> int:
    """Rows that one row of Newton's first Hessians may stand for.

    A Hessian of ``m`` rows for each of its columns is off by ``2 / sqrt(m)``.
    """
    return 1 if facts.sparse else max(1, facts.n_rows // (SAMPLE * size))


def sketch_for(facts: DataFacts, width: int) -> LBFGS:
    """L-BFGS with the sketch of the Hessian that data of this shape can afford.

    For dense data one matrix of ``width`` columns, from ten rows a column: a few gradients' work. Else the
    diagonal, which costs one gradient.
    """
    if facts.sparse or width > MAX_SIZE:
        return LBFGS(sketch="diagonal")
    return LBFGS(sketch="shared", every=max(1, facts.n_rows // (SKETCH_SAMPLE * width)))


def check_solver(name: str, more: Sequence[str]) -> None:
    """A name of a solver, "auto", or one of ``more``, which the estimator knows beside.

    Raises
    ------
    InvalidParameterError
    """
    names = ["auto", *SMOOTH, *more]
    if name in names or name in FAMILIAR:
        return
    if name == "liblinear":
        raise InvalidParameterError(
            "solver='liblinear' penalises the intercept, which makes another model. Use solver='auto', whose "
            "minimum is that of all other solvers."
        )
    if name in (*LOCAL, "columns"):
        raise InvalidParameterError(
            f"solver={name!r} cuts the data in another way than cross-validation by folds does. Use one of "
            f"{names}."
        )
    raise InvalidParameterError(f"solver must be one of {names}, got {name!r}.")


def solver_named(
    name: str, kinks: Kinked | None, every: int = 1, lbfgs: LBFGS | None = None
) -> Any:
    """The solver of that name, one of ``SMOOTH``, for a smooth objective, plus ``kinks`` unless None.

    Newton's first Hessians are estimated from one of ``every`` rows; ``lbfgs`` is that with its sketch.

    Raises
    ------
    InvalidParameterError
        It needs a gradient everywhere.
    """
    more = {"every": every} if name == "newton" else {}
    if kinks is None and name == "lbfgs" and lbfgs is not None:
        return lbfgs
    if kinks is None:
        return SMOOTH[name](**more)
    if name not in PROXIMAL:
        raise InvalidParameterError(
            f"solver={name!r} needs an objective with a gradient everywhere, got an L1 penalty or bounds. "
            f"Use solver='auto' or one of {sorted(PROXIMAL)}, or l1_ratio=0 and no bounds."
        )
    return PROXIMAL[name](kinks, **more)


__all__ = [
    "EVERY_SMOOTH_LOSS",
    "FAMILIAR",
    "LOCAL",
    "PROXIMAL",
    "SMOOTH",
    "check_solver",
    "newton_is_cheaper",
    "sketch_for",
    "solver_named",
]
