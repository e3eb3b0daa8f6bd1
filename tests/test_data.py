"""Generated data: complete, without pickle, and the same bytes every time."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np


def test_toy_ipm_data_holds_grid_fields_walls_and_normalisation(cli, tmp_path: Path) -> None:
    done = cli("data", "generate", "toy_ipm", "--n", "32")
    assert done.returncode == 0, done.stderr
    path = tmp_path / "data" / "toy_ipm_32.npz"
    assert done.stdout.strip() == str(path.relative_to(tmp_path))
    with np.load(path, allow_pickle=False) as data:
        arrays = dict(data)
    meta = json.loads(str(arrays["meta"]))
    assert (meta["problem"], meta["n"], meta["coords"], meta["fields"]) == ("toy_ipm", 32, ["s", "beta"], ["T", "chi"])
    assert arrays["T"].shape == arrays["chi"].shape == (32, 32)
    assert arrays["s"].shape == arrays["beta"].shape == (32,)
    assert all(a.dtype == np.float64 for name, a in arrays.items() if name != "meta")
    # the starting fields vanish on wall and axis, and are normalised at the origin
    assert np.abs(arrays["chi"][:, 0]).max() == 0
    assert np.abs(arrays["wall_chi"]).max() < 1e-15
    beta = arrays["normalisation_at"][:, 1]
    np.testing.assert_allclose(arrays["normalisation_T"], np.cos(beta) ** 2 / 2, atol=1e-15)
    np.testing.assert_allclose(arrays["admissibility_chi"], (2 + meta["lam"]) / 4 * np.sin(2 * beta), atol=1e-12)
    assert arrays["beta"][-1] == math.pi / 2
    before = path.read_bytes()
    cli("data", "generate", "toy_ipm", "--n", "32")
    assert path.read_bytes() == before


def test_parameters_given_are_part_of_the_name(cli, tmp_path: Path) -> None:
    cli("data", "generate", "burgers[order=1]", "--n", "8")
    assert (tmp_path / "data" / "burgers_order1_8.npz").is_file()
