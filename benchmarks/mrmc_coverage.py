"""How often the 95% interval of `medssl.metrics.statistics.mrmc` holds the true difference, by simulation.

    OMP_NUM_THREADS=1 python benchmarks/mrmc_coverage.py [TRIALS]

A difference is 0 + seed + patient + rest, all normal. The standard deviations are those measured between fine-tunings
of hippocampus volumes (.0074, .02, .03), the same without run noise, and with the noise that another draw of few labels
brings. Beside it: intervals that take only the patients or only the seeds as drawn at random.
"""

from __future__ import annotations

import sys
from itertools import product

import numpy as np
from scipy import stats

from medssl.metrics.statistics import mrmc

SPREADS = ((0.0074, 0.02, 0.03), (0.0, 0.02, 0.03), (0.02, 0.02, 0.03))  # of seeds, patients, rest
SEEDS, PATIENTS = (3, 5, 10), (20, 40)


def covered(spreads: tuple[float, float, float], seeds: int, patients: int, rng: np.random.Generator) -> list[bool]:
    of_seeds, of_patients, rest = spreads
    values = rng.normal(0, of_seeds, (seeds, 1)) + rng.normal(0, of_patients, (1, patients))
    values = values + rng.normal(0, rest, (seeds, patients))
    found = mrmc(values)
    alone = [stats.ttest_1samp(values.mean(axis), 0).confidence_interval() for axis in (0, 1)]
    return [low <= 0 <= high for low, high in ((found.low, found.high), *alone)]


def main(trials: int) -> None:
    print(
        "| sd of seeds / patients / rest | seeds, patients | MRMC | patients only | seeds only |\n|---|---|---|---|---|"
    )
    rng = np.random.default_rng(0)
    every = []
    for spreads, seeds, patients in product(SPREADS, SEEDS, PATIENTS):
        shares = np.mean([covered(spreads, seeds, patients, rng) for _ in range(trials)], axis=0)
        every.append(shares[0])
        setting = " / ".join(f"{spread:g}" for spread in spreads)
        print(f"| {setting} | {seeds}, {patients} | " + " | ".join(f"{share:.3f}" for share in shares) + " |")
    print(f"\nMRMC: {min(every):.3f} to {max(every):.3f} over {len(every)} settings of {trials} trials")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
