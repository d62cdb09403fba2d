"""Every hard DICOM case: read to the known voxels, or refused by name."""

import logging

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MRImageStorage,
    RLELossless,
)

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_volume
from covidctnet.io.dicom import values
from covidctnet.volume import SYNTHETIC_NOTE
from tests.catalogue import steps
from tests.io import series


def refused(folder, code, **options):
    with pytest.raises(StudyError, match=code) as caught:
        read_volume(folder, **options)
    assert caught.value.study
    return str(caught.value)


def assert_is_the_scan(volume, scan=None, affine=None):
    np.testing.assert_array_equal(volume.array, series.a_scan() if scan is None else scan)
    np.testing.assert_allclose(
        volume.affine, series.an_affine() if affine is None else affine, atol=1e-4
    )


def setting(**values):
    """A change that sets the same attributes on every slice, or None to delete them."""

    def change(ds, index):
        for name, value in values.items():
            if value is None:
                delattr(ds, name)
            else:
                setattr(ds, name, value)

    return change


def on_slice(which, **values):
    def change(ds, index):
        if index == which:
            setting(**values)(ds, index)

    return change


def stored_as(dtype, *, slope=1, intercept=-1024, bits=None):
    """A change that stores the same HU in another type."""

    def change(ds, index):
        hu = np.frombuffer(ds.PixelData, "<u2").astype(np.int64) - 1024
        raw = (hu - intercept) // slope
        ds.RescaleSlope, ds.RescaleIntercept = slope, intercept
        ds.BitsAllocated = np.dtype(dtype).itemsize * 8
        ds.BitsStored = bits or ds.BitsAllocated
        ds.HighBit = ds.BitsStored - 1
        ds.PixelRepresentation = int(np.dtype(dtype).kind == "i")
        ds.PixelData = raw.astype(dtype).tobytes()

    return change


def test_a_series_becomes_its_scan_in_int16(tmp_path):
    series.write(tmp_path)
    volume = read_volume(tmp_path)
    assert_is_the_scan(volume)
    assert volume.array.dtype == np.int16
    assert volume.source.reader == "dicom"
    assert volume.source.flags == ("few_slices",)
    assert volume.source.study == find_studies(tmp_path)[0].id
    assert len(volume.source.digest) == 64


def test_neither_file_names_nor_instance_numbers_nor_thickness_matter(tmp_path):
    series.write(tmp_path / "a", name="{:03d}.dcm")
    series.write(
        tmp_path / "b",
        name="x/y{}.ima",
        change=lambda ds, i: setting(InstanceNumber=i * 5 % 7, SliceThickness=0.1)(ds, i),
    )
    one, other = read_volume(tmp_path / "a"), read_volume(tmp_path / "b")
    assert_is_the_scan(one)
    assert one.source.digest == other.source.digest
    assert one.source.study == other.source.study


@pytest.mark.parametrize(
    "syntax",
    [
        ImplicitVRLittleEndian,
        ExplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
    ],
)
def test_native_syntaxes_are_bit_exact(tmp_path, syntax):
    def swap(ds, index):
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            ds["PixelData"].VR = "OW"

    series.write(tmp_path, syntax=syntax, change=swap)
    assert_is_the_scan(read_volume(tmp_path))


def compressed(syntax, **options):
    def change(ds, index):
        ds.file_meta = None
        array = np.frombuffer(ds.PixelData, "<i2" if ds.PixelRepresentation else "<u2")
        array = array.reshape(ds.Rows, ds.Columns)
        if syntax in (JPEGLSLossless, JPEGLSNearLossless):
            import jpeg_ls

            stream = bytes(jpeg_ls.encode_array(array.view("<u2"), **options))
        elif syntax == JPEG2000Lossless:
            from openjpeg.utils import encode_array

            stream = encode_array(array, photometric_interpretation=2)
        else:
            from pydicom.pixels.encoders.base import EncodeRunner
            from pydicom.pixels.encoders.native import _encode_frame

            runner = EncodeRunner(RLELossless)
            runner.set_options(
                rows=ds.Rows,
                columns=ds.Columns,
                samples_per_pixel=1,
                bits_allocated=16,
                byteorder="<",
            )
            stream = bytes(_encode_frame(array.tobytes(), runner))
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True

    return change


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize("dtype", ["<u2", "<i2"])
def test_compressed_syntaxes_are_bit_exact(tmp_path, syntax, dtype):
    def change(ds, index):
        stored_as(dtype, intercept=-1024 if dtype == "<u2" else 0)(ds, index)
        compressed(syntax)(ds, index)

    # JPEG 2000 wants at least 32 rows and columns.
    scan = series.a_scan((12, 40, 36))
    series.write(tmp_path, scan, syntax=syntax, change=change)
    volume = read_volume(tmp_path)
    assert_is_the_scan(volume, scan)
    assert "lossy" not in volume.source.flags


def test_how_it_was_scanned_is_told_as_far_as_the_header_tells_it(tmp_path):
    series.write(tmp_path, change=setting(ConvolutionKernel="B60f", KVP="110"))
    told = dict(read_volume(tmp_path).source.acquisition)
    assert (told["slice_mm"], told["kernel"], told["kvp"]) == (2.5, "lung", 110.0)
    series.write(tmp_path, change=setting(KVP="", ConvolutionKernel="WHO KNOWS"))
    told = dict(read_volume(tmp_path).source.acquisition)
    assert "kvp" not in told
    assert told["kernel"] == "unknown"


def test_scanner_and_dose_are_told_where_all_slices_tell_them(tmp_path):
    maker = setting(Manufacturer="ACME ", ManufacturerModelName=" Spiral  9", Exposure="120")
    series.write(tmp_path, change=maker)
    told = dict(read_volume(tmp_path).source.acquisition)
    assert (told["scanner"], told["exposure_mas"]) == ("ACME Spiral 9", 120.0)
    series.write(tmp_path, change=setting(Manufacturer="", Exposure=""))
    told = dict(read_volume(tmp_path).source.acquisition)
    assert not {"scanner", "exposure_mas"} & set(told)


def test_lossy_compression_is_flagged(tmp_path):
    series.write(
        tmp_path, syntax=JPEGLSNearLossless, change=compressed(JPEGLSNearLossless, lossy_error=1)
    )
    volume = read_volume(tmp_path)
    assert "lossy" in volume.source.flags
    assert np.abs(volume.array - series.a_scan().astype(int)).max() <= 1
    series.write(tmp_path, change=setting(LossyImageCompression="01"))
    assert "lossy" in read_volume(tmp_path).source.flags


def test_a_compressed_slice_cut_short_is_corrupt(tmp_path):
    def cut(ds, index):
        compressed(JPEG2000Lossless)(ds, index)
        if index == 4:
            stream = ds.PixelData[16:-8]
            ds.PixelData = encapsulate([stream[: len(stream) // 2]])
            ds["PixelData"].is_undefined_length = True

    series.write(tmp_path, series.a_scan((12, 40, 36)), syntax=JPEG2000Lossless, change=cut)
    refused(tmp_path, "CORRUPT_SLICE")


def test_an_unknown_syntax_is_refused(tmp_path):
    series.write(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(
            path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0")
        )
    refused(tmp_path, "UNSUPPORTED_SYNTAX")


def test_files_without_preamble_are_read(tmp_path):
    for path in series.write(tmp_path):
        path.write_bytes(path.read_bytes()[132:])
    assert_is_the_scan(read_volume(tmp_path))
    for path in tmp_path.iterdir():
        content = path.read_bytes()
        path.write_bytes(content[content.index(b"\x08\x00\x08\x00CS") :])
    assert_is_the_scan(read_volume(tmp_path))


@pytest.mark.parametrize("fault", ["empty", "header", "pixels", "zeros"])
def test_a_damaged_slice_refuses_the_series(tmp_path, fault):
    paths = series.write(tmp_path)
    content = paths[5].read_bytes()
    cut = {
        "empty": b"",
        "header": content[:400],
        "pixels": content[:-200],
        "zeros": bytes(len(content)),
    }
    paths[5].write_bytes(cut[fault])
    message = refused(tmp_path, "CORRUPT_SLICE")
    # By number; a file name may carry a patient's name.
    number = sorted(paths).index(paths[5]) + 1
    where = f"file {number} of 12"
    assert "(z = 22.5)" in message or fault != "pixels"
    assert where in message and paths[5].name not in message


def test_a_slice_without_pixels_refuses_the_series(tmp_path):
    series.write(tmp_path, change=on_slice(3, PixelData=None))
    refused(tmp_path, "CORRUPT_SLICE")


def test_pixel_data_longer_than_the_matrix_by_a_row_refuses_the_series(tmp_path):
    series.write(tmp_path, change=setting(Rows=19))
    refused(tmp_path, "CORRUPT_SLICE")


def test_stray_bytes_behind_the_pixels_are_ignored(tmp_path):
    series.write(tmp_path, change=lambda ds, i: setattr(ds, "PixelData", ds.PixelData + b"\0\0"))
    assert_is_the_scan(read_volume(tmp_path))


def test_pixel_data_shorter_than_the_matrix_refuses_the_series(tmp_path):
    series.write(tmp_path, change=on_slice(3, PixelData=bytes(100)))
    refused(tmp_path, "CORRUPT_SLICE")


def test_slope_and_intercept_are_applied_slice_by_slice(tmp_path):
    def mixed(ds, index):
        if index % 3 == 0:
            stored_as("<i2", intercept=0)(ds, index)
        elif index % 3 == 1:
            stored_as("<i2", intercept=-1000)(ds, index)

    series.write(tmp_path, change=mixed)
    assert_is_the_scan(read_volume(tmp_path))


def test_fractional_slopes_give_float32(tmp_path):
    series.write(tmp_path, change=setting(RescaleSlope="0.75", RescaleIntercept="-900.25"))
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.float32
    expected = (series.a_scan() + 1024) * 0.75 - 900.25
    np.testing.assert_array_equal(volume.array, expected.astype(np.float32))


@pytest.mark.parametrize("which", [None, 4])
@pytest.mark.parametrize("name", ["RescaleSlope", "RescaleIntercept"])
def test_a_missing_rescale_is_never_assumed(tmp_path, which, name):
    change = setting(**{name: None}) if which is None else on_slice(which, **{name: None})
    series.write(tmp_path, change=change)
    refused(tmp_path, "NO_RESCALE")


def test_a_slope_of_0_is_refused(tmp_path):
    series.write(tmp_path, change=setting(RescaleSlope=0))
    refused(tmp_path, "NO_RESCALE")


@pytest.mark.parametrize("padding", [-2000, -3024])
@pytest.mark.parametrize("declared", [True, False])
def test_padding_becomes_air(tmp_path, padding, declared):
    scan = series.a_scan()
    scan[:, :, -2:] = padding

    def change(ds, index):
        ds.PixelRepresentation = 1
        ds.RescaleIntercept = 0
        ds.PixelData = scan[index].astype("<i2").tobytes()
        if declared:
            ds.add_new("PixelPaddingValue", "SS", padding)

    series.write(tmp_path, scan, change=change)
    volume = read_volume(tmp_path)
    assert (volume.array[:, :, -2:] == -1024).all()
    np.testing.assert_array_equal(volume.array[:, :, :-2], scan[:, :, :-2])
    assert any("padding" in note for note in volume.source.notes)


def test_a_padding_value_amid_tissue_that_no_corner_shows_is_no_padding(tmp_path):
    series.write(tmp_path, change=lambda ds, i: ds.add_new("PixelPaddingValue", "US", 1024 + 40))
    assert_is_the_scan(read_volume(tmp_path))


def test_monochrome1_does_not_invert(tmp_path):
    series.write(tmp_path, change=setting(PhotometricInterpretation="MONOCHROME1"))
    assert_is_the_scan(read_volume(tmp_path))


@pytest.mark.parametrize("signed", [False, True])
def test_bits_above_the_stored_ones_are_ignored(tmp_path, signed):
    def junk(ds, index):
        hu = np.frombuffer(ds.PixelData, "<u2").astype(int) - 1024
        raw = (hu & 0xFFF) if signed else hu + 1024
        ds.BitsStored, ds.HighBit = 12, 11
        ds.PixelRepresentation = int(signed)
        ds.RescaleIntercept = 0 if signed else -1024
        ds.PixelData = (raw | (index % 16) << 12).astype("<u2").tobytes()

    series.write(tmp_path, change=junk)
    assert_is_the_scan(read_volume(tmp_path))


def test_colour_is_not_hu(tmp_path):
    def colour(ds, index):
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 3, "RGB"
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.PlanarConfiguration = 7, 0
        ds.PixelData = bytes(ds.Rows * ds.Columns * 3)

    series.write(tmp_path, change=colour)
    refused(tmp_path, "NOT_HU")


def test_8_bits_are_not_hu(tmp_path):
    def grey(ds, index):
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit = 7
        ds.PixelData = bytes(ds.Rows * ds.Columns)

    series.write(tmp_path, change=grey)
    refused(tmp_path, "NOT_HU")


@pytest.mark.parametrize("intercept", [0, -2048])
def test_numbers_off_by_1024_are_not_hu(tmp_path, intercept):
    series.write(tmp_path, change=setting(RescaleIntercept=intercept))
    refused(tmp_path, "NOT_HU")


@pytest.mark.parametrize("intercept", [0, -2048])
def test_padding_and_dense_bone_do_not_hide_a_shift_by_1024(tmp_path, intercept):
    scan = series.a_scan()
    scan[:, :, -2:] = -2000  # as some scanners mark what lies outside their field of view
    scan[:, 8, 8] = 1000  # dense bone; shifted down it has the numbers of soft tissue

    def change(ds, index):
        ds.PixelRepresentation = 1
        ds.RescaleIntercept = intercept
        ds.PixelData = (scan[index].astype(int) + 1024).astype("<i2").tobytes()

    series.write(tmp_path, scan, change=change)
    refused(tmp_path, "NOT_HU")


def test_everything_thinner_than_minus_1024_becomes_minus_1024(tmp_path):
    scan = series.a_scan()
    scan[:, 1, 1:4] = -1030, -1024, -1023

    def change(ds, index):
        ds.PixelRepresentation = 1
        ds.RescaleIntercept = 0
        ds.PixelData = scan[index].astype("<i2").tobytes()

    series.write(tmp_path, scan, change=change)
    assert_is_the_scan(read_volume(tmp_path), np.maximum(scan, -1024))


def test_other_units_are_not_hu(tmp_path):
    series.write(tmp_path, change=setting(RescaleType="Z_EFF"))
    refused(tmp_path, "NOT_HU")


def test_another_modality_is_not_ct(tmp_path):
    series.write(tmp_path, change=setting(SOPClassUID=MRImageStorage, Modality="MR"))
    assert "MR Image" in refused(tmp_path, "NOT_CT")


@pytest.mark.parametrize("missing", [(6,), (4, 5, 6)])
def test_missing_slices_are_a_gap(tmp_path, missing):
    series.write(tmp_path, skip=missing)
    message = refused(tmp_path, "SLICE_GAP")
    assert f"{2.5 * (len(missing) + 1):.1f} mm" in message


def test_gaps_are_resampled_when_asked_for_and_flagged(tmp_path):
    scan = series.a_scan()
    scan[5:8] = scan[5]  # so that interpolation over slice 6 is exact
    series.write(tmp_path, scan, skip=(6,))
    volume = read_volume(tmp_path, allow_gaps=True)
    assert "gaps_resampled" in volume.source.flags
    assert_is_the_scan(volume, scan)


def moved(shift):
    def change(ds, index):
        ds.ImagePositionPatient = [
            float(a + b) for a, b in zip(ds.ImagePositionPatient, shift(index), strict=True)
        ]

    return change


def test_uneven_steps_are_refused(tmp_path):
    series.write(tmp_path, change=moved(lambda i: (0, 0, 0.4 * (i % 2))))
    refused(tmp_path, "UNEVEN_SPACING")


def test_steps_that_grow_slowly_are_refused(tmp_path):
    scan = series.a_scan((60, 20, 16))
    series.write(tmp_path, scan, change=moved(lambda i: (0, 0, 0.1 * max(0, i - 30))))
    refused(tmp_path, "UNEVEN_SPACING")


def test_jitter_and_rounding_are_accepted(tmp_path):
    rng = np.random.default_rng(3)
    jitter = rng.uniform(-0.025, 0.025, (12, 3))

    def change(ds, index):
        moved(lambda i: jitter[i])(ds, index)
        ds.ImageOrientationPatient = [
            x + 1e-6 * (-1) ** index for x in map(float, ds.ImageOrientationPatient)
        ]

    series.write(tmp_path, change=change)
    volume = read_volume(tmp_path)
    np.testing.assert_array_equal(volume.array, series.a_scan())
    np.testing.assert_allclose(volume.affine, series.an_affine(), atol=0.06)


def test_a_tilted_gantry_is_refused(tmp_path):
    series.write(tmp_path, change=moved(lambda i: (0, 0.8 * i, 0)))
    assert "17.7 degrees" in refused(tmp_path, "GANTRY_TILT")


def test_a_tilt_is_undone_when_asked_for_and_flagged(tmp_path):
    # One row a slice: undoing it moves whole voxels.
    series.write(tmp_path, change=moved(lambda i: (0, 0.8 * i, 0)))
    volume = read_volume(tmp_path, untilt=True)
    assert "untilted" in volume.source.flags
    scan = series.a_scan()
    for k in (0, 5, 11):
        np.testing.assert_array_equal(volume.array[k, k : k + 20, :16], scan[k])
    np.testing.assert_allclose(volume.affine, series.an_affine(), atol=1e-4)


def test_a_gap_too_wide_to_fill_is_refused(tmp_path):
    series.write(tmp_path, change=moved(lambda i: (0, 0, 90000.0 if i == 11 else 0)))
    refused(tmp_path, "ABSURD_SIZE", allow_gaps=True)


def test_a_tilt_too_steep_to_undo_is_refused(tmp_path):
    series.write(tmp_path, change=moved(lambda i: (0, 500.0 * i, 0)))
    refused(tmp_path, "ABSURD_SIZE", untilt=True)


def test_slices_beside_the_line_are_refused(tmp_path):
    series.write(tmp_path, change=moved(lambda i: (0, 0, 0) if i < 6 else (9, 0, 0)))
    refused(tmp_path, "NO_GEOMETRY")


@pytest.mark.parametrize(
    "name", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
)
@pytest.mark.parametrize("which", [None, 0])
def test_missing_geometry_is_refused(tmp_path, name, which):
    change = setting(**{name: None}) if which is None else on_slice(which, **{name: None})
    series.write(tmp_path, change=change)
    refused(tmp_path, "NO_GEOMETRY")


@pytest.mark.parametrize(
    "values",
    [
        {"PixelSpacing": [0, 0]},
        {"ImagePositionPatient": [0, 0, 0]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
        {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
    ],
)
def test_impossible_geometry_is_refused(tmp_path, values):
    series.write(tmp_path, change=setting(**values))
    refused(tmp_path, "NO_GEOMETRY")


@pytest.mark.parametrize("count", [1, 7])
def test_fewer_than_eight_slices_are_refused(tmp_path, count):
    series.write(tmp_path, series.a_scan()[:count])
    refused(tmp_path, "TOO_FEW_SLICES")


def test_two_patients_are_refused(tmp_path):
    series.write(tmp_path, change=on_slice(2, PatientID="another"))
    refused(tmp_path, "MIXED_PATIENT")


@pytest.mark.parametrize("values", [{"Rows": 65535}, {"Columns": 9999}])
def test_absurd_sizes_are_refused_from_the_header(tmp_path, values):
    series.write(tmp_path, change=setting(**values))
    refused(tmp_path, "ABSURD_SIZE")


def test_a_deflated_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("covidctnet.io.dicom.elements.MAX_INFLATED_BYTES", 1000)
    series.write(tmp_path, syntax=DeflatedExplicitVRLittleEndian)
    refused(tmp_path, "ABSURD_SIZE")


def test_deeply_nested_sequences_are_refused(tmp_path):
    paths = series.write(tmp_path)
    content = paths[0].read_bytes()
    place = content.index(b"\x20\x00\x0d\x00UI")
    nest = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 60000
    paths[0].write_bytes(content[:place] + nest + content[place:])
    refused(tmp_path, "CORRUPT_SLICE")


def test_non_ascii_names_do_not_matter(tmp_path):
    change = setting(SpecificCharacterSet="ISO_IR 192", PatientName="Müller^Jürgen=山田^太郎")
    series.write(tmp_path / "Zoë", change=change)
    assert_is_the_scan(read_volume(tmp_path))


def test_nothing_of_an_odd_header_is_logged(tmp_path, caplog):
    # The command line turns pydicom down for its process, in whichever test came before.
    caplog.set_level(logging.WARNING, logger="pydicom")
    paths = series.write(tmp_path, change=setting(PatientName="Doe^Jane"))
    for path in paths:
        # Any byte of the meta group makes pydicom cite what follows.
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.1000\xd8.1.2.1\0"))
    with pytest.raises(StudyError):
        read_volume(tmp_path)
    content = paths[0].read_bytes()
    place = content.index(b"1.2.840.1000\xd8") - 2
    paths[0].write_bytes(content[:place] + b"\x5c\x00" + content[place + 2 :])
    with pytest.raises(StudyError):
        read_volume(tmp_path)
    assert not [r for r in caplog.records if r.name.startswith("pydicom")]
    logging.getLogger("pydicom").warning("others are heard")
    assert "others are heard" in caplog.text


def test_an_unknown_character_set_does_not_warn(tmp_path):
    def change(ds, index):
        ds.add_new("SpecificCharacterSet", "CS", "ISO_IR 192")

    for path in series.write(tmp_path, change=change):
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 192", b"KLINGON_77"))
    assert_is_the_scan(read_volume(tmp_path))


def test_contrast_and_phantoms_are_told(tmp_path):
    series.write(tmp_path)
    assert SYNTHETIC_NOTE not in read_volume(tmp_path).source.notes
    change = setting(ContrastBolusAgent="agent", Manufacturer="covidctnet phantom")
    series.write(tmp_path, change=change)
    volume = read_volume(tmp_path)
    assert "contrast" in volume.source.flags
    assert SYNTHETIC_NOTE in volume.source.notes


def test_thick_slices_are_flagged(tmp_path):
    series.write(tmp_path, affine=series.an_affine((8.0, 0.8, 0.7)))
    assert "thick_slices" in read_volume(tmp_path).source.flags


def test_no_header_text_reaches_the_volume(tmp_path):
    series.write(tmp_path, patient="secret-id")
    text = repr(read_volume(tmp_path).source)
    assert "secret" not in text and "Doe" not in text


# Directions of growing column and growing row index.
TURNS = {
    "prone": ((-1, 0, 0), (0, -1, 0)),
    "seen from above": ((-1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
}


@pytest.mark.parametrize("turn", TURNS)
def test_every_voxel_stays_where_it_was_in_the_patient(tmp_path, turn):
    """Written along other axes, read back: the same HU at the same millimetres."""
    scan = series.a_scan()
    affine = np.eye(4)
    column, row = map(np.array, TURNS[turn])
    normal = np.cross(column, row)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = normal * 2.5, row * 0.8, column * 0.7
    affine[:3, 3] = (3.0, 4.0, 5.0)
    series.write(tmp_path, scan, affine=affine)
    volume = read_volume(tmp_path)
    directions = volume.affine[:3, :3] / np.linalg.norm(volume.affine[:3, :3], axis=0)
    np.testing.assert_allclose(directions, np.eye(3)[::-1], atol=1e-6)
    back = np.linalg.inv(volume.affine)
    for index in [(0, 0, 1), (11, 0, 1), (5, 7, 9), (2, 19, 15)]:
        place = np.rint(back @ affine @ [*index, 1])[:3].astype(int)
        assert volume.array[tuple(place)] == scan[index]
    assert "odd_orientation" in volume.source.flags


def an_enhanced(scan, order):
    """A multi-frame CT whose frames are stored in `order`, each with its own intercept."""
    ds = series.a_slice(scan[0], 0)
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(ds, name)
    del ds.RescaleSlope, ds.RescaleIntercept
    ds.SOPClassUID = EnhancedCTImageStorage
    ds.NumberOfFrames = len(order)

    def item(**values):
        out = Dataset()
        for name, value in values.items():
            setattr(out, name, value)
        return out

    affine = series.an_affine()
    ds.SharedFunctionalGroupsSequence = Sequence(
        [
            item(
                PixelMeasuresSequence=Sequence([item(PixelSpacing=[0.8, 0.7])]),
                PlaneOrientationSequence=Sequence(
                    [item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]
                ),
            )
        ]
    )
    ds.PerFrameFunctionalGroupsSequence = Sequence(
        item(
            PlanePositionSequence=Sequence(
                [item(ImagePositionPatient=list(map(float, affine[:3] @ [k, 0, 0, 1])))]
            ),
            PixelValueTransformationSequence=Sequence(
                [item(RescaleSlope=1, RescaleIntercept=-1024 - k, RescaleType="HU")]
            ),
        )
        for k in order
    )
    ds.PixelData = b"".join((scan[k].astype(int) + 1024 + k).astype("<u2").tobytes() for k in order)
    return ds


def test_frames_of_an_enhanced_ct_are_ordered_and_rescaled_one_by_one(tmp_path):
    scan = series.a_scan()
    series.save(an_enhanced(scan, [3, 0, 7, 1, 2, 11, 4, 6, 5, 10, 9, 8]), tmp_path / "e.dcm")
    assert_is_the_scan(read_volume(tmp_path))


def test_an_enhanced_ct_that_describes_too_few_frames_is_corrupt(tmp_path):
    ds = an_enhanced(series.a_scan(), list(range(12)))
    ds.NumberOfFrames = 13
    series.save(ds, tmp_path / "e.dcm")
    refused(tmp_path, "CORRUPT_SLICE")


def test_float_pixel_data_is_read(tmp_path):
    def floats(ds, index):
        hu = np.frombuffer(ds.PixelData, "<u2").astype("<f4") - 1024
        ds.FloatPixelData = hu.tobytes()
        ds.BitsAllocated, ds.RescaleIntercept = 32, 0
        del ds.PixelData, ds.BitsStored, ds.HighBit

    series.write(tmp_path, change=floats)
    assert_is_the_scan(read_volume(tmp_path))


@pytest.mark.parametrize("falling", [False, True])
def test_a_slice_moved_to_the_other_end_contradicts_the_instance_numbers(tmp_path, falling):
    def change(ds, index):
        ds.InstanceNumber = 100 - index if falling else index + 1
        if index == 0:
            height = series.ORIGIN[2] + 12 * series.SPACING[0]
            ds.ImagePositionPatient = [*series.ORIGIN[:2], height]

    series.write(tmp_path, change=change)
    refused(tmp_path, "NO_GEOMETRY")


def test_two_slices_that_changed_places_contradict_the_instance_numbers(tmp_path):
    def change(ds, index):
        ds.InstanceNumber = {4: 9, 9: 4}.get(index, index)

    series.write(tmp_path, change=change)
    refused(tmp_path, "NO_GEOMETRY")


def test_instance_numbers_that_follow_nothing_do_not_matter(tmp_path):
    numbers = np.random.default_rng(3).permutation(12)

    def change(ds, index):
        ds.InstanceNumber = int(numbers[index])

    series.write(tmp_path, change=change)
    assert (read_volume(tmp_path).array == series.a_scan()).all()


@pytest.mark.parametrize("which", [0, 5, 11])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("RescaleSlope", value) for value in (1.001, 0.9, 2, -1)),
        *(("RescaleIntercept", value) for value in (-1000, 0, -1025)),
    ],
)
def test_a_slice_whose_rescaling_was_changed_is_refused(tmp_path, which, name, value):
    def change(ds, index):
        if index == which:
            ds[name].value = value

    series.write(tmp_path, change=change)
    refused(tmp_path, "NO_RESCALE")


@pytest.mark.parametrize("which", [0, 5, 11])
def test_a_slice_stored_on_another_scale_is_read(tmp_path, which):
    def change(ds, index):
        if index == which:
            ds.RescaleIntercept = -2000
            ds.PixelData = (series.a_scan()[index].astype(np.int32) + 2000).astype("<u2").tobytes()

    series.write(tmp_path, change=change)
    assert (read_volume(tmp_path).array == series.a_scan()).all()


def test_a_slice_far_from_its_scale_is_noticed_where_all_have_their_own(tmp_path):
    def change(ds, index):
        slope = 0.5 + index / 16
        ds.RescaleSlope = 2 * slope if index == 4 else slope
        ds.PixelData = ((series.a_scan()[index] + 1024) / slope).astype("<u2").tobytes()

    series.write(tmp_path, change=change)
    refused(tmp_path, "NO_RESCALE")


@pytest.mark.parametrize("offset_mm", [0.2, 0.7, 5.0])
def test_a_slice_beside_its_place_in_the_plane_is_refused(tmp_path, offset_mm):
    def change(ds, index):
        if index == 4:
            ds.ImagePositionPatient = [series.ORIGIN[0] + offset_mm, *ds.ImagePositionPatient[1:]]

    series.write(tmp_path, change=change)
    refused(tmp_path, "NO_GEOMETRY")


def test_a_number_with_an_underscore_is_none(monkeypatch):
    # Python's float takes 3_5 for 35: a chest ten times as wide.
    monkeypatch.setattr(values, "text", lambda data, keyword: "3_5\\4.0")
    with pytest.raises(values.DamagedFileError, match="PixelSpacing is no number"):
        values.numbers({}, "PixelSpacing", 2)


@pytest.mark.parametrize(
    "syntax, said, words",
    [
        ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5", "are not compressed"),
        ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1", "are compressed"),
    ],
)
def test_pixels_in_another_syntax_than_the_header_names_are_told_as_that(
    tmp_path, syntax, said, words
):
    change = steps.compressed(syntax) if syntax.endswith("5") else None
    for path in series.write(tmp_path, change=change, syntax=syntax):
        path.write_bytes(path.read_bytes().replace(syntax.encode(), said.encode(), 1))
    with pytest.raises(StudyError, match=f"its pixels {words}, its TransferSyntaxUID") as caught:
        read_volume(tmp_path)
    assert caught.value.code == "CORRUPT_SLICE"
