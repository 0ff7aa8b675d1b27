"""How often the 95% interval of `medssl.metrics.statistics.mrmc` holds the true difference, by simulation.

    OMP_NUM_THREADS=1 python benchmarks/mrmc_coverage.py [TRIALS]

A difference is 0 + seed + patient + rest, all normal. The standard deviations are those measured between fine-tunings
of hippocampus volumes (.0074, .02, .03), the same without run noise, and with the noise that another draw of few labels
brings. Beside it: the percentile bootstrap of seeds and patients (1,000 resamples), and t intervals that take only the
patients or only the seeds as drawn at random.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
from scipy import stats

from medssl.metrics.statistics import mrmc, patient_weights

SPREADS = ((0.0074, 0.02, 0.03), (0.0, 0.02, 0.03), (0.02, 0.02, 0.03))  # of seeds, patients, rest
SEEDS, PATIENTS = (3, 5, 10), (20, 40)


def covered(spreads: tuple[float, float, float], seeds: int, patients: int, rng: np.random.Generator) -> list[bool]:
    shapes = ((seeds, 1), (1, patients), (seeds, patients))
    values = sum(rng.normal(0, spread, shape) for spread, shape in zip(spreads, shapes, strict=True))
    found = mrmc(values)
    alone = [stats.ttest_1samp(values.mean(axis), 0).confidence_interval() for axis in (0, 1)]
    of_seeds, of_patients = patient_weights(seeds, 1000, rng), patient_weights(patients, 1000, rng)
    drawn = ((of_seeds @ values) * of_patients).sum(1)  # the sums of resampled seeds and patients
    intervals = [(found.low, found.high), tuple(np.quantile(drawn, [0.025, 0.975])), *alone]
    return [bool(low <= 0 <= high) for low, high in intervals]


METHODS = ("MRMC", "two-level bootstrap", "patients only", "seeds only")


def main(trials: int) -> None:
    print(
        "| sd of seeds / patients / rest | seeds, patients | " + " | ".join(METHODS) + " |\n|---|---|---|---|---|---|"
    )
    rng = np.random.default_rng(0)
    every = []
    for spreads, seeds, patients in product(SPREADS, SEEDS, PATIENTS):
        every.append(np.mean([covered(spreads, seeds, patients, rng) for _ in range(trials)], axis=0))
        setting = " / ".join(f"{spread:g}" for spread in spreads)
        print(
            f"| {setting} | {seeds}, {patients} | " + " | ".join(f"{share:.3f}" for share in every[-1]) + " |",
            flush=True,
        )
    print(f"\nOver {len(every)} settings of {trials} trials:", end=" ")
    ranges = zip(METHODS, np.min(every, axis=0), np.max(every, axis=0), strict=True)
    print("; ".join(f"{name} {low:.3f} to {high:.3f}" for name, low, high in ranges))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
