"""What systems that read slices share: which slices, whose they are, and one answer from many.

No network is here. `table` says whose a picture is, `leak` whether it is in the data twice, `folds`
who is tested when, `sampling` which slices of a scan are read, `window` how HU become grey values,
`aggregate` how the scores of slices become the answer for a scan, `operating` from which score on a
patient counts as positive, `shortcut` what can be reached without looking at the lungs, and
`picture_lungs` where these are in a picture. Figures with intervals by patient:
`evaluation.slicewise`.
"""
