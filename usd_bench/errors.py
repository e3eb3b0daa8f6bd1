"""Errors that are for users: each message names the thing, what was expected, and what to do.

UsdBenchError            exit code 2, one line, never a traceback
├── SelectorError        an unknown or malformed problem, solver or parameter
├── ConfigError          a suite or a file of settings that cannot be read, with its line
├── PluginError          a plugin that cannot be loaded, or two that claim one name
├── ClusterError         a cluster that does not answer, is lost, or cannot run these jobs
├── StoreError           a results folder that cannot be read or written
├── CheckpointError      a checkpoint that is damaged or belongs to something else
├── MeasurementError     a profile that cannot be measured: wrong fields, false derivatives
├── CertificateError     a profile that balls do not follow; a certificate that does not hold (exit code 1)
└── SpectrumError        a profile whose stability cannot be computed
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UsdBenchError(Exception):
    """Bad input or a bad state outside the program. The CLI prints it as one line and exits with 2."""

    exit_code = 2


class SelectorError(UsdBenchError):
    """An unknown or malformed problem, solver, metric or parameter."""


class ConfigError(UsdBenchError):
    """A suite or a file of settings that cannot be read, or says what cannot be; the message begins with its line."""


class PluginError(UsdBenchError):
    """A plugin that cannot be loaded, or two plugins that claim one name."""


class StoreError(UsdBenchError):
    """A results folder or file that cannot be read or written."""


class ClusterError(UsdBenchError):
    """A cluster that does not answer, is lost, or cannot run these jobs."""


class CheckpointError(UsdBenchError):
    """A checkpoint that is damaged, or that belongs to another problem, solver or version."""


class MeasurementError(UsdBenchError):
    """A profile that cannot be measured. In a run it becomes a row with status ``error``."""


class CertificateError(UsdBenchError):
    """A profile that balls do not follow, or a file that is no certificate."""


class CertificateRefused(CertificateError):
    """A certificate that does not hold, or not for this profile."""

    exit_code = 1


class SpectrumError(UsdBenchError):
    """A profile whose eigenvalues cannot be computed, or a problem that does not say how its fields evolve."""


def one_line(error: BaseException) -> str:
    """``"ValueError: what it says"`` on one line, even for an error that cannot say anything."""
    try:
        text = " ".join(str(error).split())
    except Exception:
        text = "(its message cannot be printed)"
    return f"{type(error).__name__}: {text[:500]}" if text else type(error).__name__


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'burgers'?"`` or, with nothing close, the list of what there is."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""
