"""The registry, with real distributions on the path: isolation, rollback, conflicts, switches."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import Cli
from usd_bench.errors import PluginError, SelectorError
from usd_bench.registry import Registry

GOOD = """
from usd_bench.hookspecs import hookimpl

@hookimpl
def register_solvers(register):
    register("{solver}", "{module}:Thing", summary="a solver", aliases=("{solver}_alias",))

class Thing:
    pass
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Make an installed distribution of one module with one entry point."""

    def make(name: str, source: str, version: str = "1.0", point: str | None = None) -> None:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[usd_bench]\n{point or module} = {module}\n")
        sys.modules.pop(module, None)

    monkeypatch.syspath_prepend(str(tmp_path))
    yield make
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def load(**environ: str) -> Registry:
    return Registry.load(environ=environ)


def plugin(registry: Registry, name: str):
    return next(p for p in registry.plugins if p.name == name)


def test_the_built_ins_register_like_anybody_else() -> None:
    registry = load()
    assert {p.name for p in registry.plugins if p.origin == "usd-bench"} >= {"harness", "problems", "solvers"}
    assert registry.check() == []
    assert {"burgers", "ipm", "toy_ipm"} <= set(registry.entries["problems"])


def test_an_installed_plugin_is_found_with_its_provenance(install) -> None:
    install("good-plugin", GOOD.format(solver="good", module="good_plugin"), version="2.3")
    entry = load().get("solvers", "good_alias")
    assert entry.name == "good"
    assert str(entry.plugin) == "good_plugin (good-plugin 2.3)"
    assert entry.load().__name__ == "Thing"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise RuntimeError('no\\nluck')", "RuntimeError: no luck"),
        ("import sys\nsys.exit(4)", "SystemExit: 4"),
        ("def broken(:", "SyntaxError"),
        ("class E(BaseException): pass\nraise E('odd')", "E: odd"),
        ("class E(Exception):\n  def __str__(self): return 1 / 0\nraise E", "cannot be printed"),
        (GOOD.format(solver="a b", module="bad_plugin"), "letters, digits"),
        (GOOD.format(solver="", module="bad_plugin"), "letters, digits"),
        ("from usd_bench.hookspecs import hookimpl\n@hookimpl\ndef register_solver(register): pass", "register_solver"),
        ("from usd_bench.hookspecs import hookimpl\n@hookimpl\ndef register_solvers(wrong): pass", "wrong"),
    ],
)
def test_a_broken_plugin_is_skipped_with_its_reason_in_one_line(install, source: str, reason: str) -> None:
    install("bad-plugin", source)
    registry = load()
    bad = plugin(registry, "bad_plugin")
    assert bad.state == "failed"
    assert reason in bad.reason
    assert "\n" not in bad.reason
    (warning,) = registry.check()
    assert "bad-plugin 1.0" in warning
    assert "gauss_newton" in registry.entries["solvers"]


def test_what_a_plugin_registered_before_it_failed_is_rolled_back(install) -> None:
    install(
        "half-plugin",
        GOOD.format(solver="half", module="half_plugin") + "\n@hookimpl\ndef register_metrics(register):\n    1 / 0\n",
    )
    registry = load()
    assert plugin(registry, "half_plugin").state == "failed"
    assert "half" not in registry.entries["solvers"]
    with pytest.raises(SelectorError, match="half_plugin.*failed to load"):
        registry.get("solvers", "half")


def test_a_name_claimed_twice_is_an_error_that_names_both_with_versions(install) -> None:
    install("one-plugin", GOOD.format(solver="same", module="one_plugin"), version="1.1")
    install("two-plugin", GOOD.format(solver="same", module="two_plugin"), version="2.2")
    with pytest.raises(
        PluginError, match=r"'same' is provided by both one_plugin \(one-plugin 1.1\) and two_plugin \(two-plugin 2.2\)"
    ):
        load().check()


def test_a_plugin_may_not_take_a_built_in_name(install) -> None:
    install("thief", GOOD.format(solver="adam", module="thief"))
    registry = load()
    with pytest.raises(PluginError, match="solvers .usd-bench .* and thief"):
        registry.check()
    assert registry.get("solvers", "adam").plugin.origin == "usd-bench"


def test_two_plugins_of_one_name_are_a_conflict(install) -> None:
    install("first-dist", GOOD.format(solver="x", module="first_dist"), point="twin")
    install("second-dist", GOOD.format(solver="y", module="second_dist"), point="twin")
    with pytest.raises(PluginError, match=r"two plugins are named 'twin'.*first-dist.*second-dist"):
        load().check()


def test_the_environment_switches_plugins_off_and_makes_failures_strict(install) -> None:
    install("good-plugin", GOOD.format(solver="good", module="good_plugin"))
    install("bad-plugin", "1 / 0")
    assert "good" not in load(USD_BENCH_NO_PLUGINS="1").entries["solvers"]
    chosen = load(USD_BENCH_PLUGINS="good_plugin", USD_BENCH_STRICT_PLUGINS="1")
    assert "good" in chosen.entries["solvers"]
    assert plugin(chosen, "bad_plugin").state == "disabled"
    assert chosen.check() == []
    with pytest.raises(PluginError, match="ZeroDivisionError"):
        load(USD_BENCH_STRICT_PLUGINS="1").check()


def test_one_file_plugins_load_from_a_folder_and_their_faults_are_the_users(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "my_solver_file.py").write_text(GOOD.format(solver="mine", module="my_solver_file"))
    registry = Registry.load([folder])
    assert registry.get("solvers", "mine").load().__name__ == "Thing"
    (folder / "broken_file.py").write_text("1 / 0")
    with pytest.raises(PluginError, match=r"broken_file .*ZeroDivisionError"):
        Registry.load([folder]).check()
    (folder / "broken_file.py").unlink()
    (folder / "json.py").write_text("")
    with pytest.raises(PluginError, match="rename the file"):
        Registry.load([folder]).check()


def test_a_plugins_dir_that_is_not_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="not a folder"):
        Registry.load([tmp_path / "nowhere"])


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(SelectorError, match="unknown solver 'gaus_newton'; did you mean 'gauss_newton'"):
        load().get("solvers", "gaus_newton")


def test_a_target_that_is_not_there_is_reported_with_its_plugin(install) -> None:
    install("hollow", GOOD.format(solver="hollow", module="hollow").replace(":Thing", ":Missing"))
    with pytest.raises(PluginError, match=r"'hollow' of plugin hollow \(hollow 1.0\).*Missing"):
        load().get("solvers", "hollow").load()


def test_loading_every_plugin_imports_no_torch() -> None:
    code = "import sys; from usd_bench.registry import Registry; Registry.load(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


MIXED = """
from usd_bench.hookspecs import hookimpl


@hookimpl
def register_solvers(register):
    register("right", "usd_solvers.adam:Adam")
    register("wrong", "usd_problems.burgers:Burgers")
    register("gone", "usd_problems.burgers:Nothing")


@hookimpl
def register_metrics(register):
    register("no_metric", "usd_problems.burgers:Burgers")
"""


def verdicts(cli: Cli) -> dict[str, list[str]]:
    done = cli("plugins", "doctor", "--json")
    found: dict[str, list[str]] = {}
    for line in json.loads(done.stdout):
        found.setdefault(line["verdict"], []).append(line["about"])
    assert done.returncode == int("fault" in found)
    return found


def test_the_doctor_finds_nothing_in_what_is_built_in(cli: Cli) -> None:
    assert verdicts(cli).keys() == {"ok"}


def test_the_doctor_says_what_each_thing_is_and_what_it_should_be(install, cli: Cli) -> None:
    install("good", MIXED)
    found = verdicts(cli)
    assert "solver right of good (good 1.0)" in found["ok"]
    faults = "\n".join(found["fault"])
    assert (
        "solver wrong of good (good 1.0) is <class 'usd_problems.burgers.Burgers'>; expected a subclass of Solver"
        in faults
    )
    assert "'gone' of plugin good (good 1.0) cannot be loaded from 'usd_problems.burgers:Nothing'" in faults
    assert "metric no_metric of good (good 1.0) is <class 'usd_problems.burgers.Burgers'>; expected a Metric" in faults
    assert len(found["fault"]) == 3


def test_the_doctor_explains_every_state(install, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install("hungry", "import something_else\n")
    install("thief", MIXED.replace('"right"', '"adam"'))
    install("old", "")
    (tmp_path / "old-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: old\nVersion: 1.0\nRequires-Dist: usd-bench<0.0.5\n"
    )
    faults = "\n".join(verdicts(cli)["fault"])
    assert "plugin hungry (hungry 1.0) does not load: ModuleNotFoundError: No module named 'something_else'" in faults
    assert "install what it needs into this environment" in faults
    assert "solver 'adam' is provided by both" in faults
    assert "uninstall one, or switch one off" in faults
    assert "plugin old (old 1.0) asks for usd-bench<0.0.5" in faults
    monkeypatch.setenv("USD_BENCH_PLUGINS", "old")
    found = verdicts(cli)
    assert "hungry (hungry 1.0): not in USD_BENCH_PLUGINS=old; add it there, or unset that" in found["off"]
    monkeypatch.setenv("USD_BENCH_NO_PLUGINS", "1")
    assert "old (old 1.0): switched off by USD_BENCH_NO_PLUGINS; unset it to have it" in verdicts(cli)["off"]


def test_a_new_plugin_with_a_name_that_is_taken_is_made_with_a_warning(cli: Cli, tmp_path: Path) -> None:
    done = cli("new", "solver", "adam")
    assert (done.returncode, (tmp_path / "usd-adam" / "pyproject.toml").is_file()) == (0, True)
    assert "solver 'adam' of solvers (usd-bench" in done.stderr
    assert not cli("new", "solver", "my_own_method").stderr
