"""Running: plan the jobs, give each a process of its own, drive init and step, measure, store."""
