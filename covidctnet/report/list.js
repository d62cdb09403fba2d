// The list of all studies: search, filter and sort, a hundred rows at a time. Works from a file.
(() => {
  const ROWS = 100;
  const [STUDY, STATUS, LABEL, SHARE, CODE, SECONDS, PAGE] = [0, 1, 2, 3, 4, 5, 6];
  const all = JSON.parse(document.getElementById("list-data").textContent);
  const at = (id) => document.getElementById(id);
  const search = at("list-search"), status = at("list-status"), body = at("list-rows");
  let sorted = { column: -1, down: false }, first = 0, found = all;

  const cell = (tag, text, className) => {
    const made = document.createElement(tag);
    made.textContent = text;
    if (className) made.className = className;
    return made;
  };
  const compare = (a, b) => {
    const [x, y] = [a[sorted.column], b[sorted.column]];
    // What has no number comes last, whichever way.
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" ? x - y : x.localeCompare(y);
    return sorted.down ? -order : order;
  };
  const show = () => {
    body.replaceChildren(...found.slice(first, first + ROWS).map((row) => {
      const line = document.createElement("tr");
      const head = cell("th", "", "id"), link = cell("a", row[STUDY]);
      head.scope = "row";
      link.href = `${row[PAGE] > 1 ? `pages/${row[PAGE]}.html` : ""}#study-${row[STUDY]}`;
      head.append(link);
      line.append(head, cell("td", row[STATUS]), cell("td", row[LABEL]),
        cell("td", row[SHARE] === null ? "" : `${row[SHARE].toFixed(1)} %`, "num"),
        cell("td", row[CODE], "id"), cell("td", row[SECONDS].toFixed(1), "num"));
      return line;
    }));
    const last = Math.min(first + ROWS, found.length);
    at("list-where").textContent =
      found.length ? `${first + 1} to ${last} of ${found.length}` : "no study matches";
    at("list-before").disabled = first === 0;
    at("list-after").disabled = last >= found.length;
  };
  const find = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = all.filter((row) => (!status.value || row[STATUS] === status.value)
      && words.every((word) => [STUDY, STATUS, LABEL, CODE].some(
        (column) => row[column].toLowerCase().includes(word))));
    if (sorted.column >= 0) found = [...found].sort(compare);
    first = 0;
    show();
  };
  document.querySelectorAll("#list thead button").forEach((button, column) => {
    button.addEventListener("click", () => {
      sorted = { column, down: sorted.column === column && !sorted.down };
      document.querySelectorAll("#list thead th").forEach((head, place) => {
        if (place === column) head.ariaSort = sorted.down ? "descending" : "ascending";
        else head.removeAttribute("aria-sort");
      });
      find();
    });
  });
  search.addEventListener("input", find);
  status.addEventListener("change", find);
  at("list-before").addEventListener("click", () => { first -= ROWS; show(); });
  at("list-after").addEventListener("click", () => { first += ROWS; show(); });
  find();
  at("list").hidden = false;
})();
