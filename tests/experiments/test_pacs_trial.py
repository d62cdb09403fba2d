"""The trial next to a real PACS, as small as it can be."""

import pytest

from pipelines.experiments.pacs.orthanc import WHY_NOT
from pipelines.experiments.pacs.trial import main
from tests.small import tiny_weights


@pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
def test_kills_and_a_restart_of_the_pacs_cost_no_answer_and_double_none(tmp_path, capsys):
    weights = tiny_weights(tmp_path / "weights")
    size = ["--patients", "2", "--others", "1", "--matrix", "64", "--spacing-mm", "10"]
    code = main(["--weights", str(weights), *size])
    told = capsys.readouterr()
    assert code == 0, told.err
    assert "The worker was killed 3 times and Orthanc restarted 1 time" in told.out
    assert "(4 of 4)" in told.out
