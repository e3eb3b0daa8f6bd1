"""An example of a plugin for usd-bench."""
