"""Splits of the nih_ chest X-rays by patient, and what view, age and sex alone tell about pneumonia.

run: python benchmarks/real/cxr_splits.py METADATA.csv SPLITS.json
METADATA.csv has the columns id, patient, label, view, sex, age. SPLITS.json gets `train`, `val`, `test` (nih_ images
alone, by patient) and `pretrain` (every image of every source whose patient is not in `test`).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medssl.data.split import by_patient
from medssl.metrics.statistics import grouped_interval

SHARES, SEED = (0.45, 0.15, 0.40), 0


def main(metadata: Path, out: Path) -> None:
    table = pd.read_csv(metadata)
    nih = table[table.id.str.startswith("nih_")].reset_index(drop=True)
    subset = pd.Series(by_patient(list(nih.patient), SHARES, SEED))
    names = {name: sorted(nih.id[subset == name]) for name in ("train", "val", "test")}
    tested = set(nih.patient[subset == "test"])
    names["pretrain"] = sorted(table.id[~table.patient.isin(tested)])
    out.write_text(json.dumps(names, indent=1))
    print({name: len(ids) for name, ids in names.items()}, "images;", len(tested), "test patients")
    _metadata_auc(nih[subset != "test"], nih[subset == "test"])


def _metadata_auc(train: pd.DataFrame, test: pd.DataFrame) -> None:
    model = make_pipeline(StandardScaler(), LogisticRegression())
    model.fit(_features(train, train), train.label == "pneumonia")
    scores = model.predict_proba(_features(test, train))[:, 1]
    truth = (test.label == "pneumonia").to_numpy()
    found = grouped_interval(
        lambda rows: roc_auc_score(truth[rows], scores[rows]) if len(set(truth[rows])) == 2 else float("nan"),
        list(test.patient),
        np.random.default_rng(0),
    )
    print(f"view, age and sex alone: test AUC {found.estimate:.3f} ({found.low:.3f} to {found.high:.3f}, patients)")


def _features(rows: pd.DataFrame, train: pd.DataFrame) -> np.ndarray:
    age = rows.age.fillna(train.age.median())
    return np.column_stack([rows["view"] == "AP", rows.sex == "M", age]).astype(float)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
