"""Certificates: rigorous bounds of a profile's residual by ball arithmetic, and the checker that needs no torch."""
