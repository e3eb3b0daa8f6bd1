"""How long a user waits before anything is computed: in a process of its own."""

from __future__ import annotations


class Start:
    """Import of the package, and the command line's help."""

    def timeraw_import(self) -> str:
        return "import usd_bench.cli.main"

    def timeraw_help(self) -> str:
        return "from usd_bench.cli.main import cli; cli(['run', '--help'], standalone_mode=False)"
