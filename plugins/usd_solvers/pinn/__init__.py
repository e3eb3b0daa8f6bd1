"""What network solvers share: jets through networks, the trial functions, their points, and λ."""
