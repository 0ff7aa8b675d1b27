"""The JSON file beside a converted image: how it was taken, and nothing that names a patient."""

import json

import numpy as np
from dicom_writer import enhanced, series
from pydicom.datadict import DicomDictionary, dictionary_VR, keyword_for_tag

from medssl.data import sidecar
from medssl.data.convert import convert
from medssl.data.scan.scan import scan

CUBE = np.random.default_rng(0).integers(0, 999, (4, 5, 6)).astype(np.uint16)
TEXT = {"LO", "SH", "LT", "ST", "UT", "PN", "CS", "AE", "UC"}
KEPT = {"Modality", "ImageType", "PhotometricInterpretation", "SpecificCharacterSet", "TransferSyntaxUID"}
TAKEN = {"EchoTime": 90, "RepetitionTime": "5000", "FlipAngle": 120, "MagneticFieldStrength": 3, "SliceThickness": 2.5}


def test_facts_are_numbers_and_known_words(tmp_path):
    words = {"Manufacturer": "SIEMENS Healthineers", "ScanningSequence": ["SE", "IR"], "PatientPosition": "HFS"}
    series(tmp_path / "in/s", CUBE, Modality="MR", **TAKEN, **words)
    found = scan([tmp_path / "in"], tmp_path / "m.csv")
    (written,) = convert(found.manifest.path, tmp_path / "out")
    assert json.loads(written.with_name(f"{found.rows[0].id}.json").read_text()) == {
        "Modality": "MR",
        "Manufacturer": "Siemens",
        "EchoTime": 0.09,
        "RepetitionTime": 5.0,
        "MagneticFieldStrength": 3.0,
        "FlipAngle": 120.0,
        "SliceThickness": 2.5,
        "ScanningSequence": ["SE", "IR"],
        "PatientPosition": "HFS",
    }


def test_no_text_of_a_header_is_written(tmp_path):
    """A name planted in every text element that DICOM knows is in none of the files."""
    planted = {
        keyword_for_tag(tag): "DOE JANE 1970"
        for tag in DicomDictionary
        if dictionary_VR(tag) in TEXT and tag >> 16 in (0x8, 0x10, 0x18, 0x20, 0x40)
    }
    planted = {name: text for name, text in planted.items() if name and name not in KEPT}
    assert {"PatientName", "Manufacturer", "ProtocolName", "ScanningSequence", "PatientPosition"} <= set(planted)
    series(tmp_path / "in/s", CUBE, Modality="MR", **TAKEN, **planted)
    found = scan([tmp_path / "in"], tmp_path / "m.csv")
    convert(found.manifest.path, tmp_path / "out")
    told = "".join(file.read_text() for file in (tmp_path / "out").glob("*.json"))
    assert "EchoTime" in told
    assert not any(word in told.upper() for word in ("DOE", "JANE", "1970", "PATIENT-7"))


def test_multi_frame_files_say_it_in_functional_groups(tmp_path):
    enhanced(tmp_path / "a.dcm", CUBE, [0, 1, 2, 3], [80] * 4, [1] * 4)
    assert sidecar.facts(tmp_path / "a.dcm")["Modality"] == "MR"
