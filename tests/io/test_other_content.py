"""What stands in place of a volume is named, with what to do."""

import bz2
import gzip
import lzma

import pytest

from covidctnet import read_volume
from covidctnet.errors import StudyError

PAGE = b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
CONTENTS = {
    "a web page": (PAGE, "web page", "download the file again"),
    "a compressed web page": (gzip.compress(PAGE), "web page", "download the file again"),
    "a message of a server": (b'{"message": "rate limit"}', "server", "download the file again"),
    "a pointer": (POINTER, "Git LFS", "git lfs pull"),
    "a text": (b"The scan is on the other disk.\n", "a text", "copy the file again"),
    "zeros": (bytes(4096), "zeros", "copy it again"),
    "bzip2": (bz2.compress(PAGE), "bzip2", "Unpack it"),
    "xz": (lzma.compress(PAGE), "xz", "Unpack it"),
    "gzip twice": (gzip.compress(gzip.compress(bytes(4096))), "gzip", "Unpack it"),
}


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.mha", "scan.nrrd"])
@pytest.mark.parametrize("what", CONTENTS)
def test_what_a_download_left_in_place_of_a_volume_is_named(tmp_path, name, what):
    content, word, advice = CONTENTS[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StudyError) as caught:
        read_volume(tmp_path / name)
    assert caught.value.code == "CORRUPT_FILE"
    assert word in caught.value.message and advice in caught.value.message
