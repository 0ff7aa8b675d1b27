"""Names and numbers of patients, planted in every place that a file has for them, are in nothing that is written.

What stays with the images (the manifest and the files beside it) holds paths; everything else is looked through, and so
is what verbs say when they fail. `predict` names its results after its inputs, and is left out.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
from pathlib import Path

import nibabel
import pytest
from pydicom import dcmread

from medssl.data.phantom.files import write_ct_dataset

TEXTS = (
    "PatientName PatientID OtherPatientIDs PatientComments PatientAddress PatientTelephoneNumbers PatientBirthName "
    "PatientMotherBirthName MedicalRecordLocator MilitaryRank RegionOfResidence CountryOfResidence Occupation "
    "AdditionalPatientHistory PatientReligiousPreference AccessionNumber InstitutionName InstitutionAddress "
    "InstitutionalDepartmentName ReferringPhysicianName ReferringPhysicianAddress PerformingPhysicianName "
    "PhysiciansOfRecord NameOfPhysiciansReadingStudy RequestingPhysician OperatorsName StationName StudyID "
    "StudyDescription SeriesDescription ProtocolName PerformedProcedureStepDescription RequestedProcedureDescription "
    "ImageComments StudyComments DeviceSerialNumber RequestAttributesSequence DerivationDescription Manufacturer "
    "ManufacturerModelName SoftwareVersions ScheduledProcedureStepID PerformedProcedureStepID "
    "CurrentPatientLocation PatientInstitutionResidence ResponsiblePerson ResponsibleOrganization AdmissionID "
    "IssuerOfPatientID"
).split()
DATES = {
    "PatientBirthDate": "19370203",
    "StudyDate": "19870405",
    "SeriesDate": "19870406",
    "AcquisitionDate": "19870407",
}
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")
BEGIN = ["crop.start=0", "crop.every=1", "restore.start=0", "adversary.start=0"]
SIZE = "[16,16,16]"
PRETRAIN = ["phantom_tiny", "train.steps=3", "train.batch=2", f"views.size={SIZE}", *BEGIN, "device=cpu"]
FINETUNE = ["phantom_tiny", "train.steps=1", "train.batch=2", f"augment.size={SIZE}", "device=cpu"]
pytestmark = pytest.mark.slow
FOLDERS = "kowalczyk_anna obrien_seamus yilmaz_ayse nguyen_van lindqvist_erik haddad_leila".split()


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Images of six patients in folders of their names, and all that was planted, in lower case."""
    root = tmp_path_factory.mktemp("planted")
    write_ct_dataset(root / "made", cases=6, size=(16, 24, 24), seed=0)
    found = [*FOLDERS, *DATES.values()]
    for case, name in zip(sorted((root / "made/images").glob("case_*")), FOLDERS, strict=True):
        place = root / "in" / name
        place.mkdir(parents=True)
        if case.is_dir():
            for number, file in enumerate(sorted(case.iterdir())):
                found += _plant(file, place / f"{name}_{number}.dcm", name, number)
        else:
            found += _plant_nifti(case, place / f"{name}_scan.nii.gz", name)
    labels = {path.name.split(".")[0]: path for path in (root / "made/labels").iterdir()}
    (root / "labels").mkdir()
    for (_, path), name in zip(sorted(labels.items()), FOLDERS, strict=True):
        image = root / "in" / name / f"{name}_scan.nii.gz"
        (root / "labels" / (image.name if image.is_file() else f"{name}.nii.gz")).write_bytes(path.read_bytes())
    (root / "in" / FOLDERS[0] / "sidecar.json").write_text(json.dumps({"PatientName": "SIDECAR^NAME"}))
    return root, {text.lower() for text in found} | {"sidecar^name"}


def _plant(source: Path, target: Path, name: str, number: int) -> list[str]:
    data = dcmread(source)
    values = {tag: f"{name[:5]}-{tag[:6]}{place}".upper() for place, tag in enumerate(TEXTS) if "Sequence" not in tag}
    for tag, value in values.items():
        setattr(data, tag, value)
    for tag, value in DATES.items():
        setattr(data, tag, value)
    uids = {
        tag: f"2.25.{1 + FOLDERS.index(name)}{place}77{number if tag == 'SOPInstanceUID' else ''}4321"
        for place, tag in enumerate(UIDS)
    }
    for tag, value in uids.items():
        setattr(data, tag, value)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    block = data.private_block(0x0009, "MADE UP", create=True)
    block.add_new(1, "LO", f"{name}-PRIVATE")
    data.save_as(target)
    return [*values.values(), *uids.values(), f"{name}-PRIVATE"]


def _plant_nifti(source: Path, target: Path, name: str) -> list[str]:
    image = nibabel.load(source)
    texts = {
        "descrip": f"{name}-descrip",
        "aux_file": f"{name}-aux"[:23],
        "intent_name": f"{name[:5]}-in",
        "db_name": f"{name[:5]}-db",
    }
    for field, text in texts.items():
        image.header[field] = text.encode()
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", f"{name}-comment".encode()))
    nibabel.save(nibabel.Nifti1Image(image.dataobj, image.affine, image.header), target)
    return [*texts.values(), f"{name}-comment"]


@pytest.fixture(scope="module")
def written(planted, medssl):
    """What the verbs wrote outside the manifest's folder, and what they said."""
    root, _ = planted
    beside, out = root / "beside", root / "out"
    manifest, cache = beside / "m.csv", out / "cache"
    medssl("scan", root / "in", "--labels", root / "labels", "--split", "0.5,0.2,0.3", "--out", manifest)
    with manifest.open(newline="") as stream:
        stems = [Path(row["source"]).name.split(".")[0] for row in csv.DictReader(stream)]
    (beside / "s.json").write_text(json.dumps({"few": stems[:3]}))
    data = [f"data.cache={cache}", "data.phantom=null"]
    commands = [
        ["prepare", manifest, "--out", cache, "--preset", "ct", "--splits", beside / "s.json"],
        ["convert", manifest, "--out", out / "nifti"],
        ["preview", *PRETRAIN, *data, "--out", out / "views.png"],
        ["pretrain", *PRETRAIN, *data, f"out={out / 'pretrained'}"],
        ["finetune", *FINETUNE, *data, f"init={out / 'pretrained'}", f"out={out / 'tuned'}"],
        ["report", out / "pretrained", out / "tuned", "--out", out / "report.html"],
        ["export", out / "pretrained", "--to", "safetensors", "--out", out / "exported"],
    ]
    said = [medssl(*words) for words in commands]
    for file in (root / "in" / FOLDERS[1]).iterdir():
        file.write_bytes(file.read_bytes()[:-3000])
    failing = [
        ["prepare", manifest, "--out", out / "again", "--preset", "ct"],
        ["convert", manifest, "--out", out / "nifti2"],
        ["prepare", manifest, "--out", out / "other", "--preset", "xray"],
        ["finetune", *FINETUNE, *data, f"data.splits={beside / 's.json'}", "data.train=none", f"out={out / 'no'}"],
    ]
    return out, said, [medssl(*words) for words in failing]


def test_every_verb_did_its_work(written):
    _, said, _ = written
    assert [one.code for one in said] == [0] * len(said), [one.err for one in said]


def test_nothing_planted_is_in_anything_written_or_said(planted, written):
    root, texts = planted
    out, said, failed = written
    assert len(texts) > 73
    contents = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    contents |= {
        path.with_name(path.name + " inside"): gzip.decompress(content)
        for path, content in contents.items()
        if path.suffix == ".gz"
    }
    contents |= {Path(f"said {number}"): f"{one.out}{one.err}".encode() for number, one in enumerate([*said, *failed])}
    found = {
        (path.name, text)
        for (path, content), text in itertools.product(contents.items(), sorted(texts))
        if text.encode() in content.lower() or text in path.as_posix().removeprefix(root.as_posix()).lower()
    }
    assert found == set()
