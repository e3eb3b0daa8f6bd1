"""Solvers that misbehave, one way each, on the exact Burgers profile: what the harness must not be fooled by."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass, replace

import torch

from usd_bench.hookspecs import hookimpl
from usd_bench.metrics import Metric
from usd_bench.profile import FunctionProfile
from usd_bench.solver import Solver, SolverConfig, State
from usd_bench.tracking import Tracker


class Exact(Solver):
    """Returns the exact profile, so that only its manners are at fault."""

    Config = SolverConfig
    State = State
    eval_every = 1

    def init(self, problem, seed, device):
        return self.State()

    def step(self, problem, state):
        return replace(state, iteration=state.iteration + 1)

    def profile(self, problem, state):
        return problem.reference()

    def restore(self, problem, lam, tensors):
        return problem.reference()


@dataclass(kw_only=True)
class ClaimState(State):
    res_max: float = 1e-16


class Off(Exact):
    """Returns a profile that is a little off, so that the run goes on."""

    def profile(self, problem, state):
        return FunctionProfile(0.45, problem.reference().fields)


class Liar(Exact):
    """Claims a tiny residual everywhere it can, for a profile that is far off."""

    State = ClaimState
    res_max = 1e-16

    def profile(self, problem, state):
        profile = FunctionProfile(0.5, lambda x: {"W": 0.9 * problem.reference().fields(x)["W"]})
        profile.res_max = profile.residual = 1e-16
        return profile


class Zero(Exact):
    """Fields that vanish: no residual, and not a profile."""

    def profile(self, problem, state):
        return FunctionProfile(0.5, lambda x: {f.name: 0 * x[:, 0] for f in problem.fields})


class Detached(Exact):
    """Values without derivatives."""

    def profile(self, problem, state):
        return FunctionProfile(0.5, lambda x: {"W": problem.reference().fields(x.detach())["W"]})


class NotANumber(Exact):
    """Good at first, NaN from the second iteration."""

    def profile(self, problem, state):
        if state.iteration < 2:
            return FunctionProfile(0.45, problem.reference().fields)
        return FunctionProfile(float("nan"), lambda x: {"W": torch.nan * x[:, 0]})


class Infinite(Exact):
    """Infinite from the start."""

    def profile(self, problem, state):
        return FunctionProfile(float("inf"), lambda x: {"W": torch.inf * (1 + x[:, 0] ** 2)})


class Flaky(Off):
    """Fails at once when the environment says so."""

    def init(self, problem, seed, device):
        if os.environ.get("FLAKY"):
            raise RuntimeError("flaky")
        return super().init(problem, seed, device)


class ZeroThenExact(Exact):
    """Vanishes at the start, and is exact after one step."""

    def profile(self, problem, state):
        if state.iteration == 0:
            return FunctionProfile(0.5, lambda x: {"W": 0 * x[:, 0]})
        return problem.reference()


class Standing(Off):
    """Never advances its iteration."""

    def step(self, problem, state):
        return state


class Flipping(Exact):
    """A λ that is another number each time it is read."""

    def profile(self, problem, state):
        class Profile(FunctionProfile):
            @property
            def lam(self):
                self.reads = getattr(self, "reads", 0) + 1
                return 0.5 if self.reads == 1 else 0.123

            @lam.setter
            def lam(self, value):
                pass

        return Profile(0.5, problem.reference().fields)


class Mutating(Off):
    """Changes the problem it was given."""

    def step(self, problem, state):
        problem.conditions = tuple
        problem.residual = lambda u, x, lam: {"transport": 0 * u.W}
        return super().step(problem, state)


class Working(Off):
    """Works outside its steps."""

    def init(self, problem, seed, device):
        time.sleep(0.6)
        return super().init(problem, seed, device)

    def profile(self, problem, state):
        time.sleep(0.2)
        return super().profile(problem, state)


class Forking(Off):
    """Hangs, with a child that holds the pipe to the parent open."""

    def step(self, problem, state):
        if state.iteration == 2:
            os.fork()
            time.sleep(1e6)
        return super().step(problem, state)


class Signalling(Off):
    """Dies by a signal without a name."""

    def step(self, problem, state):
        os.kill(os.getpid(), signal.SIGRTMIN + 1)


class Scribbling(Off):
    """Writes to every pipe it can find."""

    def step(self, problem, state):
        for handle in range(3, 30):
            with contextlib.suppress(OSError):
                os.write(handle, b"not an event\n17\n[]\n")
        return super().step(problem, state)


class Peephole(Exact):
    """Right at the first point it is asked about, and zero at all others, with a steep step in between."""

    def profile(self, problem, state):
        low = -37.0 / 2
        return FunctionProfile(
            0.5, lambda x: {"W": problem.reference().fields(x)["W"] * ((low + 0.01 - x[:, 0]) * 2000).sigmoid()}
        )


class Hanging(Off):
    """Never returns from its third step."""

    def step(self, problem, state):
        if state.iteration == 2:
            time.sleep(1e6)
        return super().step(problem, state)


class Raising(Off):
    """Raises, with a message of several lines, after printing where events are expected."""

    def step(self, problem, state):
        print("stray output that is not an event")
        raise ValueError("first line\nsecond line")


class Dying(Hanging):
    """Ends its own process as the system would for lack of memory."""

    def step(self, problem, state):
        if state.iteration == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return Off.step(self, problem, state)


class Exiting(Off):
    """Leaves without a word."""

    def step(self, problem, state):
        os._exit(7)


class Peeking(Off):
    """Asks for the points it will be measured on."""

    def step(self, problem, state):
        problem.evaluation()
        return super().step(problem, state)


class Picky(Exact):
    """Supports nothing."""

    def supports(self, problem):
        return "it wants a different world"


class Slow(Off):
    """A tenth of a second per step, never done."""

    eval_every = 1

    def step(self, problem, state):
        time.sleep(0.1)
        return super().step(problem, state)


class BadTracker(Tracker):
    """Raises at the second evaluation."""

    def __init__(self, run):
        super().__init__(run)
        self.seen = 0

    def log(self, row):
        self.seen += 1
        if self.seen == 2:
            raise OSError("the tracking server is on fire")


class UnbornTracker(Tracker):
    """Raises when it is made."""

    def __init__(self, run):
        raise OSError("no such server")

    def log(self, row):
        pass


def _below(cls):
    """Every class derived from this one, however far."""
    return [c for child in cls.__subclasses__() for c in (child, *_below(child))]


@hookimpl
def register_trackers(register):
    register("bad_tracker", BadTracker)
    register("unborn_tracker", UnbornTracker)


@hookimpl
def register_metrics(register):
    register("lam_twice", Metric("lam_twice", "lower", lambda m: 2 * m.lam), summary="a metric of a plugin")


@hookimpl
def register_solvers(register):
    for cls in (Exact, *_below(Exact)):
        register(cls.__name__.lower(), cls, summary=cls.__doc__)
