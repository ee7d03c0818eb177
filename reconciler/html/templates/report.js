"use strict";
// Sorts and filters the tables that are marked `sortable`; without it they are whole, in the order of the report.
// On paper report.css shows every row: nobody who reads it sees what was filtered for.
for (const listing of document.querySelectorAll(".sortable")) {
  const table = listing.querySelector("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const value = (row, at) => row.cells[at].dataset.sort || row.cells[at].textContent;
  const compare = (one, other, at, numeric) =>
    numeric
      ? (parseFloat(value(one, at)) || 0) - (parseFloat(value(other, at)) || 0)
      : value(one, at).localeCompare(value(other, at), "en", { numeric: true });

  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((one, other) => compare(one, other, at, head.classList.contains("number")));
      body.append(...(down ? rows.reverse() : rows));
    });
  });

  const label = document.createElement("label");
  const input = document.createElement("input");
  const shown = document.createElement("output");
  input.type = "search";
  input.id = table.id + "-filter";
  label.htmlFor = input.id;
  label.textContent = "Show rows with";
  shown.htmlFor = input.id;
  const rows = [...body.rows].map((row) => [row, row.textContent.toLowerCase()]);
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let many = 0;
    for (const [row, text] of rows) {
      row.hidden = !words.every((word) => text.includes(word));
      many += !row.hidden;
    }
    shown.textContent = many + " of " + rows.length + " rows";
  };
  input.addEventListener("input", filter);
  filter();
  const bar = document.createElement("div");
  bar.className = "filter";
  bar.append(label, input, shown);
  listing.prepend(bar);
}
// What is folded on a screen is open on paper.
const folded = [];
window.addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not([open])")) {
    details.open = true;
    folded.push(details);
  }
});
window.addEventListener("afterprint", () => folded.splice(0).forEach((details) => (details.open = false)));
