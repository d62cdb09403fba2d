"""The worker and a real PACS."""

import pydicom
import pytest

from covidctnet.serve.dicomweb import Access, Instance, Pacs, PacsError
from covidctnet.serve.pacs import PacsWorker, Watching
from pipelines.experiments.pacs.orthanc import PASSWORD, USER, WHY_NOT, Orthanc
from tests.io.series import write
from tests.serve.test_pacs import Answers, Clock, result_of, settled

pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc")).start()
    yield server
    server.stop()


def test_a_study_is_fetched_as_it_was_sent_answered_and_its_result_stored(orthanc, tmp_path):
    files = write(tmp_path / "one", study="one", series="of one", patient="one")
    for file in files:
        orthanc.send(file)
    result = result_of(tmp_path, files)
    answers, clock = Answers(result=result), Clock()
    pacs = Pacs(Access(orthanc.url, USER, PASSWORD))
    worker = PacsWorker(pacs, tmp_path / "state", answers, Watching(), clock=clock)
    settled(worker, clock)
    (fetched,) = answers.folders
    assert fetched == sorted(file.read_bytes() for file in files)
    assert pacs.has(result)
    assert len(orthanc.ask("/instances")) == len(files) + 1
    # The result is a file of the study, and no reason to answer again.
    assert settled(worker, clock) == 0
    worker.close()


def test_a_wrong_password_is_said_so(orthanc):
    with pytest.raises(PacsError, match="refuses access"):
        list(Pacs(Access(orthanc.url, USER, "wrong")).studies(["CT"]))


def test_a_result_under_a_uid_with_hyphens_is_stored_and_found(orthanc, tmp_path):
    (path,) = write(tmp_path / "odd", skip=tuple(range(1, 24)))[:1]
    data = pydicom.dcmread(path)
    with pydicom.config.disable_value_validation():
        data.StudyInstanceUID = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
        data.save_as(path)
    pacs = Pacs(Access(orthanc.url, USER, PASSWORD))
    odd = Instance(data.StudyInstanceUID, data.SeriesInstanceUID, data.SOPInstanceUID)
    pacs.store({odd: path})
    assert pacs.has([odd])
