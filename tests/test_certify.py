"""Certificates: what is enclosed is what the harness measures, and what was changed is refused."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flint import acb, arb, arb_series, ctx
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.conftest import Cli, one_line_error
from usd_bench.certificate.check import digest_of, tensors_of, verify
from usd_bench.certificate.enclosure import (
    Box,
    Density,
    Enclosure,
    Formulas,
    exact_point,
    leaves,
    over_box,
    precision,
    upper,
)
from usd_bench.certificate.evaluate import OPERATIONS, Formula, Undecided
from usd_bench.certificate.make import certify, retraced
from usd_bench.certificate.taylor import Monomials, Taylor
from usd_bench.certificate.trace import record
from usd_bench.errors import CertificateError, CertificateRefused
from usd_bench.metrics import measure
from usd_bench.profile import FunctionProfile
from usd_bench.registry import Registry
from usd_bench.run.artifacts import restored
from usd_problems.burgers import Burgers
from usd_problems.enclosed_hilbert import HilbertTerms
from usd_problems.gclm import GCLM
from usd_problems.ipm import ToyIPM

RUNS = {
    "burgers": ("burgers", "gauss_newton[hidden=8x8,points=120]", "60"),
    "ccf": ("ccf", "gauss_newton[hidden=8,points=200]", "40"),
    "toy_ipm": ("toy_ipm", "gauss_newton[hidden=6x6,points=200]", "30"),
}


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trained network of each problem: the files of real runs."""
    folder = tmp_path_factory.mktemp("profiles")
    found = {}
    for name, (problem, solver, iterations) in RUNS.items():
        command = ["run", "-p", problem, "-s", solver, "--max-iter", iterations, "-q", "--out", name, "--threads", "1"]
        subprocess.run([sys.executable, "-m", "usd_bench", *command], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        (found[name],) = (folder / name).glob("artifacts/*/profile.safetensors")
    return found


def certificate_of(file: Path, **how: Any) -> dict[str, Any]:
    header, problem, profile = restored(Registry.load(), file)
    subject = {name: header[name] for name in ("problem", "parameters", "solver", "run_id")}
    return certify(problem, profile, subject=subject, file=file, **how)


def numbers(bounds: dict[str, str]) -> dict[str, float]:
    return {name: float.fromhex(value) for name, value in bounds.items()}


# -- formulas ---------------------------------------------------------------------------------------------------------

X = torch.tensor([[0.3, 0.9], [1.7, 0.2], [0.05, 2.5]], dtype=torch.float64)
MATRIX = torch.tensor([[0.5, -1.25], [2.0, 0.75]], dtype=torch.float64)
BREAKS = torch.tensor([0.0, 0.2, 0.9, 2.0], dtype=torch.float64)

FORMULAS: dict[str, Callable[[Tensor], Tensor]] = {
    "arithmetic": lambda x: (2 - x * 3 + x / 0.7 - (-x)) / x.reciprocal() - x.square() * torch.sub(x, x, alpha=2),
    "alpha": lambda x: torch.add(x, x, alpha=3) + torch.rsub(x, 2.0, alpha=0.5),
    "powers": lambda x: x**3 + x**0.5 + x**-2 + x.sqrt(),
    "functions": lambda x: x.exp() + x.expm1() + x.log() + x.log1p() + x.sin() + x.cos() + x.tanh() + x.asinh(),
    "sigmoid": lambda x: x.sigmoid() + torch.nn.functional.softplus(20 * x - 5) + (x - 1).abs(),
    "branches": lambda x: (
        torch.where(x < 1, x, 2 * x) + (x <= 1).to(x.dtype) + (x > 2) * x + (x >= 0.5) * x + (x == 1.7) * x
    ),
    "not": lambda x: x * ~(x < 1) + x * torch.logical_not(x < 1) + x.clamp(0.1, 1.5) + x.clamp(min=0.2),
    "products": lambda x: x @ MATRIX.T + torch.addmm(x[0], x, MATRIX, beta=2, alpha=0.5),
    "vectors": lambda x: (x.mv(MATRIX[0]) * x[:, 0].dot(x[:, 1]))[:, None] + x,
    "batches": lambda x: torch.bmm(x[:, None], MATRIX.expand(3, 2, 2))[:, 0],
    "sums": lambda x: x.sum() + x.sum(1, keepdim=True) + x.sum(0),
    "shapes": lambda x: x.t().transpose(0, 1).permute(1, 0).reshape(3, 2).view(2, 3).unsqueeze(-1).squeeze(-1)[:, ::2],
    "parts": lambda x: torch.cat([*x.split(2), *x.unbind()[:1][0].expand(2, 2).split([1, 1])]),
    "rows": lambda x: torch.stack([x[0], x[2]], dim=1)[torch.tensor([1, 0])],
    "search": lambda x: BREAKS[torch.searchsorted(BREAKS, x.reshape(6), right=True) - 1].view(3, 2),
    "left": lambda x: torch.searchsorted(BREAKS, x.reshape(6)).view(3, 2) * x,
    "filled": lambda x: x + x.new_full((2,), 0.1) + x.new_zeros(2) + x.new_ones(2) + torch.full_like(x, 3.0),
    "more": lambda x: (
        x * torch.ones_like(x)
        + torch.zeros_like(x)
        + torch.zeros(2, dtype=x.dtype)
        + torch.full((2,), 0.5, dtype=x.dtype)
    ),
    "made": lambda x: (
        x + torch.ones(2, dtype=x.dtype) + torch.scalar_tensor(0.25, dtype=x.dtype) + x.detach() + x.clone()
    ),
}
"""Together they use every operation of the interpreter."""


def recorded(name: str) -> dict[str, Any]:
    return record(lambda given: {"y": FORMULAS[name](given["x"])}, {"x": X}, {})


def balls(values: Any) -> np.ndarray[Any, Any]:
    found = np.empty(np.shape(values), dtype=object)
    for index in np.ndindex(found.shape):
        found[index] = arb(float(np.asarray(values)[index]))
    return found


@pytest.mark.parametrize("name", FORMULAS)
def test_a_recorded_formula_does_to_balls_what_torch_does_to_numbers(name: str) -> None:
    formula = json.loads(json.dumps(recorded(name)))
    found = Formula(formula, {})(x=balls(X.numpy()))["y"]
    expected = FORMULAS[name](X)
    assert found.shape == tuple(expected.shape)
    for ball, value in zip(found.reshape(-1), expected.flatten().tolist(), strict=True):
        assert abs(ball - arb(value)) < 1e-12 * (1 + abs(value))


def test_every_operation_of_the_interpreter_is_compared_with_torch() -> None:
    used = {step["op"] for name in FORMULAS for step in recorded(name)["steps"]}
    assert sorted(OPERATIONS.keys() - used) == []


def test_constants_are_not_folded() -> None:
    third = torch.tensor(1.0, dtype=torch.float64)
    formula = record(lambda given: {"y": given["x"] * (third / 3)}, {"x": X}, {})
    with precision(200):
        found = Formula(formula, {})(x=balls([[3.0]]))["y"][0, 0]
        assert abs(found - 1) < arb(2) ** -190


def test_what_cannot_be_enclosed_is_named() -> None:
    with pytest.raises(CertificateError, match="'erf'"):
        record(lambda given: {"y": given["x"].erf()}, {"x": X}, {})
    with pytest.raises(CertificateError, match="in place"):
        record(lambda given: {"y": given["x"].clone().add_(1)}, {"x": X}, {})
    unknown = recorded("powers") | {"steps": [{"op": "erf", "args": [{"ref": 0}], "kwargs": {}, "to": 1}]}
    with pytest.raises(ValueError, match="'erf'"):
        Formula(unknown, {})


def test_a_branch_that_a_ball_leaves_open_is_not_guessed() -> None:
    wide = balls([[0.5, 0.5]])
    wide[0, 0] = arb(1, 0.5)
    with pytest.raises(Undecided):
        Formula(record(lambda given: {"y": torch.where(given["x"] < 1, 0.0, given["x"])}, {"x": X[:1]}, {}), {})(x=wide)


# -- Taylor polynomials -----------------------------------------------------------------------------------------------

SERIES: dict[str, Callable[[Any], Any]] = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sin": lambda x: x.sin(),
    "cos": lambda x: x.cos(),
    "sqrt": lambda x: x.sqrt(),
    "quotient": lambda x: (x * x + 1) / (x + 3),
}


@pytest.mark.parametrize("name", SERIES)
@given(at=st.floats(0.1, 4), wide=st.booleans())
def test_taylor_coefficients_are_those_of_flint(name: str, at: float, wide: bool) -> None:
    ball = arb(at, 1e-3) if wide else arb(at)
    (x,) = Taylor.coordinates([ball], 7)
    ours = SERIES[name](x * x + x / 2).coefficients
    before, ctx.cap = ctx.cap, 8
    try:
        theirs = SERIES[name](arb_series([ball, 1]) * arb_series([ball, 1]) + arb_series([ball, 1]) / 2)
        assert all(a.overlaps(b) for a, b in zip(ours, (theirs[k] for k in range(8)), strict=True))
    finally:
        ctx.cap = before


@given(at=st.floats(-3, 3))
def test_functions_that_flint_has_no_series_of_satisfy_their_identities(at: float) -> None:
    (x,) = Taylor.coordinates([arb(at)], 9)
    e = (2 * x).exp()
    pairs = [
        (x.tanh(), (e - 1) / (e + 1)),
        (x.expm1(), x.exp() - 1),
        ((x * x).log1p(), (x * x + 1).log()),
        (x.asinh(), (x + (x * x + 1).sqrt()).log()),
        (1 - x, -(x - 1)),
        (x**3, x * x * x),
        (1 / (x * x + 1), (x * x + 1) ** -1),
    ]
    for left, right in pairs:
        assert all(a.overlaps(b) for a, b in zip(left.coefficients, right.coefficients, strict=True))
        assert all(float(a.rad()) < 1e-9 for a in left.coefficients)


def test_derivatives_in_two_coordinates_are_those_of_the_jets() -> None:
    problem, lam = ToyIPM(), torch.tensor(1.0, dtype=torch.float64)
    x = torch.tensor([[0.4, 0.7]], dtype=torch.float64)
    formula = record(lambda given: {"f": problem.features(problem.points(given["x"]), lam)[3]}, {"x": x}, {})
    row = np.empty((1, 2), dtype=object)
    row[0] = Taylor.coordinates([arb(v) for v in x[0].tolist()], 3)
    series = Formula(formula, {})(x=row)["f"][0]
    jet = problem.feature_jet(x, lam, problem.all_channels)[:, 0, 3]
    for axes, value in zip(problem.all_channels.indices, jet.tolist(), strict=True):
        assert abs(series.derivative(axes, 0).value - value) < 1e-12 * (1 + abs(value))


@given(power=st.integers(0, 40), at=st.floats(-2, 2))
def test_whole_powers_are_repeated_products(power: int, at: float) -> None:
    (x,) = Taylor.coordinates([arb(at)], 4)
    product = x**0
    for _ in range(power):
        product = product * x
    assert all(a.overlaps(b) for a, b in zip((x**power).coefficients, product.coefficients, strict=True))
    (x,) = Taylor.coordinates([arb(1, 1e-9)], 2)
    assert (x**10**12).coefficients[0].is_finite()


def test_products_are_cut_off_above_the_degree() -> None:
    x, y = Taylor.coordinates([arb(0), arb(0)], 2)
    assert Monomials.of(2, 2).powers == ((0, 0), (0, 1), (1, 0), (0, 2), (1, 1), (2, 0))
    assert [float(c) for c in ((x + y) * (x + 2 * y)).coefficients] == [0, 0, 0, 2, 3, 1]
    assert all(c == 0 for c in (x * y * x).coefficients)


# -- nonlocal terms ---------------------------------------------------------------------------------------------------


class _Known(Density):
    """Ω = -y / (1 + y²/4), of which HΩ = 8 / (y² + 4) and U/y = 4 arctan(y/2) / y."""

    def __init__(self) -> None:
        pass

    def __call__(self, at: Any) -> Any:
        return -at.exp() / (1 + (2 * at).exp() / 4)

    def series(self, at: Any, length: int) -> list[Any]:
        (x,) = Taylor.coordinates([at], length - 1)
        return list((-x.exp() / (1 + (2 * x).exp() / 4)).coefficients)


@pytest.mark.parametrize("bits", [53, 128])
@pytest.mark.parametrize("s", [-30.0, -3.0, 0.0, 0.731, 5.5])
def test_hilbert_transforms_of_a_known_density_are_enclosed_tightly(s: float, bits: int) -> None:
    with precision(bits):
        found = HilbertTerms(_Known(), arb(-60), arb(60))(arb(s))
    with precision(300):
        y = arb(s).exp()
        exact = {"W": 8 / (y * y + 4), "V": 4 * (y / 2).atan() / y}
        ends = arb(0, 1e-25)  # of what lies beyond the ends
        for name, value in exact.items():
            assert (found[name] + ends).contains(value)
            assert float(found[name].rad()) < (1e-12 if bits == 53 else 1e-17)


def test_a_density_that_is_not_analytic_is_refused_and_so_is_a_point_at_its_end() -> None:
    class Step(_Known):
        def __call__(self, at: Any) -> Any:
            if isinstance(at, acb) and at.real.contains(1):
                return acb("nan")
            return super().__call__(at)

    with pytest.raises(ArithmeticError, match="not smooth enough"):
        HilbertTerms(Step(), arb(-60), arb(60))(arb(0))
    with pytest.raises(ArithmeticError, match="too close"):
        HilbertTerms(_Known(), arb(-60), arb(60))(arb(60))


def test_a_function_is_not_analytic_across_a_branch_cut() -> None:
    across = np.empty(1, dtype=object)
    across[0] = acb(arb(-1.5, 0.1), arb(0, 0.1))
    for name in ("log", "log1p", "sqrt", "asinh", "pow"):
        shift = 1j * acb(across[0].real) if name == "asinh" else across[0]
        across[0], before = acb(shift), across[0]
        args = [{"ref": 0}, {"hex": (0.5).hex()}] if name == "pow" else [{"ref": 0}]
        step = {"op": name, "args": args, "kwargs": {}, "to": 1}
        formula = {"inputs": ["x"], "constants": {}, "steps": [step], "outputs": {"y": {"ref": 1}}}
        assert not Formula(formula, {})(x=across)["y"][0].is_finite(), name
        across[0] = before


# -- certificates -----------------------------------------------------------------------------------------------------


def test_the_exact_profile_of_burgers_has_no_residual_but_rounding(cli: Cli, tmp_path: Path) -> None:
    done = cli("certify", "--reference", "burgers[order=0]", "--boxes", "0", "--to", "exact.json", "-q")
    assert done.returncode == 0, done.stderr
    certificate = json.loads((tmp_path / "exact.json").read_text(encoding="utf-8"))
    points = certificate["points"]
    assert len(points["at"]) == len(Burgers().evaluation())
    assert numbers(points["bound"])["transport"] < 1e-30
    assert numbers(points["bound_at_double_rounding"])["transport"] > numbers(points["measured"])["transport"]
    assert float.fromhex(certificate["lam"]) == 0.5
    held = cli("certify", "--verify", "exact.json", "--retrace", "-q")
    assert held.returncode == 0, held.stderr
    assert "holds  exact.json" in held.stdout


def test_the_exact_profile_is_enclosed_over_boxes_too() -> None:
    problem = Burgers()
    certificate = certify(
        problem, problem.reference(), subject={}, file=None, points=5, domain=[(0.0, 0.0625)], boxes=400, degree=10
    )
    assert numbers(certificate["boxes"]["bound"])["transport"] < 1e-12


@pytest.mark.parametrize(("name", "points"), [("burgers", None), ("ccf", 12), ("toy_ipm", 60)])
def test_the_bound_of_a_network_is_what_the_harness_measures_and_no_less(
    name: str, points: int | None, profiles: dict[str, Path]
) -> None:
    certificate = certificate_of(profiles[name], points=points)
    found = certificate["points"]
    for equation, measured in numbers(found["measured"]).items():
        rounded = numbers(found["bound_at_double_rounding"])[equation]
        assert measured <= rounded <= 10 * measured
        assert numbers(found["bound"])[equation] == pytest.approx(measured, rel=1e-4)
    verify(certificate, tensors_of(certificate, profiles[name]))
    _, problem, profile = restored(Registry.load(), profiles[name])
    assert retraced(problem, profile, certificate)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_bound_of_ccf_at_all_held_out_points_is_what_the_harness_measures(profiles: dict[str, Path]) -> None:
    found = certificate_of(profiles["ccf"])["points"]
    assert len(found["at"]) == 1186
    measured, rounded = (numbers(found[which])["vorticity"] for which in ("measured", "bound_at_double_rounding"))
    assert measured <= rounded <= 10 * measured


def test_stored_profiles_of_elements_are_enclosed_at_points() -> None:
    problem = ToyIPM()
    certificate = certify(problem, problem.reference(), subject={}, file=None, points=40)
    bounds = numbers(certificate["points"]["bound_at_double_rounding"])
    assert all(0 < bound < 1e-9 for bound in bounds.values())


def test_boxes_cover_the_line_and_bound_the_residual_between_the_points(profiles: dict[str, Path]) -> None:
    certificate = certificate_of(profiles["burgers"], points=2, domain=[(-18.5, 12.0)])
    (bound,) = numbers(certificate["boxes"]["bound"]).values()
    _, problem, profile = restored(Registry.load(), profiles["burgers"])
    x = torch.linspace(-18.5, 12.0, 20001, dtype=torch.float64)[:, None]
    largest = float(measure(problem, profile, x).scaled.abs().max())
    assert largest <= bound <= 1.1 * largest
    verify(certificate, tensors_of(certificate, profiles["burgers"]))


def test_boxes_bound_the_residual_of_a_system_in_two_dimensions(profiles: dict[str, Path]) -> None:
    domain = [(0.0, 0.125), (0.5, 0.625)]
    certificate = certificate_of(profiles["toy_ipm"], points=2, domain=domain, boxes=60, degree=4)
    _, problem, profile = restored(Registry.load(), profiles["toy_ipm"])
    axes = [torch.linspace(*side, 40, dtype=torch.float64) for side in domain]
    largest = measure(problem, profile, torch.cartesian_prod(*axes)).scaled.abs().amax(1)
    for name, value in zip(problem.equations, largest.tolist(), strict=True):
        assert value <= numbers(certificate["boxes"]["bound"])[name] <= 3 * value + 1e-3


@given(centre=st.floats(-6, 4), width=st.floats(1e-3, 0.2), degree=st.integers(1, 9))
def test_a_box_bounds_the_residual_at_each_of_its_points(centre: float, width: float, degree: int) -> None:
    problem = Burgers()
    profile = FunctionProfile(0.5, lambda x: {"W": (-x[:, 0] / 3).tanh() / 2 + 0.5})
    formulas = Formulas(**certify(problem, profile, subject={}, file=None, points=1)["formulas"])
    with precision(128):
        enclosure = Enclosure(formulas, {})
        box = Box.of([[(centre - width).hex(), (centre + width).hex()]])
        bound = over_box(enclosure, box, degree)
        for share in (0.0, 0.3, 0.5, 0.9, 1.0):
            at = box.low[0] + (box.high[0] - box.low[0]) * arb(share)
            assert upper(enclosure.at_point([at])["transport"]) <= bound.largest * (1 + 1e-12)
        assert bound.at_centre <= bound.largest


def test_leaves_must_cover_their_box_once() -> None:
    box = Box.of([[(0.0).hex(), (1.0).hex()], [(0.0).hex(), (2.0).hex()]])
    found = leaves(box, ["0-", "0+1-", "0+1+"])
    assert [(float(b.low[0]), float(b.high[0]), float(b.low[1]), float(b.high[1])) for b in found] == [
        (0, 0.5, 0, 2),
        (0.5, 1, 0, 1),
        (0.5, 1, 1, 2),
    ]
    for wrong in ([], ["0-"], ["0-", "0+1-"], ["", "0-"], ["0-", "1+"], ["0-", "0+", "0+1-"]):
        with pytest.raises(ValueError, match="box"):
            leaves(box, wrong)


# -- what is refused --------------------------------------------------------------------------------------------------


def signed(certificate: dict[str, Any]) -> dict[str, Any]:
    """With the digest that belongs to it, as somebody who means to deceive would write it."""
    return certificate | {"digest": digest_of(certificate)}


@pytest.fixture
def certified(profiles: dict[str, Path], tmp_path: Path) -> tuple[Path, Path, dict[str, Any]]:
    """A certificate beside a copy of its profile."""
    profile = tmp_path / "profile.safetensors"
    profile.write_bytes(profiles["burgers"].read_bytes())
    certificate = certificate_of(profile, points=40, domain=[(0.0, 1.0)])
    path = tmp_path / "certificate.json"
    path.write_text(json.dumps(certificate), encoding="utf-8")
    return path, profile, certificate


def refused(cli: Cli, path: Path) -> str:
    done = cli("certify", "--verify", str(path), "-q")
    assert done.returncode == 1, (done.returncode, done.stdout, done.stderr)
    return done.stderr


def test_a_certificate_holds_for_the_file_beside_it(cli: Cli, certified: tuple[Path, Path, dict[str, Any]]) -> None:
    done = cli("certify", "--verify", str(certified[0]), "-q", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["points"] == certified[2]["points"]


def test_a_perturbed_parameter_is_refused(cli: Cli, certified: tuple[Path, Path, dict[str, Any]]) -> None:
    path, profile, certificate = certified
    tensors = load_file(profile)
    tensors["theta"][3] = math.nextafter(float(tensors["theta"][3]), math.inf)
    save_file(tensors, profile)
    assert "another SHA-256" in refused(cli, path)
    # And with the digests mended, a change that shows is found by its residual.
    tensors["theta"][3] += 1e-3
    save_file(tensors, profile)
    sha256 = hashlib.sha256(profile.read_bytes()).hexdigest()
    changed = signed(certificate | {"profile": {**certificate["profile"], "sha256": sha256}})
    path.write_text(json.dumps(changed), encoding="utf-8")
    assert "is above the bound" in refused(cli, path)


@pytest.mark.parametrize(
    "where", ["bound", "bound_at_double_rounding", "boxes", "condition", "formula", "leaves", "lam"]
)
def test_a_tampered_certificate_is_refused(where: str, cli: Cli, certified: tuple[Path, Path, dict[str, Any]]) -> None:
    path, _, certificate = certified
    changed = json.loads(json.dumps(certificate))
    if where in ("bound", "bound_at_double_rounding"):
        changed["points"][where] = {n: (v / 2).hex() for n, v in numbers(changed["points"][where]).items()}
    elif where == "boxes":
        changed["boxes"]["bound"] = {n: (v / 2).hex() for n, v in numbers(changed["boxes"]["bound"]).items()}
    elif where == "condition":
        changed["conditions"][1]["bound"] = (0.0).hex()
    elif where == "formula":
        changed["formulas"]["residual"]["steps"][-1]["op"] = "mul"
    elif where == "leaves":
        del changed["boxes"]["leaves"][0]
    else:
        changed["lam"] = (0.75).hex()
    path.write_text(json.dumps(changed), encoding="utf-8")
    assert "its digest does not fit" in refused(cli, path)
    if where != "lam":  # which is in the formulas
        with pytest.raises(CertificateRefused):
            verify(signed(changed), tensors_of(changed, certified[1]))


ENDLESS: dict[str, dict[str, Any]] = {
    "filled": {"op": "zeros", "args": [[10**9]], "kwargs": {}},
    "expanded": {"op": "expand", "args": [{"ref": 0}, [10**9, 1]], "kwargs": {}},
}
"""Steps that would keep a reader busy for ever."""


@pytest.mark.parametrize("harm", ["profile", "points", "formulas", "step", "number", "order", "boxes", *ENDLESS])
def test_what_is_signed_and_makes_no_sense_is_refused_in_words(
    harm: str, cli: Cli, certified: tuple[Path, Path, dict[str, Any]]
) -> None:
    path, _, certificate = certified
    changed = json.loads(json.dumps(certificate))
    if harm == "profile":
        changed["profile"] = ["nothing"]
    elif harm == "points":
        del changed["points"]["bound"]
    elif harm == "formulas":
        changed["formulas"]["fields"] = {}
    elif harm == "step":
        changed["formulas"]["residual"]["steps"][0]["args"] = [{"ref": 10_000}]
    elif harm == "number":
        changed["points"]["at"][0] = ["seven"]
    elif harm == "order":
        changed["formulas"]["jets"]["W"]["W_s"] = [0] * 500
    elif harm in ENDLESS:
        changed["formulas"]["residual"]["steps"][0] |= ENDLESS[harm]
    else:
        changed["boxes"]["domain"] = [[(1.0).hex(), (0.0).hex()]]
    path.write_text(json.dumps(signed(changed)), encoding="utf-8")
    said = refused(cli, path)
    assert said.startswith("Error: ")
    assert said.count("\n") == 1


def test_a_residual_that_does_not_vary_is_bounded_by_what_it_is() -> None:
    problem = Burgers()
    formulas = certify(problem, problem.reference(), subject={}, file=None, points=1)["formulas"]
    inputs = dict.fromkeys(formulas["residual"]["inputs"], X[:1, 0]) | {"x": X[:1, :1]}
    quarter = record(lambda given: {"transport": torch.full((1,), 0.25, dtype=torch.float64)}, inputs, {})
    with precision(128):
        enclosure = Enclosure(Formulas(**formulas | {"residual": quarter}), {})
        assert over_box(enclosure, Box.of([[(0.0).hex(), (1.0).hex()]]), 4).largest == 0.25


def test_formulas_of_another_equation_are_found_by_recording_them_anew(
    cli: Cli, certified: tuple[Path, Path, dict[str, Any]]
) -> None:
    path, _, certificate = certified
    changed = json.loads(json.dumps(certificate))
    scale = next(s for s in changed["formulas"]["residual"]["steps"] if s["op"] == "div")
    scale["args"] = [scale["args"][0], {"hex": (1e9).hex()}]  # a residual that is small because it is divided
    path.write_text(json.dumps(signed(changed)), encoding="utf-8")
    assert cli("certify", "--verify", str(path), "-q").returncode == 0
    done = cli("certify", "--verify", str(path), "--retrace", "-q")
    assert (done.returncode, "not those of the installed code" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    "harm", ["name", "points", "measured by nobody", "no bound", "infinite", "another module", "bits"]
)
def test_a_lie_that_is_signed_is_found_out(harm: str, cli: Cli, certified: tuple[Path, Path, dict[str, Any]]) -> None:
    path, _, certificate = certified
    changed = json.loads(json.dumps(certificate))
    if harm == "name":
        changed["problem"] = "ipm"
    elif harm == "points":
        changed["points"]["at"] = [[(0.123).hex()]]
    elif harm == "measured by nobody":
        changed["lam"] = (1.0).hex()
    elif harm == "no bound":
        changed["points"] |= {"at": [], "bound": {}, "bound_at_double_rounding": {}}
    elif harm == "infinite":
        changed["boxes"]["bound"] = {"transport": "inf"}
    elif harm == "another module":
        changed["formulas"] |= {"terms": {"of": "this:x", "low": "0x0p+0", "high": "0x1p+0"}}
        changed["formulas"]["density"] = changed["formulas"]["fields"]
    else:
        changed["bits"] = 10**9
    path.write_text(json.dumps(signed(changed)), encoding="utf-8")
    done = cli("certify", "--verify", str(path), "--retrace", "-q")
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Zen" not in done.stdout


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"kind": "certificate", "x": NaN}', '{"kind": "certificate", "x": "\\ud800"}']
)
def test_what_no_certificate_can_be_is_one_line(text: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    assert "is not a certificate" in one_line_error(cli("certify", "--verify", "x.json"))


def test_a_number_read_off_the_input_is_refused_and_a_constant_is_not() -> None:
    three = torch.tensor(3.0, dtype=torch.float64)
    for function in (lambda x: x * float(x[0, 0]), lambda x: 2 * x if x[0, 0] > 0 else x):
        with pytest.raises(CertificateError, match="reads a number off its input"):
            record(lambda given, f=function: {"y": f(given["x"])}, {"x": X}, {})
    assert Formula(record(lambda given: {"y": given["x"] * float(three)}, {"x": X}, {}), {})(x=balls(X.numpy()))


@pytest.mark.parametrize("cast", [lambda x: x.float() * 1.0, lambda x: x.sum(dtype=torch.float32), lambda x: x.int()])
def test_numbers_of_other_types_are_refused(cast: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(CertificateError, match="computes with (float|int)32; expected float64"):
        record(lambda given: {"y": cast(given["x"])}, {"x": X}, {})
    for kind in ("float32", "int64"):
        step = {"op": "_to_copy", "args": [{"ref": 0}], "kwargs": {"dtype": kind}, "to": 1}
        formula = {"inputs": ["x"], "constants": {}, "steps": [step], "outputs": {"y": {"ref": 1}}}
        with pytest.raises(ValueError, match=f"made {kind} on the way"):
            Formula(formula, {})(x=balls(X.numpy()))


def test_bounds_without_a_bound_are_not_written() -> None:
    problem = Burgers()
    exact = problem.reference()
    assert exact is not None
    with pytest.raises(CertificateError, match="take more --boxes"):
        certify(problem, exact, subject={}, file=None, points=2, domain=[(-18.5, 12.0)], boxes=2, degree=8)
    pieces = FunctionProfile(
        exact.lam, lambda x: {name: torch.where(x[:, 0] < 0.3, v, v) for name, v in exact.fields(x).items()}
    )
    with pytest.raises(
        CertificateError, match=r"leave \[0.25, 0.375\] without a bound: balls do not tell whether .* < 0.3"
    ):
        certify(problem, pieces, subject={}, file=None, points=2, domain=[(0.0, 1.0)], boxes=8, degree=8)


def test_the_checker_needs_no_torch(certified: tuple[Path, Path, dict[str, Any]]) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from usd_bench.certificate.check import main\n"
        f"sys.exit(main([{str(certified[0])!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "holds\n"), done.stderr


def test_a_profile_that_the_harness_measures_otherwise_gets_no_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = Burgers()
    residual = problem.residual

    def twofold(u: Any, x: Any, lam: Any) -> dict[str, Tensor]:
        """Another equation where gradients are asked for, as the harness does, than where they are not."""
        factor = 1.0 if torch.is_grad_enabled() else 1.01
        return {name: factor * value for name, value in residual(u, x, lam).items()}

    monkeypatch.setattr(problem, "residual", twofold)
    profile = FunctionProfile(0.5, lambda x: {"W": 1 / (1 + (2 * x[:, 0]).exp())})
    with pytest.raises(CertificateError, match="rounding does not explain it"):
        certify(problem, profile, subject={}, file=None, points=20)


def test_stored_profiles_of_elements_with_nonlocal_terms_are_refused_in_words(cli: Cli) -> None:
    assert "not smooth enough" in one_line_error(cli("certify", "--reference", "ccf", "--points", "2", "-q"))


def test_terms_must_be_what_encloses_terms(profiles: dict[str, Path]) -> None:
    certificate = certificate_of(profiles["ccf"], points=1)
    certificate["formulas"]["terms"]["of"] = "os:system"
    with pytest.raises(CertificateRefused, match="belongs to no installed plugin"):
        verify(certificate, tensors_of(certificate, profiles["ccf"]))
    certificate["formulas"]["terms"]["of"] = "usd_problems.enclosed_hilbert:Panel"
    with pytest.raises(CertificateRefused, match="does not enclose nonlocal terms"):
        verify(certificate, tensors_of(certificate, profiles["ccf"]))


def test_a_problem_that_does_not_say_how_its_terms_are_enclosed_gets_no_certificate() -> None:
    class Unsaid(GCLM):
        enclosed_terms = ""

    problem = Unsaid(a=0.5)
    with pytest.raises(CertificateError, match="does not say how its nonlocal terms are enclosed"):
        certify(problem, problem.reference(), subject={}, file=None, points=1)


def test_an_exact_profile_with_nonlocal_terms_is_enclosed_at_points() -> None:
    problem = GCLM(a=0.5)
    points = certify(problem, problem.reference(), subject={}, file=None, points=6)["points"]
    assert numbers(points["bound"])["vorticity"] < 1e-9  # the density ends where it is so small
    assert exact_point(points["at"][0])[0].is_exact()


# -- the command line -------------------------------------------------------------------------------------------------


def test_a_run_is_certified_among_its_artifacts(
    cli: Cli, rows: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    (row,) = rows("-p", "burgers", "-s", "gauss_newton[hidden=6,points=60]", "--max-iter", "20")
    done = cli("certify", row["run_id"][:8], "--points", "30", "--boxes", "0", "-q")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "results" / "artifacts" / row["run_id"] / "certificate.json"
    assert str(path.relative_to(tmp_path)) in done.stdout
    assert "not proved: Anything between the listed points." in done.stdout
    certificate = json.loads(path.read_text(encoding="utf-8"))
    assert (certificate["run_id"], certificate["solver"]) == (row["run_id"], "gauss_newton")
    assert cli("certify", "--verify", str(path), "-q", "--retrace").returncode == 0


def test_bad_input_is_one_line(cli: Cli, tmp_path: Path) -> None:
    assert "expected one of RUN" in one_line_error(cli("certify"))
    assert "expected one of RUN" in one_line_error(cli("certify", "abc", "--verify", "x.json"))
    assert "unknown problem" in one_line_error(cli("certify", "--reference", "burger"))
    assert "has no exact or stored profile" in one_line_error(cli("certify", "--reference", "gclm[a=0.1]"))
    assert "expected LOW:HIGH" in one_line_error(cli("certify", "--reference", "burgers", "--box", "1:0"))
    assert "has 2 sides" in one_line_error(cli("certify", "--reference", "burgers", "--box", "0:1,0:1"))
    assert "at points only" in one_line_error(cli("certify", "--reference", "clm", "--box", "0:1"))
    assert "without a bound" in one_line_error(
        cli("certify", "--reference", "toy_ipm", "--points", "2", "--box", "0:1,0.2:0.6", "--boxes", "2", "-q")
    )
    (tmp_path / "no.json").write_text("[]", encoding="utf-8")
    assert "is not a certificate" in one_line_error(cli("certify", "--verify", "no.json"))
    assert "cannot be read" in one_line_error(cli("certify", "--verify", "missing.json"))


def test_without_python_flint_the_extra_is_named(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flint", None)
    assert "usd-bench[certify]" in one_line_error(cli("certify", "abc"))
