import dataclasses
import math

import pytest
import torch

from covidctnet.errors import UsageError
from covidctnet.training.pictures import (
    PictureVariation,
    _tilted,
    draw_grid,
    vary_light,
    vary_pictures,
)

NOTHING = PictureVariation(0, 0, 0, 1, 0, 0, 0)


def only(**changes):
    return dataclasses.replace(NOTHING, **changes)


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_defaults_are_those_of_the_paper():
    assert dataclasses.asdict(PictureVariation()) == {
        "flip": 0.5,
        "warp": 0.2,
        "turn": 10.0,
        "zoom": 1.1,
        "light": 0.2,
        "chance_shape": 0.75,
        "chance_light": 0.75,
    }


def test_without_any_change_pictures_and_masks_stay_as_they_are():
    pictures, masks = torch.rand(3, 1, 32, 32), (torch.rand(3, 1, 32, 32) > 0.5).float()
    same, same_masks = vary_pictures(pictures, masks, generator=source(), settings=NOTHING)
    torch.testing.assert_close(same, pictures, rtol=0, atol=1e-5)
    assert torch.equal(same_masks, masks)


def test_half_of_the_pictures_are_flipped():
    grid = draw_grid(2000, 8, source(), only(flip=0.5))
    flipped = grid[:, 0, 0, 0] > 0
    assert 0.46 < flipped.float().mean() < 0.54
    row = torch.linspace(-1, 1, 8)
    torch.testing.assert_close(grid[flipped][0, 0, :, 0], -row)
    torch.testing.assert_close(grid[~flipped][0, 0, :, 0], row)


def test_three_quarters_are_turned_by_up_to_ten_degrees_evenly():
    grid = draw_grid(4000, 8, source(), only(turn=10.0, chance_shape=0.75))
    right = (grid[:, 0, -1] - grid[:, 0, 0]) / 2
    degrees = torch.rad2deg(torch.atan2(right[:, 1], right[:, 0]))
    turned = degrees.abs() > 1e-4
    assert 0.73 < turned.float().mean() < 0.77
    assert 9.9 < degrees.max() <= 10.001 and -10.001 <= degrees.min() < -9.9
    assert degrees[turned].std() == pytest.approx(10 / 3**0.5, rel=0.03)
    torch.testing.assert_close(right.norm(dim=1), torch.ones(4000), rtol=0, atol=1e-5)


def test_zoom_shows_a_part_of_the_picture_anywhere_within_it():
    grid = draw_grid(4000, 8, source(), only(zoom=1.1, chance_shape=0.75))
    shown = (grid[:, 0, -1, 0] - grid[:, 0, 0, 0]) / 2
    zoomed = shown < 1 - 1e-5
    assert 0.73 < zoomed.float().mean() < 0.77
    assert 1 / 1.1 - 1e-4 < shown.min() < 1 / 1.09
    assert grid.abs().max() <= 1 + 1e-5
    room = (grid[..., 0].amin((1, 2)) + 1)[zoomed] / (2 * (1 - shown[zoomed]))
    assert room.min() < 0.02 and room.max() > 0.98


def test_a_warped_picture_keeps_straight_lines():
    grid = draw_grid(500, 33, source(), only(warp=0.2, chance_shape=1))
    line = grid[:, 5] - grid[:, 5, :1]
    bend = line[:, 1:, 0] * line[:, -1:, 1] - line[:, 1:, 1] * line[:, -1:, 0]
    assert bend.abs().max() < 1e-4
    assert (line[:, -1] - torch.tensor([2.0, 0.0])).abs().amax() > 0.1


def test_the_corners_of_the_source_are_found_at_the_tilted_places():
    x, y = 0.15, -0.1
    places = torch.tensor([[-1 - y, -1 - x], [-1 + y, 1 + x], [1 + y, -1 + x], [1 - y, 1 - x]])
    found = _tilted(places.view(1, 2, 2, 2), torch.tensor([x]), torch.tensor([y]))
    corners = torch.tensor([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
    torch.testing.assert_close(found.view(4, 2), corners, rtol=0, atol=1e-5)


def test_tilts_of_rows_and_columns_are_drawn_for_themselves():
    grid = draw_grid(4000, 3, source(), only(warp=0.2, chance_shape=0.75))
    # Points on the middle lines move along them only when the plane is tilted in that direction.
    x = (grid[:, 0, 2, 0] - grid[:, 0, 0, 0]) - (grid[:, 2, 2, 0] - grid[:, 2, 0, 0])
    y = (grid[:, 2, 0, 1] - grid[:, 0, 0, 1]) - (grid[:, 2, 2, 1] - grid[:, 0, 2, 1])
    tilted = [d.abs() > 1e-4 for d in (x, y)]
    assert 0.03 < (~tilted[0] & ~tilted[1]).float().mean() < 0.10


def test_one_seed_gives_one_result_and_another_gives_another():
    pictures = torch.rand(4, 1, 32, 32)
    first, again, other = (vary_pictures(pictures, generator=source(seed))[0] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.min() >= 0 and first.max() <= 1


def test_masks_move_with_their_pictures_and_stay_0_or_1():
    pictures = torch.zeros(16, 1, 64, 64)
    pictures[:, :, 20:50, 10:30] = 1
    moved, masks = vary_pictures(
        pictures, pictures.clone(), generator=source(), settings=PictureVariation(light=0)
    )
    assert set(masks.unique().tolist()) == {0, 1}
    assert ((moved > 0.5).float() - masks).abs().mean() < 0.01
    assert not torch.equal(masks, pictures)


def test_brightness_and_contrast_are_changed_among_logits():
    grey = torch.full((4000, 1, 1, 2), 0.5)
    grey[..., 1] = 0.8
    settings = only(light=0.2, chance_light=0.75)
    out = torch.logit(vary_light(grey, generator=source(), settings=settings))[:, 0, 0]
    spread = (out[:, 1] - out[:, 0]) / math.log(4)
    assert 0.8 - 1e-4 < spread.min() < 0.81 and 1.24 < spread.max() < 1.25 + 1e-4
    level = torch.sigmoid(out[:, 0] / spread)
    assert 0.4 - 1e-4 < level.min() < 0.405 and 0.595 < level.max() < 0.6 + 1e-4
    assert 0.73 < ((spread - 1).abs() > 1e-4).float().mean() < 0.77
    assert 0.73 < ((level - 0.5).abs() > 1e-5).float().mean() < 0.77


@pytest.mark.parametrize("change", [{"warp": 1.0}, {"zoom": 0.5}, {"flip": 1.5}, {"light": -0.1}])
def test_an_impossible_variation_is_refused(change):
    with pytest.raises(UsageError, match=f"expected variation.{next(iter(change))} between"):
        PictureVariation(**change)
