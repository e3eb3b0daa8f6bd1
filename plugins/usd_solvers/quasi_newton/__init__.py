"""Quasi-Newton methods with a full inverse Hessian: updates, and the solver that they share."""
