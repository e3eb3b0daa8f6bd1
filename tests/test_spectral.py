"""Spectral solvers and stability: exact solutions, known exponents and known modes, through the harness."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import one_line_error
from usd_bench.analysis import spectrum as stability
from usd_bench.analysis.spectrum import spectrum
from usd_bench.analysis.truth import digits, shown
from usd_bench.collocation.piecewise import PiecewiseProfile, between_nodes
from usd_bench.collocation.reference import kept, provenance, store, stored_profile
from usd_bench.errors import SpectrumError
from usd_bench.metrics import RES_MAX, measure
from usd_bench.profile import FunctionProfile
from usd_bench.run.plan import build_problem, build_solver
from usd_bench.selectors import Selection
from usd_problems.burgers import Burgers
from usd_problems.ccf import CCF
from usd_problems.clm import CLM
from usd_solvers.continuation import Continuation, ContinuationConfig
from usd_solvers.spectral_newton import SpectralNewton


def solved(problem, solver, limit: int = 200):
    """The profile when the solver has finished."""
    state = solver.init(problem, 0, "cpu")
    for _ in range(limit):
        if solver.finished(state):
            return solver.profile(problem, state)
        state = solver.step(problem, state)
    raise AssertionError(f"not finished after {limit} steps")


# -- exact and known answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "selector", ["burgers", "burgers[order=1]", "burgers[order=2]", "burgers[order=3]", "clm", "gclm[a=0.5]"]
)
def test_exact_solutions_are_found_to_twelve_digits(rows, selector: str) -> None:
    (row,) = rows("-p", selector, "-s", "spectral_newton[tolerance=1e-13]", "--until", "res_max=1e-16")
    assert (row["status"], row["reason"]) == ("budget", "the solver can do no better")
    assert row["err_max"] < 1e-12
    assert row["err_l2_rel"] < 1e-12
    assert row["lam_digits"] > 12
    assert row["res_max"] < 1e-10


@pytest.mark.parametrize(
    ("selector", "lam", "error"),
    [
        ("ccf", 1.1807776629, 1e-11),
        ("gclm[a=-1.0]", 1.1807776629, 1e-11),
        ("hou_luo", 1.9987042, 3e-8),
        ("gclm[a=0.6890665337007457]", -1.0, 1e-10),
    ],
)
def test_known_exponents_are_found_from_the_zero_trial(rows, selector: str, lam: float, error: float) -> None:
    (row,) = rows("-p", selector, "-s", "spectral_newton", "--until", "res_max=1e-9")
    assert row["lam"] == pytest.approx(lam, abs=error)
    assert row["res_max"] < 1e-9


def test_ipm_and_boussinesq_agree_with_published_exponents_on_a_coarse_mesh(rows) -> None:
    found = rows(
        "-p",
        "ipm,boussinesq",
        "-s",
        "spectral_newton[angles=32,tolerance=1e-7]",
        "--max-iter",
        "7",
        "--until",
        "res_max=1e-9",
    )
    assert [row["problem"] for row in found] == ["ipm", "boussinesq"]
    assert [row["lam"] for row in found] == pytest.approx([1.0285722760, 1.9205599747], abs=1e-6)


def test_the_meshes_of_two_tolerances_give_one_exponent() -> None:
    problem = CCF()
    lams = [
        solved(problem, SpectralNewton(SpectralNewton.Config(degree=degree, tolerance=tolerance))).lam
        for degree, tolerance in ((8, 1e-10), (14, 1e-13))
    ]
    assert lams[0] == pytest.approx(lams[1], abs=1e-11)


def test_continuation_finds_the_first_unstable_profile_without_a_guess(rows) -> None:
    (row,) = rows("-p", "ccf[order=1]", "-s", "continuation", "--until", "res_max=1e-10")
    assert row["lam"] == pytest.approx(0.6057337012032, abs=1e-11)
    assert row["res_max"] < 1e-10
    assert row["lam_digits"] >= 10


def test_continuation_from_a_stored_neighbour_finds_the_next_order(rows) -> None:
    (row,) = rows("-p", "hou_luo[order=3]", "-s", "continuation[since=2]", "--until", "res_max=1e-10")
    assert row["status"] == "converged"
    assert row["lam"] == pytest.approx(1.2109164219, abs=1e-9)


def test_continuation_in_a_parameter_reaches_what_newton_finds_there() -> None:
    problem = build_problem(_registry(), Selection("gclm", {"a": 0.3}))
    along = solved(problem, Continuation(ContinuationConfig(parameter="a", start=0.5))).lam
    assert along == pytest.approx(solved(problem, SpectralNewton()).lam, abs=1e-11)


def test_the_profile_of_another_branch_is_never_the_best(rows) -> None:
    """Newton from the zero trial goes to the stable profile: the same equation, another λ than that asked for."""
    (row,) = rows("-p", "hou_luo[order=4]", "-s", "spectral_newton", "--until", "res_max=1e-6", "--max-iter", "30")
    assert row["status"] != "converged"
    assert row["iteration_best"] != row["iterations"] or row["lam_digits"] < 1


@pytest.mark.parametrize(
    ("problem", "solver", "word"),
    [
        ("burgers", "continuation", "cannot be varied"),
        ("gclm", "continuation[parameter=a]", "say where"),
        ("gclm", "continuation[parameter=a,start=5]", "less than or equal"),
        ("ccf[order=1]", "continuation[start=-1]", "positive"),
        ("ccf[order=1]", "continuation[since=1]", "below 1"),
        ("ipm[order=12]", "continuation[since=11]", "no stored profile of order 11"),
        ("ipm[order=12]", "spectral_newton[warm_start=reference]", "no stored profile"),
    ],
)
def test_what_cannot_run_is_a_row_with_the_reason(rows, problem: str, solver: str, word: str) -> None:
    (row,) = rows("-p", problem, "-s", solver)
    assert row["status"] == "unsupported"
    assert word in row["reason"]


def test_a_run_resumed_from_its_checkpoint_ends_with_the_same_bits(cli, tmp_path: Path, rows) -> None:
    arguments = ("-p", "ccf[order=1]", "-s", "continuation", "--until", "res_max=1e-16", "--eval-every", "1")
    (whole,) = rows(*arguments, "--max-iter", "20", "--out", "whole")
    (part,) = rows(*arguments, "--max-iter", "15", "--out", "part")
    checkpoint = tmp_path / "part" / "artifacts" / part["run_id"] / "last.ckpt"
    (rest,) = rows(*arguments, "--max-iter", "20", "--out", "rest", "--resume", str(checkpoint))
    assert (rest["lam"], rest["res_max"]) == (whole["lam"], whole["res_max"])


# -- stability --------------------------------------------------------------------------------------------------


def test_the_stable_profile_has_no_growing_mode_but_the_symmetries() -> None:
    found = spectrum(CLM(), solved(CLM(), SpectralNewton()))
    assert len(found.unstable) == 0
    assert max(found.symmetry_errors.values()) < 1e-9


def test_the_first_unstable_profile_has_the_published_mode(rows, cli, tmp_path: Path) -> None:
    (row,) = rows("-p", "ccf[order=1]", "-s", "continuation", "--until", "res_max=1e-10")
    assert row["unstable_modes"] is None
    done = cli("spectrum", row["run_id"][:10], "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["unstable_modes"] == 1
    assert found["unstable"][0] == pytest.approx([0.365250, 0], abs=1e-6)
    assert max(found["symmetry_errors"].values()) < 1e-8
    folder = tmp_path / "results" / "artifacts" / row["run_id"]
    assert {"spectrum.json", "spectrum.png", "spectrum.safetensors"} <= {path.name for path in folder.iterdir()}
    (again,) = json.loads(cli("list", "runs", "--json").stdout)
    assert again["unstable_modes"] == 1
    assert "1 unstable modes" in cli("spectrum", row["run_id"][:10]).stdout


def test_of_eigenvalues_that_drift_between_meshes_only_the_symmetries_are_kept(monkeypatch) -> None:
    monkeypatch.setattr(stability, "DRIFT", 0.0)
    found = spectrum(CCF(order=1), CCF(order=1).reference())
    assert found.eigenvalues.real == pytest.approx([1.0, 0.0], abs=1e-6)
    assert len(found.unstable) == 0


def test_the_eigenvalues_of_a_function_are_those_of_its_projection() -> None:
    """Any solver's profile will do: here the exact formula, which no mesh made."""
    problem = CLM()
    found = spectrum(problem, problem.reference())
    assert len(found.unstable) == 0
    assert max(found.symmetry_errors.values()) < 1e-6


def test_a_problem_without_an_evolution_is_refused() -> None:
    with pytest.raises(SpectrumError, match="does not say how"):
        spectrum(Burgers(), Burgers().reference())


def test_what_is_no_solution_has_no_count_of_modes() -> None:
    problem = CCF(order=1)
    guess = FunctionProfile(0.6, lambda x: problem.starting_fields(x, torch.tensor(0.6, dtype=torch.float64)))
    with pytest.raises(SpectrumError, match=r"no solution|no eigenvalue"):
        spectrum(problem, guess)


def test_a_solver_that_ends_on_another_branch_says_so(rows) -> None:
    (row,) = rows("-p", "ccf[order=1]", "-s", "spectral_newton", "--until", "res_max=1e-9")
    assert row["status"] == "budget"
    assert "λ = 1.18078 is that of another profile, outside 0.5 … 0.7" in row["reason"]


def test_the_spectrum_of_a_run_without_a_profile_says_why(rows, cli) -> None:
    (row,) = rows("-p", "burgers", "-s", "continuation")
    assert "stored no profile: it ended unsupported" in one_line_error(cli("spectrum", row["run_id"][:10]))


def test_the_spectrum_of_an_unknown_run_is_one_line(cli) -> None:
    assert "no run" in one_line_error(cli("spectrum", "abc"))


# -- continuity in steep layers --------------------------------------------------------------------------------------


def test_a_steep_layer_is_continuous_and_a_jump_is_not() -> None:
    problem = CLM()

    def steep(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"G": -1 / (1 + (2 * x[:, 0]).exp() / 4) * (1 + 0.01 * torch.tanh(500 * (x[:, 0] - 0.1)))}

    def jump(x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"G": -1 / (1 + (2 * x[:, 0]).exp() / 4) * (1 + 1e-6 * torch.sign(x[:, 0] - 0.1))}

    continuity = "fields are continuous"
    assert measure(problem, FunctionProfile(0.0, steep)).conditions[continuity] < 1e-9
    assert measure(problem, FunctionProfile(0.0, jump)).conditions[continuity] > 1e-7


# -- references -------------------------------------------------------------------------------------------------------


def test_stored_profiles_are_what_their_files_say(cli) -> None:
    done = cli("references", "verify", "--json")
    verdicts = json.loads(done.stdout)
    assert verdicts
    assert {row["verdict"] for row in verdicts} == {"ok"}
    assert done.returncode == 0


def test_a_reference_is_built_verified_and_used_by_runs(cli, tmp_path: Path, rows) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "mine.py").write_text(
        "from usd_bench.hookspecs import hookimpl\n"
        "from usd_problems.ccf import CCF\n\n\n"
        "class Mine(CCF):\n    pass\n\n\n"
        "@hookimpl\ndef register_problems(register):\n    register('mine', Mine)\n",
        encoding="utf-8",
    )
    option = ("--plugins-dir", "plugins")
    missing = cli("references", "verify", "-p", "mine", *option)
    assert missing.returncode == 1
    assert "no stored profile" in missing.stdout
    built = cli("references", "build", "-p", "mine", "--threads", "1", *option)
    assert built.returncode == 0, built.stderr
    assert "1.1807776629" in built.stdout
    (file,) = (plugins / "references").iterdir()
    assert file.name == "mine-order=0.safetensors"
    verified = json.loads(cli("references", "verify", "-p", "mine", "--json", *option).stdout)
    assert [row["verdict"] for row in verified] == ["ok"]
    (row,) = rows("-p", "mine", "-s", "spectral_newton[degree=10]", "--until", "err_max=1e-10", *option)
    assert row["status"] == "converged"
    (listed,) = json.loads(cli("list", "targets", "-p", "mine", "--json", *option).stdout)
    assert listed["unstable"] == []
    assert 0 < listed["error_estimate"] < 1e-10
    assert abs(listed["difference"]) < 1e-11
    file.write_bytes(file.read_bytes()[:-100])
    assert "cannot be read" in one_line_error(cli("references", "verify", "-p", "mine", *option))


def test_references_are_built_by_one_solver(cli) -> None:
    for solver in ("continuation,spectral_newton", "continuation[tolerance=[1e-10,1e-12]]"):
        assert "one solver" in one_line_error(cli("references", "build", "-p", "clm", "-s", solver))


def test_a_profile_with_the_wrong_number_of_modes_is_kept_but_not_stored(cli, tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    plugins.mkdir()
    (plugins / "mine.py").write_text(
        "from usd_bench.hookspecs import hookimpl\n"
        "from usd_problems.ccf import CCF\n\n\n"
        "class Mine(CCF):\n    order = 1\n    bracket = CCF().bracket\n\n\n"
        "@hookimpl\ndef register_problems(register):\n    register('mine', Mine)\n",
        encoding="utf-8",
    )
    built = cli("references", "build", "-p", "mine", "-s", "spectral_newton", "--plugins-dir", "plugins")
    assert built.returncode == 1
    assert "0 growing modes, and an order-1 profile has 1" in built.stderr
    assert [file.name for file in (plugins / "references").iterdir()] == ["mine-order=0.rejected.safetensors"]


def test_a_stored_profile_is_measured_in_every_element() -> None:
    problem = build_problem(_registry(), Selection("ccf", {"order": 2}))
    profile = problem.reference()
    breaks = profile.mesh.elements.breaks
    inside = (breaks[:-1] >= problem.evaluation().min()) & (breaks[1:] <= problem.evaluation().max())
    counts = torch.histogram(between_nodes(problem, profile)[:, 0], breaks).hist
    assert bool((counts[inside] == 8).all())
    layer = RES_MAX.compute(measure(problem, profile, between_nodes(problem, profile)))
    assert RES_MAX.compute(measure(problem, profile)) < layer <= 1.01 * provenance(problem)["res_max"]


def test_nothing_is_said_of_a_profile_that_is_being_built(tmp_path: Path) -> None:
    class Mine(CCF):
        reference_path = tmp_path / "mine.safetensors"

    store(Mine(), {"breaks": torch.arange(3.0).double(), "G": torch.ones(2, 4).double()}, {"lam": 2.0})
    assert provenance(Mine()) is None


def test_a_build_that_fails_half_way_leaves_what_was_stored(tmp_path: Path) -> None:
    class Mine(CCF):
        reference_path = tmp_path / "mine.safetensors"

    problem = Mine()
    tensors = {"breaks": torch.arange(3.0).double(), "G": torch.ones(2, 4).double()}

    def fail_half_way() -> None:
        with kept(problem):
            store(problem, tensors, {"lam": 2.0})
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert stored_profile(problem) is None
    store(problem, tensors, {"lam": 1.0})
    with pytest.raises(ValueError, match="half way"):
        fail_half_way()
    assert stored_profile(problem).lam == 1.0


def test_targets_list_published_beside_ours(cli) -> None:
    rows = json.loads(cli("list", "targets", "--json").stdout)
    orders = {(row["problem"], row["order"]) for row in rows}
    assert {("burgers", 3), ("ccf", 2), ("hou_luo", 10), ("ipm", 6), ("boussinesq", 7), ("clm", 0)} <= orders
    assert not any(row["problem"].startswith("toy") for row in rows)
    for row in rows:
        assert row["source"] or row["ours"] is not None or row["problem"] == "gclm"
        if row["ours"] is not None and row["published"] is not None:
            allowed = 10.0 ** (1 - row["published_digits"]) * (abs(row["published"]) or 1)
            assert abs(row["difference"]) < max(allowed, 1e-9), row
    assert "1.0285722760222" in cli("list", "targets", "-p", "ipm").stdout


def test_digits_are_those_that_an_error_leaves() -> None:
    assert digits(1.2345, 1e-6) == 6
    assert digits(0.0, 1e-3) == 3
    assert digits(1.0, 10.0) == 0
    assert shown(1.23456789, 1e-3) == "1.235"
    assert shown(None) == "-"


def test_reference_profiles_are_polynomials_and_small() -> None:
    problem = build_problem(_registry(), Selection("ccf", {"order": 1}))
    profile = problem.reference()
    assert isinstance(profile, PiecewiseProfile)
    files = list(problem.reference_path.parent.glob("*.safetensors"))
    assert sum(file.stat().st_size for file in files) < 10e6
    assert np.isfinite(profile.lam)


def _registry():
    from usd_bench.registry import Registry

    return Registry.load()


def test_both_solvers_are_registered() -> None:
    assert isinstance(build_solver(_registry(), Selection("spectral_newton", {})), SpectralNewton)
    assert isinstance(build_solver(_registry(), Selection("continuation", {})), Continuation)
