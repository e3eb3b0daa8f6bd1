"""Collocation: a problem's residual as a square system in the values of piecewise polynomials.

A discretisation, not a method: solvers apply Newton's method or continuation to it, and the harness reads
stability off its linearisation.
"""
