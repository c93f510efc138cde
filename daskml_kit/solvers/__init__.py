"""Solvers: ask for a point, be told what was measured there. They know no loss, penalty or estimator."""

from daskml_kit.solvers.admm import ADMM
from daskml_kit.solvers.cocoa import CoCoA
from daskml_kit.solvers.composite import Kinked, Proximal
from daskml_kit.solvers.giant import GIANT
from daskml_kit.solvers.gradient_descent import GradientDescent
from daskml_kit.solvers.lbfgs import LBFGS
from daskml_kit.solvers.loop import Distance, Guess, Solution, approach, solve, status_of
from daskml_kit.solvers.newton import Newton
from daskml_kit.solvers.newton_cg import NewtonCG
from daskml_kit.solvers.protocol import (
    Evaluation,
    FunctionObjective,
    Objective,
    Product,
    Question,
    Solver,
)
from daskml_kit.solvers.proximal_lbfgs import ProximalLBFGS
from daskml_kit.solvers.proximal_newton import ProximalNewton

__all__ = [
    "ADMM",
    "GIANT",
    "LBFGS",
    "CoCoA",
    "Distance",
    "Evaluation",
    "FunctionObjective",
    "GradientDescent",
    "Guess",
    "Kinked",
    "Newton",
    "NewtonCG",
    "Objective",
    "Product",
    "Proximal",
    "ProximalLBFGS",
    "ProximalNewton",
    "Question",
    "Solution",
    "Solver",
    "approach",
    "solve",
    "status_of",
]
