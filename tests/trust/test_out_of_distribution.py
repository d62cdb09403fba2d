import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis

from covidctnet.trust.out_of_distribution import OutOfDistributionDetector


def test_the_distance_is_that_of_mahalanobis_to_the_nearest_class():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 4))
    precision = np.linalg.inv(mixing @ mixing.T + np.eye(4))
    means = rng.normal(size=(3, 4))
    network = OutOfDistributionDetector(4, 3)
    network.means.copy_(torch.from_numpy(means))
    network.whitening.copy_(torch.from_numpy(np.linalg.cholesky(precision)))
    points = rng.normal(size=(9, 4))
    expected = [min(mahalanobis(p, m, precision) for m in means) for p in points]
    distances = network(torch.from_numpy(points).float())
    assert distances.tolist() == pytest.approx(expected, rel=1e-5)


def test_a_class_mean_has_no_distance_from_itself():
    network = OutOfDistributionDetector(5, 2)
    network.means.copy_(torch.arange(10.0).reshape(2, 5))
    assert network(network.means).tolist() == [0, 0]


def test_the_most_deviating_feature_lies_the_most_deviations_from_the_nearest_class():
    network = OutOfDistributionDetector(3, 2)
    network.means.copy_(torch.tensor([[0.0, 0, 0], [50, 50, 50]]))
    network.whitening.copy_(torch.diag(torch.tensor([1.0, 0.5, 2.0])))
    points = torch.tensor([[3.0, 4.0, 0.0], [0.0, -9.0, 3.0], [50.0, 50.0, 49.0]])
    assert network.most_deviating(points).tolist() == [0, 2, 2]


def test_deviations_are_counted_in_those_of_each_feature_whatever_goes_along_with_it():
    covariance = np.array([[4.0, 1.9], [1.9, 1.0]])
    network = OutOfDistributionDetector(2, 1)
    precision = np.linalg.inv(covariance)
    network.whitening.copy_(torch.from_numpy(np.linalg.cholesky(precision)))
    assert network.most_deviating(torch.tensor([[3.0, 1.4], [2.0, 1.2]])).tolist() == [0, 1]
