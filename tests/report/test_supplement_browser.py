"""Tables of patients in a browser, as they are printed."""

import numpy as np
import pytest

from covidctnet.evaluation.assess import assess
from covidctnet.evaluation.characteristics import Characteristics, Line, Summary
from covidctnet.evaluation.supplement import Supplement
from covidctnet.report.evaluation_page import render_evaluation
from covidctnet.report.provenance import provenance_of
from tests.browser import WHY_NOT, beyond, open_browser, resize
from tests.evaluation.few_draws import few_draws
from tests.evaluation.simulated import simulated
from tests.report.answers import an_info

pytestmark = [
    pytest.mark.usefixtures(few_draws.__name__),
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]
SPLITS = ("train", "val", "test", "external", "denoiser_train", "denoiser_val")
# Words of cells that go on in another line.
BROKEN = """const broken = [];
for (const cell of document.querySelectorAll('[aria-labelledby="patients-by-split"] :is(td, th)')) {
  for (const node of cell.childNodes) {
    if (node.nodeType != Node.TEXT_NODE) continue;
    for (const word of node.data.matchAll(/[^ ]+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (range.getClientRects().length > 1) broken.push(word[0]);
    }
  }
}
return broken;"""
# Of a sheet A4 within its margins.
WIDTH = 703


def test_no_word_of_the_patients_of_all_splits_is_broken_on_paper(tmp_path):
    numbers = Summary(n=30, of=30, mean=153.29, deviation=120.75,
                      quartiles=(135.5, 156.0, 172.5))  # fmt: skip
    lines = (
        Line("tube voltage", "", (numbers,) * 6, (0.0, -0.49, 1.32, -0.15, float("nan"), 0.36)),
        Line("scanner", "Manufacturer Scanner", (Summary(n=30, of=30),) * 6, (0.0,) * 6),
    )
    table = Characteristics("split", SPLITS, (30,) * 6, lines)
    found = assess(simulated(12), rng=np.random.default_rng(0))
    content = render_evaluation(
        found,
        provenance=provenance_of(an_info()),
        caveat="",
        seen="phantoms",
        supplement=Supplement((), (), (table,)),
    )
    (tmp_path / "index.html").write_bytes(content)
    with open_browser() as browser:
        resize(browser, WIDTH)
        browser.get((tmp_path / "index.html").as_uri())
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        assert browser.execute_script(BROKEN) == []
        assert beyond(browser) == 0
