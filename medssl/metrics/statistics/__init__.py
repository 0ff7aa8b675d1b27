"""Uncertainty of a mean, a difference or a rank when both runs (seeds) and patients are random samples.

Shape letters: S seeds (the readers of a reader study), P patients, N cases, I inits, T tasks, B resamples, L amounts of
labels. Networks and files are unknown here: arrays in, numbers out.
"""

from medssl.metrics.statistics.bootstrap import (
    Interval,
    expanded_interval,
    grouped_interval,
    patient_weights,
)
from medssl.metrics.statistics.label_efficiency import LabelsSaved, labels_reaching, labels_saved, labels_saved_interval
from medssl.metrics.statistics.means import known_mean
from medssl.metrics.statistics.mrmc import MRMC, jackknife, mrmc, patient_means, pseudo_values
from medssl.metrics.statistics.ranking import Ranking, mean_ranks, ranking
from medssl.metrics.statistics.signflip import SignFlip, holm, share_won, sign_flip

__all__ = [
    "MRMC",
    "Interval",
    "LabelsSaved",
    "Ranking",
    "SignFlip",
    "expanded_interval",
    "grouped_interval",
    "holm",
    "jackknife",
    "known_mean",
    "labels_reaching",
    "labels_saved",
    "labels_saved_interval",
    "mean_ranks",
    "mrmc",
    "patient_means",
    "patient_weights",
    "pseudo_values",
    "ranking",
    "share_won",
    "sign_flip",
]
