from covidctnet.benchmark import benchmark, render
from tests.small import tiny_weights


def test_every_stage_is_measured_and_peers_stand_beside(tmp_path):
    rows = benchmark(str(tiny_weights(tmp_path / "tiny")), "cpu", 1, matrix=64)
    assert len(rows) == 6
    assert all(row["seconds"] > 0 for row in rows)
    peers = [row for row in rows if row["reference"]]
    assert len(peers) == 3
    assert all(row["reference_seconds"] > 0 for row in peers)
    table = render(rows)
    assert table.count("\n") == len(rows) + 1
    assert "SimpleITK" in table
