"""The short form of `make web-load`: order, states, memory and a full disk; no times."""

import io
import os
import shutil
import zipfile

import pytest

from pipelines.experiments.web.load import Loaded, full_disk, under_load
from tests.small import tiny_weights, write_chest


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return str(tiny_weights(tmp_path_factory.mktemp("weights") / "tiny"))


def test_uploads_at_once_are_answered_in_the_order_in_which_they_were_queued(weights, tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path in write_chest(tmp_path / "chest", "one").rglob("*.dcm"):
            archive.write(path, path.name)
    loaded = under_load(
        tmp_path / "state", weights, content.getvalue(), uploads=4, requests=100, askers=2
    )
    assert loaded.jobs == {"done": 4} and loaded.order
    assert len(loaded.status_ms) == 100 and loaded.refused == 0
    assert set(loaded.memory_kb) == {"page", "answers"}
    assert all(max(kb for _, kb in samples) > 0 for samples in loaded.memory_kb.values())
    assert loaded.is_flat("page")


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="no rights to mount a disk"
)
def test_a_disk_that_fills_is_said_so_and_keeps_no_half_file(weights, tmp_path):
    assert full_disk(tmp_path / "state", weights).startswith("507 after")


def test_memory_that_grows_with_every_upload_is_found():
    flat, growing = (
        [(k, 500_000) for k in range(20)],
        [(k, 300_000 + k * 50_000) for k in range(20)],
    )
    loaded = Loaded(memory_kb={"page": flat, "answers": growing})
    assert loaded.is_flat("page") and not loaded.is_flat("answers")


def test_the_share_of_slow_requests_is_counted():
    loaded = Loaded(status_ms=[float(k) for k in range(1, 101)])
    assert loaded.percentile_ms(0.95) == 95 and loaded.percentile_ms(0.5) == 50
