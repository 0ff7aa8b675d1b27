"""DICOM SEG and RTSTRUCT as labels: a known voxel comes out where it was drawn."""

import numpy as np
import pytest
from dicom_writer import _item, series, write

from medssl.data import manifest
from medssl.data.cache import Cache
from medssl.data.convert import convert
from medssl.data.prepare import prepare
from medssl.data.read import nifti, reader
from medssl.data.scan.scan import scan
from medssl.types import InputError

SHAPE = (5, 6, 7)
SPACING = (2.5, 0.5, 0.8)
OBLIQUE = (0.8, 0.6, 0.0, -0.36, 0.48, 0.8)  # row and column, at a right angle
FLIPPED = (-1, 0, 0, 0, -1, 0)
SEG, RTSTRUCT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3"


def positions(turn):
    normal = np.cross(turn[:3], turn[3:])
    return [np.round(np.array([-10.0, -20, 30]) + normal * SPACING[0] * n, 6).tolist() for n in range(SHAPE[0])]


def image(folder, turn, uid="1.2.3.4"):
    """A series whose voxel values are their own places."""
    cube = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE)
    where = {"ImagePositionPatient": positions(turn)}
    series(folder, cube, spacing=SPACING, ImageOrientationPatient=turn, SeriesInstanceUID=uid, each=where)
    return cube


def point(turn, z, y, x):
    """LPS mm of an index (z,y,x), which may have fractions."""
    row, column = np.array(turn[:3]), np.array(turn[3:])
    normal = np.cross(row, column)
    return np.array([-10, -20, 30]) + z * SPACING[0] * normal + y * SPACING[1] * column + x * SPACING[2] * row


def seg(path, turn, voxels, uid="1.2.3.4", kind="BINARY", offset=0.0, **tags):
    """One frame for each segment and slice; `voxels` is segment label -> list of (z,y,x)."""
    frames, items, places = [], [], sorted({(n, v[0]) for n, vs in enumerate(voxels.values(), 1) for v in vs})
    for number, z in places:
        frame = np.zeros(SHAPE[1:], np.uint8)
        for _, y, x in (v for v in list(voxels.values())[number - 1] if v[0] == z):
            frame[y, x] = 255 if kind == "FRACTIONAL" else 1
        frames.append(frame)
        at = (point(turn, z, 0, offset)).round(6).tolist()
        segment = _item(ReferencedSegmentNumber=number)
        items.append(
            _item(PlanePositionSequence=[_item(ImagePositionPatient=at)], SegmentIdentificationSequence=[segment])
        )
    pixels = np.stack(frames)
    own = {
        "SharedFunctionalGroupsSequence": [
            _item(
                PixelMeasuresSequence=[_item(PixelSpacing=list(SPACING[1:]))],
                PlaneOrientationSequence=[_item(ImageOrientationPatient=list(turn))],
            )
        ],
        "PerFrameFunctionalGroupsSequence": items,
        "NumberOfFrames": len(frames),
        "SegmentSequence": [_item(SegmentNumber=n, SegmentLabel=name) for n, name in enumerate(voxels, 1)],
        "ReferencedSeriesSequence": [_item(SeriesInstanceUID=uid)],
        "SegmentationType": kind,
        "MaximumFractionalValue": 255,
    }
    if kind == "BINARY":
        from pydicom.pixels.utils import pack_bits

        own |= {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "PixelData": pack_bits(pixels.ravel())}
    return write(path, pixels, Modality="SEG", SOPClassUID=SEG, SeriesInstanceUID="9.9", **own, **tags)


def rtstruct(path, structures, uid="1.2.3.4"):
    """`structures` is name -> list of contours, each a list of LPS points."""
    rois = [_item(ROINumber=n, ROIName=name) for n, name in enumerate(structures, 1)]
    drawn = [
        _item(
            ReferencedROINumber=n,
            ContourSequence=[
                _item(ContourGeometricType="CLOSED_PLANAR", ContourData=np.round(c, 4).ravel().tolist()) for c in all_of
            ],
        )
        for n, all_of in enumerate(structures.values(), 1)
    ]
    study = _item(RTReferencedSeriesSequence=[_item(SeriesInstanceUID=uid)])
    frame = _item(FrameOfReferenceUID="1.5", RTReferencedStudySequence=[study])
    return write(
        path,
        None,
        Modality="RTSTRUCT",
        SOPClassUID=RTSTRUCT,
        SeriesInstanceUID="9.8",
        StructureSetROISequence=rois,
        ROIContourSequence=drawn,
        ReferencedFrameOfReferenceSequence=[frame],
    )


def square(turn, z, low, high):
    """A contour around voxels low to high (y,x; both included) of slice z, half a voxel outside of their centres."""
    (a, b), (c, d) = np.subtract(low, 0.5), np.add(high, 0.5)
    return [point(turn, z, y, x) for y, x in ((a, b), (a, d), (c, d), (c, b))]


def labelled(tmp_path, **options):
    """The values of the image voxels (their own places) under each label value, and the scan."""
    result = scan([tmp_path / "in"], tmp_path / "out/m.csv", **options)
    row = result.rows[0]
    volume = reader.load(result.manifest, row)
    label = reader.load_label(manifest.read(tmp_path / "out/m.csv"), row, volume)
    assert label is not None
    found = {int(v): sorted(volume.array[label.array == v].tolist()) for v in np.unique(label.array) if v}
    return found, result


def places(cube, voxels):
    return sorted(int(cube[v]) for v in voxels)


@pytest.mark.parametrize("turn", [OBLIQUE, FLIPPED])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_the_corner_voxel_of_a_seg_is_that_of_its_series(tmp_path, turn, kind):
    cube = image(tmp_path / "in/s", turn)
    seg(tmp_path / "in/m.dcm", turn, {"tumour": [(0, 0, 0), (4, 5, 6)], "edema": [(1, 0, 6)]}, kind=kind)
    found, result = labelled(tmp_path)
    assert found == {1: places(cube, [(1, 0, 6)]), 2: places(cube, [(0, 0, 0), (4, 5, 6)])}
    assert any("1 edema, 2 tumour" in notice for notice in result.notices)
    assert not result.rejected


@pytest.mark.parametrize("turn", [OBLIQUE, FLIPPED])
def test_the_corner_voxel_of_a_contour_is_that_of_its_series(tmp_path, turn):
    cube = image(tmp_path / "in/s", turn)
    contours = [square(turn, 4, (5, 6), (5, 6)), square(turn, 0, (0, 0), (0, 1))]
    rtstruct(tmp_path / "in/m.dcm", {"GTV": contours})
    found, _ = labelled(tmp_path)
    assert found == {1: places(cube, [(4, 5, 6), (0, 0, 0), (0, 0, 1)])}


def test_a_contour_in_another_is_a_hole(tmp_path):
    cube = image(tmp_path / "in/s", OBLIQUE)
    contours = [square(OBLIQUE, 2, (1, 1), (4, 5)), square(OBLIQUE, 2, (2, 2), (3, 4))]
    rtstruct(tmp_path / "in/m.dcm", {"ring": contours})
    ring = [(2, y, x) for y in range(1, 5) for x in range(1, 6) if not (2 <= y <= 3 and 2 <= x <= 4)]
    assert labelled(tmp_path)[0] == {1: places(cube, ring)}


def test_structures_are_chosen_and_numbered_by_name(tmp_path):
    cube = image(tmp_path / "in/s", FLIPPED)
    seg(tmp_path / "in/m.dcm", FLIPPED, {"GTV_1": [(0, 1, 1)], "Heart": [(2, 2, 2)], "Body": [(3, 0, 0)]})
    assert labelled(tmp_path, structures={"gtv*": 1, "heart": 5})[0] == {
        1: places(cube, [(0, 1, 1)]),
        5: places(cube, [(2, 2, 2)]),
    }
    with pytest.raises(InputError, match=r"no structure is called Lung \(they are Body, GTV_1, Heart\)"):
        labelled(tmp_path, structures={"Lung": 1})


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        ({"uid": "7.7"}, "mask of no scanned series"),
        ({"offset": 0.5}, "mask on another grid than its image"),
        ({"offset": 3.0}, "mask outside its image"),
    ],
)
def test_a_seg_that_fits_no_image_is_refused(tmp_path, made, reason):
    image(tmp_path / "in/s", OBLIQUE)
    seg(tmp_path / "in/m.dcm", OBLIQUE, {"a": [(4, 5, 6)]}, **made)
    result = scan([tmp_path / "in"], tmp_path / "out/m.csv")
    assert [left.reason for left in result.rejected] == [reason]
    assert result.rows[0].label == ""


@pytest.mark.parametrize(
    ("contour", "reason"),
    [
        (
            [point(OBLIQUE, z, y, x) for z, y, x in ((0, 0, 0), (2, 4, 0), (1, 0, 4))],
            "contour is not in the plane of a slice",
        ),
        (square(OBLIQUE, 9, (1, 1), (2, 2)), "mask outside its image"),
    ],
)
def test_a_contour_that_fits_no_slice_is_refused(tmp_path, contour, reason):
    image(tmp_path / "in/s", OBLIQUE)
    rtstruct(tmp_path / "in/m.dcm", {"a": [contour]})
    result = scan([tmp_path / "in"], tmp_path / "out/m.csv")
    assert [left.reason for left in result.rejected] == [reason]


def test_of_two_masks_of_one_series_none_is_taken(tmp_path):
    image(tmp_path / "in/s", OBLIQUE)
    for name in ("a.dcm", "b.dcm"):
        seg(tmp_path / "in" / name, OBLIQUE, {"a": [(1, 1, 1)]}, SOPInstanceUID=f"1.2.{len(name)}{ord(name[0])}")
    result = scan([tmp_path / "in"], tmp_path / "out/m.csv")
    assert [left.reason for left in result.rejected] == ["one of several masks of a series"] * 2


def test_prepare_and_convert_read_the_mask(tmp_path):
    cube = image(tmp_path / "in/s", FLIPPED)
    seg(tmp_path / "in/m.dcm", FLIPPED, {"a": [(0, 0, 0), (4, 5, 6)]})
    _, result = labelled(tmp_path)
    cache = prepare(tmp_path / "out/m.csv", tmp_path / "cache", preset="mr", modality="CT")
    assert cache.cases[cache.ids[0]].has_label
    array, label = cache.image(cache.ids[0])[:], cache.label(cache.ids[0])[:]
    assert sorted(array[label == 1].tolist()) == places(cube, [(0, 0, 0), (4, 5, 6)])
    (written,) = convert(tmp_path / "out/m.csv", tmp_path / "nifti")
    saved = nifti.read(written.with_name(f"{result.rows[0].id}_label.nii.gz"), label=True)
    assert sorted(nifti.read(written).array[saved.array == 1].tolist()) == places(cube, [(0, 0, 0), (4, 5, 6)])
    assert isinstance(cache, Cache)
