import json
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medssl.data.manifest import keyed_hash
from medssl.data.split import by_patient, part_name, stem_of, subsets, with_ids
from medssl.types import InputError


@given(st.lists(st.integers(0, 30), min_size=3, max_size=80).filter(lambda p: len(set(p)) > 2), st.integers(0, 5))
def test_no_patient_is_in_two_parts(patients, seed):
    names = [f"p{patient}" for patient in patients]
    parts = by_patient(names, (0.6, 0.2, 0.2), seed)
    assert len(set(zip(names, parts, strict=True))) == len(set(names))


def test_shares_are_of_patients():
    patients = [f"p{n // 3}" for n in range(300)]  # 100 patients, 3 images each
    assert Counter(by_patient(patients, (0.7, 0.1, 0.2), 0)) == {"train": 210, "val": 30, "test": 60}


def test_the_order_of_rows_and_repeats_do_not_matter():
    patients = [f"p{n}" for n in range(20)]
    parts = dict(zip(patients, by_patient(patients, (0.5, 0.5), 3), strict=True))
    shuffled = [patients[n] for n in np.random.default_rng(0).permutation(20)] * 2
    assert by_patient(shuffled, (0.5, 0.5), 3) == [parts[patient] for patient in shuffled]


def test_seeds_differ():
    patients = [f"p{n}" for n in range(40)]
    assert by_patient(patients, (0.5, 0.5), 0) != by_patient(patients, (0.5, 0.5), 1)


def test_a_wanted_part_of_few_patients_is_not_empty():
    assert Counter(by_patient(list("abcde"), (0.8, 0.1, 0.1), 0)) == {"train": 3, "val": 1, "test": 1}


def test_a_part_that_stays_empty_is_refused():
    with pytest.raises(InputError, match=r"split 0.6,0.2,0.2 leaves val and test empty with only 1 patient"):
        by_patient(["a"] * 10, (0.6, 0.2, 0.2), 0)
    assert by_patient(["a", "b"], (0.6, 0.0, 0.4), 0).count("val") == 0, "a share of 0 asks for nothing"


@pytest.mark.parametrize(
    ("text", "name"),
    [(" Test", "test"), ("TESTING", "test"), ("Validation", "val"), ("dev", "val"), ("Train ", "train"), ("", "")],
)
def test_usual_spellings_of_the_parts(text, name):
    assert part_name(text, "t.csv") == name


def test_a_slip_is_refused_and_a_name_of_its_own_is_not():
    for slip in ("tset", "trian", "valdiation"):
        with pytest.raises(InputError, match=f"t.csv: '{slip}' is not a split; did you mean"):
            part_name(slip, "t.csv")
    for own in ("fold3", "external", "test2"):
        assert part_name(own, "t.csv") == own


@pytest.mark.parametrize("fractions", [(0.7, 0.7), (1.0,), (1.2, -0.2), (0.25,) * 4])
def test_wrong_shares_are_refused(fractions):
    with pytest.raises(InputError, match="sum to 1"):
        by_patient(["a"], fractions, 0)


@pytest.mark.parametrize(
    ("source", "stem"),
    [("a/b/case_1.nii.gz", "case_1"), ("x.v2.png", "x.v2"), ("scans/patient.7", "patient.7"), ("A.NII.GZ", "A")],
)
def test_stem(source, stem):
    assert stem_of(source) == stem


class TestSubsets:
    def hashed(self, stem, key=b"5a"):
        return keyed_hash(key, "stem", stem)

    def cases(self):
        return [SimpleNamespace(id=f"mr-{n}", stem=self.hashed(f"hippo_{n:03d}")) for n in range(5)]

    def file(self, tmp_path, **lists):
        (tmp_path / "splits.json").write_text(json.dumps(lists))
        return tmp_path / "splits.json"

    def test_stems_file_names_and_ids_name_cases(self, tmp_path):
        path = self.file(tmp_path, n2=["hippo_003", "hippo_001.nii.gz"], val=["mr-4"], other=["nobody"])
        wanted = {"n2": ["mr-1", "mr-3"], "val": ["mr-4"]}
        assert subsets(self.cases(), path, ["n2", "val"], self.hashed) == wanted

    @pytest.mark.parametrize("hashed", [None, lambda stem: keyed_hash(b"another key", "stem", stem)])
    def test_stems_need_the_key_and_ids_do_not(self, tmp_path, hashed):
        path = self.file(tmp_path, stems=["hippo_003"], ids=["mr-4"])
        assert subsets(self.cases(), path, ["ids"], hashed) == {"ids": ["mr-4"]}
        with pytest.raises(InputError, match=r"prepare --splits FILE.*data\.key=FILE"):
            subsets(self.cases(), path, ["stems"], hashed)

    def test_ids_for_names(self, tmp_path):
        path = self.file(tmp_path, one=["a/b.nii.gz", "mr-2"], none=[])
        assert with_ids(path, {"mr-1": ["mr-1", "b"], "mr-2": ["mr-2", "c"]}) == {"one": ["mr-1", "mr-2"], "none": []}
        with pytest.raises(InputError, match="1 of 2 names match a case, but not a/b"):
            with_ids(path, {"mr-2": ["mr-2", "c"]})

    def test_all_cases_of_one_stem_are_taken(self, tmp_path):
        cases = [*self.cases(), SimpleNamespace(id="mr-9", stem=self.hashed("hippo_001"))]
        wanted = {"one": ["mr-1", "mr-9"]}
        assert subsets(cases, self.file(tmp_path, one=["hippo_001"]), ["one"], self.hashed) == wanted

    def test_unknown_names_are_counted_and_the_first_three_told(self, tmp_path):
        path = self.file(tmp_path, n=["mr-0", "w", "x", "y", "z"])
        with pytest.raises(InputError, match=r"1 of 5 names match a case, but not w, x, y and others"):
            subsets(self.cases(), path, ["n"])

    def test_unknown_subsets_are_told_with_those_there(self, tmp_path):
        with pytest.raises(InputError, match="no subset 'tset'; did you mean 'test'"):
            subsets(self.cases(), self.file(tmp_path, train=[], test=[]), ["tset"])

    @pytest.mark.parametrize("text", ["{", '["a"]', '{"train": "a"}'])
    def test_files_of_another_form_are_refused(self, tmp_path, text):
        (tmp_path / "s.json").write_text(text)
        with pytest.raises(InputError, match=r"s\.json"):
            subsets(self.cases(), tmp_path / "s.json", ["train"])

    def test_missing_file(self, tmp_path):
        with pytest.raises(InputError, match="no split file"):
            subsets(self.cases(), tmp_path / "s.json", ["train"])
