import pytest
import torch

from covidctnet.systems.deeppneumonia.networks.boxes import anchors, choose, overlaps


def test_a_picture_of_448_has_245_small_boxes_and_16_large_ones():
    small, large = anchors(448)
    assert small.shape == (14 * 14 + 7 * 7, 4)
    assert large.shape == (4 * 4, 4)
    assert small[0].tolist() == [-8, -8, 40, 40]
    assert small[196].tolist() == [-16, -16, 80, 80]
    assert large[5].tolist() == [96, 96, 288, 288]


def test_overlap_is_shared_over_joint_area():
    box = torch.tensor([0.0, 0, 10, 10])
    others = torch.tensor([[0.0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 4, 4]])
    assert overlaps(box, others).tolist() == pytest.approx([1, 1 / 3, 0, 0.04])


def test_of_five_boxes_those_that_overlap_a_better_one_are_left_out():
    boxes = torch.tensor(
        [[0.0, 0, 10, 10], [9.2, 0, 19.2, 10], [5, 5, 15, 15], [30, 0, 40, 10], [31, 1, 41, 11]]
    )
    scores = torch.tensor([0.9, 0.5, 0.8, 0.1, 0.7])
    # 2 overlaps 0 by 25 of 175; 1 overlaps 0 by 8 of 192, below a tenth; 3 overlaps 4.
    assert choose(scores, boxes, 3).tolist() == [0, 4, 1]


def test_where_too_few_boxes_are_apart_the_best_of_the_others_follow():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 11, 11], [2, 2, 12, 12]])
    assert choose(torch.tensor([0.2, 0.9, 0.4]), boxes, 3).tolist() == [1, 2, 0]
    with pytest.raises(ValueError, match="expected 4 boxes or more, got 3"):
        choose(torch.tensor([0.2, 0.9, 0.4]), boxes, 4)


def test_three_large_boxes_that_hardly_overlap_are_found_whatever_the_scores():
    _, large = anchors(448)
    for seed in range(50):
        scores = torch.rand(16, generator=torch.Generator().manual_seed(seed))
        places = choose(scores, large, 3)
        shared = [overlaps(large[i], large[j : j + 1]) for i in places for j in places if i != j]
        assert max(shared) < 0.1
