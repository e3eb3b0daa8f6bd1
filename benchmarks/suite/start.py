"""How long a user waits before anything is computed: in a process of its own."""

from __future__ import annotations


class Start:
    """Import of the package, and the command line's help."""

    def timeraw_import(self) -> str:
        return "import usd_bench.cli.main"

    def timeraw_help(self) -> str:
        # asv reads the time from the process's output, so help must not go there.
        return (
            "import contextlib, io\n"
            "from usd_bench.cli.main import cli\n"
            "with contextlib.redirect_stdout(io.StringIO()):\n"
            "    cli(['run', '--help'], standalone_mode=False)\n"
        )
