"""Bootstraps of few draws, where a test asks what a figure is and not how far it may go."""

import pytest

from covidctnet.evaluation import intervals


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(intervals, "BOOTSTRAP_DRAWS", 60)
