"""Coverage of the 95 % intervals of slopes: how often they hold the truth, for noise, random walks and both.

    python benchmarks/coverage.py --runs 400
    python benchmarks/coverage.py --bound

For each process and length: per cent of intervals that hold the truth; in parentheses the median half-width over 1.96
standard deviations of the estimates, 1 for who knows the process; and after a slash per cent of series for which there
is no interval. Walks are given by the standard deviation of their end over that of the noise.

The bound says for how many series of noise alone any interval must hold the truth that does so for 93 or 95 % of those
with any walk, if it is never shorter than a part of the interval for noise alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
from scipy import special, stats
from scipy.signal import lfilter

from ipi_darkforces.stats.slopes import slope

Process = Callable[[int, np.random.Generator], np.ndarray]


def white(n: int, rng: np.random.Generator) -> np.ndarray:
    """Uncorrelated values."""
    return rng.normal(size=n)


def forgetting(tau: float) -> Process:
    """AR(1) of unit variance, whose correlation decays as exp(-t/tau)."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        memory, past = np.exp(-1.0 / tau), int(20 * tau)
        noise = rng.normal(size=n + past) * np.sqrt(1.0 - memory**2)
        return lfilter([1.0], [1.0, -memory], noise)[past:]

    return draw


def ringing(tau: float, period: float) -> Process:
    """A damped oscillator in noise, of unit variance."""
    radius, angle = np.exp(-1.0 / tau), 2.0 * np.pi / period
    first, second = 2.0 * radius * np.cos(angle), -(radius**2)
    deviation = np.sqrt((1.0 - second) / ((1.0 + second) * ((1.0 - second) ** 2 - first**2)))

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        past = int(20 * tau)
        return lfilter([1.0], [1.0, -first, -second], rng.normal(size=n + past))[past:] / deviation

    return draw


def walking(noise: Process, end: float) -> Process:
    """The same, and a random walk that ends at this standard deviation."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return noise(n, rng) + end / np.sqrt(n) * np.cumsum(rng.normal(size=n))

    return draw


NOISES: dict[str, Process] = {
    "white": white,
    "AR(1), 10 steps": forgetting(10.0),
    "AR(1), 50 steps": forgetting(50.0),
    "oscillator, period 12, decay 30": ringing(30.0, 12.0),
    "oscillator, period 60, decay 60": ringing(60.0, 60.0),
}
PROCESSES = {
    **NOISES,
    **{f"white, walk {end:g}": walking(white, end) for end in (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)},
    **{f"AR(1), walk {end:g}": walking(NOISES["AR(1), 10 steps"], end) for end in (0.1, 0.3, 1.0, 3.0, 10.0)},
    **{
        f"oscillator, walk {end:g}": walking(NOISES["oscillator, period 12, decay 30"], end)
        for end in (0.1, 0.3, 1.0, 3.0, 10.0)
    },
}
LENGTHS = (200, 2000, 20_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=400, help="series of each kind (default: %(default)s)")
    parser.add_argument("--bound", action="store_true", help="what is possible")
    arguments = parser.parse_args()
    runs = arguments.runs
    if arguments.bound:
        for level in (0.93, 0.95):
            for shortest in (0.8, 1.0):
                print(f"{level:.0%}, at least {shortest:g} times: {bound(level, shortest):.1%}", flush=True)
        return
    print(f"| process | {' | '.join(f'{n} values' for n in LENGTHS)} |\n|{'---|' * (len(LENGTHS) + 1)}")
    for name, process in PROCESSES.items():
        print(f"| {name} | {' | '.join(coverage(process, n, runs) for n in LENGTHS)} |", flush=True)


def coverage(process: Process, n: int, runs: int) -> str:
    """A cell of the table."""
    rng = np.random.default_rng(1)
    estimates = [slope(np.arange(float(n)), process(n, rng)) for _ in range(runs)]
    known = [each for each in estimates if each.error is not None]
    margins = np.array([each.margin() for each in known])
    values = np.array([each.value for each in known])
    held = 100.0 * np.mean(np.abs(values) < margins)
    width = np.median(margins) / (1.96 * values.std())
    missing = 100.0 * (1.0 - len(known) / runs)
    return f"{held:.1f} ({width:.1f})" + (f" / {missing:.0f}" if missing else "")


def bound(level: float, shortest: float, series: int = 2000, steps: int = 400) -> float:
    """The least part of series of noise alone for which an interval holds the truth.

    Of white noise and a walk, the cosine transforms from 2 to 30 say how long the interval is to be; the first one,
    which has nearly all information on the slope, whether it holds it. The noise is known. For any weights of the
    walks, the best length for each series gives a bound (Lagrangian duality); weights with a high one are looked for.

    :param level: coverage that is demanded with any walk
    :param shortest: interval, in that for noise alone
    :param series: drawn of each walk
    :param steps: of the search
    """
    rng = np.random.default_rng(1)
    walks = np.array([0.0, *np.logspace(-1.0, 3.0, 13)])  # variance of the first transform over that of noise
    variances = 1.0 + walks[:, None] / np.arange(2, 31) ** 2
    squares = np.concatenate([rng.normal(size=(series, 29)) ** 2 * each for each in variances])
    likelihoods = -0.5 * (squares @ (1.0 / variances).T + np.log(variances).sum(axis=1))
    densities = np.exp(likelihoods - special.logsumexp(likelihoods, axis=1, keepdims=True)) / series
    lengths = np.geomspace(1.96 * shortest, 200.0, 60)
    held = 2.0 * stats.norm.cdf(lengths[:, None] / np.sqrt(1.0 + walks)) - 1.0
    weights, best = np.full(len(walks), 0.1), 0.0
    weights[0] = 0.0
    for step in range(steps):
        costs = densities[:, :1] * held[:, 0] - (densities * weights) @ held.T
        best = max(best, float(costs.min(axis=1).sum() + level * weights.sum()))
        covered = (densities * held[costs.argmin(axis=1)]).sum(axis=0)
        weights = np.maximum(0.0, weights + 0.5 / np.sqrt(1.0 + step) * (level - covered))
        weights[0] = 0.0
    return best


if __name__ == "__main__":
    main()
