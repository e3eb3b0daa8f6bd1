"""Parts of nonlinear least-squares methods: damped linear least squares by several routes, and the gain-ratio test."""
