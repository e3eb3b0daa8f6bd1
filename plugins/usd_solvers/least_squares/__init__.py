"""Parts of nonlinear least-squares methods: the damped linear system, and the gain-ratio test."""
