"""Results where clinicians look: DICOM next to the images of the study, and NIfTI.

`covidctnet.dicom_out.study` makes the objects of an answer; the package highdicom, which it needs,
is loaded with it and not before. Masks are put back into the geometry of the source by
`covidctnet.dicom_out.place`.
"""
