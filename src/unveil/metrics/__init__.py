"""Measures of masks, as pure functions on label arrays, each protocol named."""

from unveil.metrics.overlap import VOID, Measured
from unveil.metrics.protocols import PROTOCOLS, Protocol, Record

__all__ = ["PROTOCOLS", "VOID", "Measured", "Protocol", "Record"]
