import csv
import json
import math

import numpy as np
import pytest

from covidctnet.errors import CohortError
from covidctnet.systems.deeptek_unet.masks import (
    draw_outlines,
    mask_of_picture,
    read_via,
)

RECT = {"name": "rect", "x": 10, "y": 20, "width": 5, "height": 3}
CIRCLE = {"name": "circle", "cx": 50, "cy": 40, "r": 20}
ELLIPSE = {"name": "ellipse", "cx": 50, "cy": 50, "rx": 30, "ry": 10, "theta": math.pi / 2}
POLYGON = {"name": "polygon", "all_points_x": [10, 30, 10], "all_points_y": [10, 10, 30]}


def region(shape, **attributes):
    return {"shape_attributes": shape, "region_attributes": attributes}


def via_json(*regions, name="a.png"):
    return {f"{name}123": {"filename": name, "size": 123, "regions": list(regions)}}


def drawn(tmp_path, *shapes, size=(100, 100)):
    (tmp_path / "via.json").write_text(json.dumps(via_json(*map(region, shapes))))
    return draw_outlines(read_via(tmp_path / "via.json")["a.png"], size)


def test_a_rectangle_covers_the_pixels_that_it_says(tmp_path):
    mask = drawn(tmp_path, RECT)
    assert mask.sum() == 15 and mask[20:23, 10:15].all()


def test_a_circle_has_its_area_around_its_centre(tmp_path):
    mask = drawn(tmp_path, CIRCLE)
    rows, columns = np.nonzero(mask)
    assert mask.sum() == pytest.approx(math.pi * 20**2, rel=0.02)
    assert (rows.mean(), columns.mean()) == pytest.approx((40, 50), abs=0.1)


def test_an_ellipse_is_turned_by_its_angle(tmp_path):
    rows, columns = np.nonzero(drawn(tmp_path, ELLIPSE))
    assert (rows.min(), rows.max()) == (20, 80)
    assert (columns.min(), columns.max()) == (40, 60)


def test_a_polygon_covers_its_inside(tmp_path):
    mask = drawn(tmp_path, POLYGON)
    assert mask[12, 12] and mask[10, 29] and not mask[28, 28]
    assert mask.sum() == 21 * 22 / 2


def test_several_outlines_are_one_mask_and_what_lies_outside_is_cut_off(tmp_path):
    mask = drawn(tmp_path, RECT, {**RECT, "x": 98}, {**RECT, "x": -50})
    assert mask.sum() == 15 + 6


def test_all_exports_of_one_annotation_read_alike(tmp_path):
    regions = [region(RECT, finding="GGO"), region(CIRCLE)]
    plain = via_json(*regions) | via_json(name="empty.png")
    project = {"_via_settings": {}, "_via_img_metadata": plain}
    first = {
        key: {**entry, "regions": dict(enumerate(entry["regions"]))} for key, entry in plain.items()
    }
    for name, told in (("plain", plain), ("project", project), ("first", first)):
        (tmp_path / f"{name}.json").write_text(json.dumps(told))
    columns = ["filename", "file_size", "file_attributes", "region_count", "region_id"]
    columns += ["region_shape_attributes", "region_attributes"]
    with (tmp_path / "via.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for n, r in enumerate(regions):
            shape, attributes = map(json.dumps, r.values())
            writer.writerow(["a.png", 123, "{}", 2, n, shape, attributes])
        writer.writerow(["empty.png", 123, "{}", 0, 0, "{}", "{}"])
    (tmp_path / "marked.csv").write_text("#" + (tmp_path / "via.csv").read_text())
    results = [
        read_via(tmp_path / name)
        for name in ("plain.json", "project.json", "first.json", "via.csv", "marked.csv")
    ]
    assert all(result == results[0] for result in results)
    assert [len(outlines) for outlines in results[0].values()] == [2, 0]
    assert results[0]["a.png"][0].attributes == {"finding": "GGO"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a": {"filename": "a.png"}}',
        json.dumps(
            via_json(region({"name": "polyline", "all_points_x": [1], "all_points_y": [1]}))
        ),
        json.dumps(via_json(region({"name": "circle", "cx": 1, "cy": 1}))),
        json.dumps(via_json(region({"name": "circle", "cx": 1e9, "cy": 1, "r": 3}))),
        json.dumps(via_json(region({**POLYGON, "all_points_x": [1, 2]}))),
        json.dumps(via_json(region({**RECT, "x": "nan"}))),
        "[" * 100_000,
    ],
)
def test_a_file_without_outlines_is_refused_in_one_line(text, tmp_path):
    (tmp_path / "via.json").write_text(text)
    with pytest.raises(CohortError, match=r"expected 'via.json' to hold outlines as VIA") as caught:
        read_via(tmp_path / "via.json")
    assert "\n" not in str(caught.value) and str(tmp_path) not in str(caught.value)


def test_a_csv_of_something_else_or_no_file_is_refused(tmp_path):
    (tmp_path / "via.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CohortError, match="got: KeyError 'region_shape_attributes'"):
        read_via(tmp_path / "via.csv")
    with pytest.raises(CohortError, match=r"the outlines 'none\.json' cannot be read"):
        read_via(tmp_path / "none.json")


def test_a_mask_of_bytes_has_one_kind_or_numbered_kinds():
    picture = np.array([[0, 1, 2, 255]], np.uint8)
    assert mask_of_picture(picture).tolist() == [[0, 1, 1, 1]]
    assert mask_of_picture(picture[:, :3], kinds=2).tolist() == [[0, 1, 2]]
    with pytest.raises(CohortError, match="expected a mask with the values 0 to 2, got 255"):
        mask_of_picture(picture, kinds=2)
    with pytest.raises(CohortError, match="expected a grey mask"):
        mask_of_picture(np.zeros((4, 4, 3), np.uint8))
