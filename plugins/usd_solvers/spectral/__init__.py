"""What collocation solvers share: Newton's method on the discrete system, and when its mesh serves."""
