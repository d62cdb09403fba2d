"""How much of a file is looked at first must not matter."""

import pytest

from covidctnet.io.elements import DamagedFileError, NotDicomError
from covidctnet.io.headers import identify, read_frames
from tests.io.series import write

ENOUGH, FROM_THE_FILE = 16 * 2**10, 160


def outcome(read, path):
    try:
        return read(path)
    except (DamagedFileError, NotDicomError) as error:
        return type(error), str(error)


@pytest.mark.parametrize("read", [identify, read_frames])
@pytest.mark.parametrize("more", [b"", b"\x4d" * 5000], ids=["short", "long"])
def test_a_file_cut_anywhere_says_the_same_however_much_is_looked_at_first(
    tmp_path, monkeypatch, read, more
):
    def comment(ds, index):
        # Behind the UIDs, so that the header is as long as it.
        ds.ImageComments = more.decode()

    folder = tmp_path / "series"
    write(folder, change=comment)
    content = min(folder.iterdir()).read_bytes()
    path = tmp_path / "cut.dcm"
    said = []
    for end in [*range(132, len(content), 37), len(content)]:
        path.write_bytes(content[:end])
        every = []
        for size in (FROM_THE_FILE, end // 2, end - 1, end, end + 1, ENOUGH):
            monkeypatch.setattr("covidctnet.io.elements.HEAD_BYTES", max(size, FROM_THE_FILE))
            every.append(outcome(read, path))
        assert every == every[:1] * len(every), f"cut at {end}"
        said.append(every[0])
    assert isinstance(said[0], tuple)
    assert isinstance(said[0][0], type), "a file cut short must not look whole"
    assert said[-1] != said[0]
