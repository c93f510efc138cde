"""Which solver ``"auto"`` takes: a cost model of both, from measured speeds."""

from __future__ import annotations

from daskml_kit.runtime.ingest import DataFacts

NEWTON_ROUNDS, LBFGS_ROUNDS = 8, 60
"""Rounds to a gradient of 1e-6 on problems of condition 100 to 1,000 (``docs/design.md``)."""

ROUND_SECONDS = 0.01  # messages of one round, by task graphs
GRAM_SPEED = 4e10  # operations a second of one core in the Hessian's kernel
PASS_SPEED = 7e9  # the same in the fused pass for value and gradient
MAX_SIZE = 2_000  # coefficients: the Hessian is then 32 MB a message


def newton_is_cheaper(facts: DataFacts, n_outputs: int, width: int) -> bool:
    """Whether exact Newton beats L-BFGS on dense data of this shape.

    Newton pays ``n d^2 K(K+1)/2`` operations a round and a Cholesky factorisation on the driver, for few
    rounds; L-BFGS ``4 n d K`` for many. Measured: 1,000,000 x 50, two classes: 0.13 s against 0.03 s a
    pass, 7 rounds against 50; they cost the same at about 300 features.

    Parameters
    ----------
    facts : of the data
    n_outputs : K, 1 for two classes
    width : d, coefficients an output
    """
    if facts.sparse or n_outputs * width > MAX_SIZE:
        return False
    pairs = n_outputs * (n_outputs + 1) / 2
    hessian = facts.n_rows * width**2 * pairs + (n_outputs * width) ** 3 / 3
    newton = NEWTON_ROUNDS * (ROUND_SECONDS + hessian / GRAM_SPEED)
    gradient = 4.0 * facts.n_rows * width * n_outputs
    return newton <= LBFGS_ROUNDS * (ROUND_SECONDS + gradient / PASS_SPEED)


__all__ = ["newton_is_cheaper"]
