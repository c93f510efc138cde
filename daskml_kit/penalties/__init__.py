"""Penalties on coefficients: value, gradient where smooth, and proximal operator.

Each strength may be one number, or an array with one strength a coordinate: a zero leaves that
coordinate, an intercept for example, unpenalised. ``prox(v, step)`` is
``argmin_w  penalty(w) + |w - v|^2 / (2 step)``; here it always separates by coordinate.
"""

from daskml_kit.penalties.bounded_l1 import BoundedL1
from daskml_kit.penalties.box import Box
from daskml_kit.penalties.elastic_net import L1, L2, ElasticNet
from daskml_kit.penalties.protocol import Penalty, SmoothPenalty

__all__ = ["L1", "L2", "BoundedL1", "Box", "ElasticNet", "Penalty", "SmoothPenalty"]
