"""Files to volumes, and back: every input is read right, or refused by name."""

from covidctnet.io.discover import Found, Study, find_studies
from covidctnet.io.read import read_study, read_volume

__all__ = ["Found", "Study", "find_studies", "read_study", "read_volume"]
