"""What systems that read the slices of a scan one by one share above the weights.

`settings` reads settings of a card, `predictor` has the way from a scan to an answer, and `system`
makes a `covidctnet.contract.System` of the parts that differ. Which slices, whose they are and how
many scores become one: `covidctnet.slicewise`.
"""
