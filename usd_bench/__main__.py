"""``python -m usd_bench``: the same as ``usd-bench``."""

from usd_bench.cli.main import main

main()
