"""A scan whose parts lie under study UIDs of their own: no part is answered as the whole."""

import pytest

from covidctnet.errors import StudyError
from covidctnet.io import find_studies, read_study
from tests.io import series

BODY = series.a_body()
HALF = len(BODY) // 2
UPPER, LOWER = range(HALF), range(HALF, len(BODY))


def write(folder, places, *, frame="one", patient="one", up_mm=0.0):
    """Some slices of a scan, under a study and series UID of their folder."""

    def change(ds, index):
        ds.StudyInstanceUID = series.uid(f"study {folder.name}")
        ds.SeriesInstanceUID = series.uid(f"series {folder.name}")
        ds.FrameOfReferenceUID = series.uid(f"frame {frame}")
        ds.PatientID, ds.InstanceNumber = patient, places[index] + 1

    affine = series.an_affine()
    affine[:3, 3] += affine[:3, 0] * places[0] + [0, 0, up_mm]
    scan = BODY[places[0] : places[-1] + 1]
    series.write(folder, scan, affine=affine, series=folder.name, change=change)


def outcomes(root):
    found = []
    for study in find_studies(root):
        try:
            found.append(len(read_study(study).array))
        except StudyError as error:
            found.append(error.code)
    return found


@pytest.mark.parametrize("first", [HALF, HALF + 1], ids=["whole", "a slice missing"])
def test_two_parts_of_one_scan_under_two_study_uids_are_refused_together(tmp_path, first):
    write(tmp_path / "a", UPPER)
    write(tmp_path / "b", range(first, len(BODY)))
    (code,) = outcomes(tmp_path)
    assert code in ("MIXED_STUDY", "SLICE_GAP")


@pytest.mark.parametrize(
    "own",
    [{"frame": "other"}, {"patient": "other"}, {"up_mm": 400.0}],
    ids=lambda own: next(iter(own)),
)
def test_scans_of_two_examinations_stay_two_studies(tmp_path, own):
    write(tmp_path / "a", UPPER)
    write(tmp_path / "b", LOWER, **own)
    assert outcomes(tmp_path) == [HALF, len(BODY) - HALF]
