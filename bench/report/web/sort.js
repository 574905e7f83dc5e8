// A click on a head sorts by that column, within each group of rows; a second click turns the order round.
for (const head of document.querySelectorAll("thead button")) {
  head.addEventListener("click", () => {
    const cell = head.closest("th"), table = head.closest("table"), place = cell.cellIndex;
    const down = cell.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("thead th")) other.removeAttribute("aria-sort");
    cell.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = row => row.cells[place].textContent.trim();
    const number = text => { const found = text.replace("\u2212", "-").match(/^[+-]?[\d.,]+/); return found ? parseFloat(found[0].replaceAll(",", "")) : NaN; };
    const order = (one, other) => {
      const [a, b] = [value(one), value(other)], [x, y] = [number(a), number(b)];
      if (a === "-" || b === "-") return (a === "-") - (b === "-");
      const found = cell.classList.contains("number") && !isNaN(x) && !isNaN(y) ? x - y : a.localeCompare(b);
      return down ? -found : found;
    };
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter(row => !row.classList.contains("group"));
      for (const row of rows.sort(order)) body.append(row);
    }
  });
}
