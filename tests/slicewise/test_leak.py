import io

import numpy as np
import pytest
from PIL import Image

from covidctnet.errors import UsageError
from covidctnet.io.picture import read_picture
from covidctnet.slicewise import leak
from covidctnet.slicewise.leak import (
    COPY_DISTANCE,
    Copy,
    Fingerprint,
    find_conflicts,
    find_copies,
    find_leaks,
    fingerprint,
)
from covidctnet.slicewise.table import Images, LabelledImage
from covidctnet.slicewise.window import hu_to_8_bit
from tests.slicewise.pictures import CLASSES, a_slice


def compressed(grey, quality):
    file = io.BytesIO()
    Image.fromarray(grey).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def resized(grey, rows, columns, how=Image.Resampling.BILINEAR):
    return np.asarray(Image.fromarray(grey).resize((columns, rows), how))


COPIES = {
    "jpeg 90": lambda g: compressed(g, 90),
    "jpeg 50": lambda g: compressed(g, 50),
    "a square": lambda g: resized(g, 224, 224),
    "half": lambda g: resized(g, g.shape[0] // 2, g.shape[1] // 2),
    "half, jpeg 75": lambda g: compressed(resized(g, g.shape[0] // 2, g.shape[1] // 2), 75),
    "larger": lambda g: resized(g, 700, 900, Image.Resampling.BICUBIC),
    "brighter": lambda g: np.clip(0.8 * g + 25, 0, 255).astype(np.uint8),
}


def images_of(patients, labels=None, sources=None):
    labels = labels or [0] * len(patients)
    sources = sources or [None] * len(patients)
    rows = zip(patients, labels, sources, strict=True)
    return Images(
        tuple(
            LabelledImage(f"{n}.png", CLASSES[label], f"line {n + 2}", patient, source)
            for n, (patient, label, source) in enumerate(rows)
        ),
        CLASSES,
    )


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_in_another_size_or_compression_is_found_and_no_other_picture(name):
    slices = [a_slice(seed, (200, 260)) for seed in range(20)]
    prints = [fingerprint(grey) for grey in (*slices, *map(COPIES[name], slices))]
    found = find_copies(prints)
    assert [(c.first, c.second) for c in found] == [(i, i + 20) for i in range(20)]
    assert all(0 < c.distance <= COPY_DISTANCE for c in found)


def test_the_same_pixels_are_at_distance_0_and_another_shape_is_another_picture():
    grey = a_slice(0)
    prints = [fingerprint(g) for g in (grey, grey.copy(), a_slice(1), grey[:, :-20])]
    assert find_copies(prints) == (Copy(0, 1, 0.0),)
    assert prints[0].digest == prints[1].digest != prints[3].digest


def test_flat_pictures_are_copies_by_their_pixels_alone():
    flat = [np.full((40, 40), v, np.uint8) for v in (0, 0, 1)]
    prints = [fingerprint(g) for g in flat]
    assert prints[0].cosines is None
    assert find_copies(prints) == (Copy(0, 1, 0.0),)


def test_nothing_and_one_picture_have_no_copies():
    assert find_copies([]) == find_copies([fingerprint(a_slice(0))]) == ()


def test_many_copies_of_one_file_are_each_listed_once():
    one = fingerprint(a_slice(0))
    near = fingerprint(compressed(a_slice(0), 90))
    found = find_copies([one, one, near, one])
    assert [c[:2] for c in found] == [(0, 1), (0, 2), (0, 3)]


def test_few_pictures_of_many_are_compared_with_each_other(monkeypatch):
    compared = []

    class Counting(leak.KDTree):
        def query_pairs(self, *args, **options):
            compared.append(len(pairs := super().query_pairs(*args, **options)))
            return pairs

    monkeypatch.setattr(leak, "KDTree", Counting)
    rng = np.random.default_rng(0)
    for count in (500, 5_000):
        # As real pictures have it, the first cosines vary most.
        vectors = rng.normal(size=(count, 255)).astype(np.float32) / np.arange(1, 256) ** 0.7
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        prints = [Fingerprint(str(i), v) for i, v in enumerate(vectors)]
        assert find_copies(prints) == ()
        # All pairs would be half the square.
        assert compared.pop() < count / 100


def test_a_patient_a_source_and_a_copy_in_two_parts_are_leaks():
    slices = [a_slice(i) for i in range(4)]
    prints = [fingerprint(g) for g in (*slices, compressed(slices[3], 80), slices[2])]
    images = images_of(["a", "a", "b", "c", "d", "e"], sources=["x", None, "y", None, "z", "z"])
    parts = ["train", "test", "train", "train", "test", "train"]
    leaks = find_leaks(images, parts, prints)
    assert [one[:2] for one in leaks] == [
        ("patient", (0, 1)),
        ("source", (4, 5)),
        ("copy", (3, 4)),
    ]
    assert leaks[0].among == ("test", "train")
    assert find_leaks(images, ["train"] * 6, prints) == ()
    leaks = find_leaks(images, [*parts[:5], "test"], prints)
    assert ("pixels", (2, 5)) in [one[:2] for one in leaks]


def test_parts_of_other_pictures_are_refused():
    with pytest.raises(UsageError, match="each of 2 pictures, got 1 and 0"):
        find_leaks(images_of(["a", "b"]), ["train"])


def test_copies_with_two_labels_or_two_patients_are_listed_without_a_name():
    grey, other = a_slice(0), a_slice(1)
    prints = [fingerprint(g) for g in (grey, compressed(grey, 80), other, other, other)]
    images = images_of(["Doe", "Doe", "Roe", "Poe", "Roe"], labels=[0, 1, 0, 0, 0])
    two_labels, two_patients, *more = find_conflicts(images, prints)
    assert two_labels == ("copy", (0, 1), ("NonCOVID", "COVID"))
    assert two_patients == ("pixels", (2, 3), ("line 4", "line 5"))
    assert more == []


def test_neighbouring_slices_of_a_real_scan_are_no_copies(real_scan):
    volume = real_scan("covid_ct_md/COVID-19/P002")
    prints = [fingerprint(grey) for grey in hu_to_8_bit(volume.array)]
    assert len(prints) == 133 and find_copies(prints) == ()


def test_the_small_copies_of_real_slices_are_found_among_all(shared_data):
    root = shared_data / "ucsd_covid_ct_whole"
    rows = [line.split(",") for line in (root / "images.csv").read_text().splitlines()[1:]]
    originals = [shared_data / "ucsd_covid_ct" / r[1] / r[4] for r in rows]
    there = [i for i, path in enumerate(originals) if path.is_file()]
    prints = [fingerprint(read_picture(root / row[0]).pixels) for row in rows]
    prints += [fingerprint(read_picture(originals[i]).pixels) for i in there]
    pairs = {c[:2] for c in find_copies(prints)}
    found = [(i, len(rows) + n) in pairs for n, i in enumerate(there)]
    assert len(found) > 80 and all(found)
