"""What three checklists ask for, in our own short words; their texts are the authors'.

Numbers and topics were written down without the published lists at hand: `REFERENCES` names where
they are, and every page says so.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CHECKLISTS", "REFERENCES", "Item"]


@dataclass(frozen=True)
class Item:
    """One thing that a checklist asks for.

    Attributes:
        number: In the checklist.
        words: What it asks for, in short.
        known: What of a run may answer it, a name of `covidctnet.report.checklists.FILLERS`; empty
            where only the author can.
        is_partly: Whether the run knows a part of the answer only.
    """

    number: str
    words: str
    known: str = ""
    is_partly: bool = False


def _items(text: str) -> tuple[Item, ...]:
    """Lines ``number | words | known``; a star behind the name stands for a part only."""
    items = []
    for line in text.strip().splitlines():
        number, words, known = (cell.strip() for cell in line.split("|"))
        items.append(Item(number, words, known.rstrip("*"), known.endswith("*")))
    return tuple(items)


_TRIPOD_AI = """
1 | Title: kind of study, patients, outcome | kind*
2 | Abstract |
3a | Context and reason for the model |
3b | Patients, purpose and users it is meant for | intended_use*
3c | Known health inequalities |
4 | Objectives |
5a | Sources of data for training and evaluation | data*
5b | Dates of data and of recruitment |
6a | Setting, number and place of centres | sites*
6b | Who was eligible |
6c | Treatments |
7 | Preparation and quality checks of the data | preprocessing
8a | Outcome: definition and how it was found | classes*
8b | Who judged the outcome |
8c | Blinding of the outcome |
9a | Choice of predictors | input
9b | Predictors: definition and measurement | input
9c | Who judged the predictors | input
10 | Sample size and why | sample_size*
11 | Missing data | missing
12a | How data were divided and used | partition
12b | Handling of predictors | preprocessing
12c | Kind of model, how it was built and tuned | model
12d | Differences between centres | by_site
12e | Measures and plots of performance | metrics
12f | Recalibration or updating | recalibration
12g | How predictions are computed | code
13 | Class imbalance | balance*
14 | Fairness | strata*
15 | Output of the model and its thresholds | thresholds
16 | Differences between training and evaluation data | differences*
17 | Ethical approval |
18a | Funding |
18b | Conflicts of interest |
18c | Protocol |
18d | Registration |
18e | Availability of data |
18f | Availability of code | code
19 | Involvement of patients and public |
20a | Flow of participants | flow
20b | Characteristics of participants | table_one*
20c | Comparison with the training data | differences*
21 | Participants and outcomes of each analysis | counts
22 | Full model, and access to it | weights*
23a | Performance with intervals, also of subgroups | performance
23b | Performance by centre | by_site
24 | Results of updating | recalibration
25 | Interpretation |
26 | Limitations | limits*
27a | Handling of poor or missing input | quality
27b | Skills that users need |
27c | Next steps of research |
"""
_CLAIM = """
1 | Title names the kind of AI | kind*
2 | Abstract |
3 | Background, intended use and role | intended_use*
4 | Aims and hypotheses |
5 | Prospective or retrospective |
6 | Goal of the study |
7 | Sources of data | data*
8 | Inclusion and exclusion |
9 | Preprocessing | preprocessing
10 | Selection of parts of the data | input
11 | De-identification | identity*
12 | Missing data | missing
13 | Acquisition of the images | acquisition*
14 | Reference standard: definition | classes*
15 | Reference standard: reason |
16 | Reference standard: who annotated |
17 | Annotation of the test set |
18 | Agreement of the annotators |
19 | How data were divided | partition
20 | Level at which the parts are disjoint | partition
21 | Intended sample size | sample_size*
22 | Model: inputs, outputs, layers | model
23 | Software and versions | software
24 | Initial weights | start*
25 | Training: augmentation, settings, number of models | training*
26 | How the final model was chosen | selection
27 | Ensembles | ensemble*
28 | Measures of performance | metrics
29 | Measures of uncertainty | uncertainty
30 | Robustness | strata
31 | Explanations of answers | explanation
32 | Evaluation on internal data | internal*
33 | Test on external data | external
34 | Registration of a trial |
35 | Patients included and excluded | flow
36 | Characteristics of patients by part | parts*
37 | Performance with uncertainty | performance
38 | Diagnostic performance with precision | performance
39 | Analysis of failures | errors
40 | Limitations | limits*
41 | Implications for practice |
42 | Protocol and further details |
43 | Availability of software, model and data | code*
44 | Funding |
"""
_MI_CLAIM = """
1.1 | Clinical problem |
1.2 | Research question |
1.3 | Characteristics of the cohorts | table_one*
1.4 | How far the cohorts are those of practice |
1.5 | Baseline from the state of the art | baseline*
2.1 | Origin and format of the data | data*
2.2 | Transformations before the model | preprocessing
2.3 | Independence of training and test | leakage
2.4 | Models evaluated, and how the best was chosen | selection
2.5 | Kind of input data | input
3.1 | Main measure of performance, and why | metrics*
3.2 | Main measure of use in practice, and why | utility*
3.3 | Comparison with the baseline | baseline*
4.1 | First examination of the model | explanation
4.2 | Second examination of the model | strata
4.3 | What the examinations mean |
4.4 | Explanations of single cases | explanation*
4.5 | Robustness when data shift | shift
5 | Reproducibility: what is shared | code*
"""

REFERENCES = {
    "TRIPOD+AI": "Collins et al., BMJ 385:e078378, 2024, doi:10.1136/bmj-2023-078378",
    "CLAIM 2024": "Tejani et al., Radiology: Artificial Intelligence 6:e240300, 2024, "
    "doi:10.1148/ryai.240300",
    "MI-CLAIM": "Norgeot et al., Nature Medicine 26:1320, 2020, doi:10.1038/s41591-020-1041-y",
}
"""Where each checklist is published."""

CHECKLISTS = {
    "TRIPOD+AI": _items(_TRIPOD_AI),
    "CLAIM 2024": _items(_CLAIM),
    "MI-CLAIM": _items(_MI_CLAIM),
}
