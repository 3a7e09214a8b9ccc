// Tables that sort by any column, and filter by text.
{
  const ORDERS = { ascending: 1, descending: -1 };

  const valueOf = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.absent !== undefined) return null;
    return cell.dataset.v === undefined ? cell.textContent.toLowerCase() : Number(cell.dataset.v);
  };

  /** Order of two values; what is absent comes last whichever way the column is sorted. */
  const compare = (one, other, sign) => {
    if (one === null || other === null) return (one === null) - (other === null);
    if (one === other) return 0;
    return one < other ? -sign : sign;
  };

  const sort = (table, heads, chosen) => {
    const first = heads[chosen].dataset.figure === undefined ? "ascending" : "descending";
    const was = heads[chosen].getAttribute("aria-sort");
    const other = first === "ascending" ? "descending" : "ascending";
    const order = was === first ? other : first;
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[chosen].setAttribute("aria-sort", order);
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row, at) => [valueOf(row, chosen), at, row]);
    rows.sort((a, b) => compare(a[0], b[0], ORDERS[order]) || a[1] - b[1]);
    body.append(...rows.map((row) => row[2]));
  };

  for (const table of document.querySelectorAll("table.sorts")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach((head, column) => {
      const button = page.element("button", head.textContent);
      button.type = "button";
      button.addEventListener("click", () => sort(table, heads, column));
      head.replaceChildren(button);
    });
  }

  for (const input of document.querySelectorAll("input[data-filters]")) {
    const rows = Array.from(document.getElementById(input.dataset.filters).tBodies[0].rows);
    const texts = rows.map((row) => Array.from(row.cells, (cell) => cell.textContent).join(" ").toLowerCase());
    const told = document.getElementById(`${input.id}-told`);
    const filter = () => {
      const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      rows.forEach((row, at) => {
        row.hidden = !words.every((word) => texts[at].includes(word));
        shown += !row.hidden;
      });
      told.textContent = words.length ? `${page.count(shown)} of ${page.count(rows.length)} rows` : "";
    };
    input.addEventListener("input", filter);
    input.closest("[hidden]")?.removeAttribute("hidden");
    filter();
  }
}
