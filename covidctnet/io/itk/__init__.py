"""MetaImage and NRRD."""

from covidctnet.io.itk.data_file import data_file_of, folded
from covidctnet.io.itk.read import looks_like_itk, read_itk

__all__ = ["data_file_of", "folded", "looks_like_itk", "read_itk"]
