// Sorting and filtering of tables; the pages are whole without it.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("thead th")], body = table.tBodies[0];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach(h => h.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const value = row => row.cells[column].dataset.value ?? row.cells[column].textContent;
    const numeric = text => text.trim() === "" ? NaN : Number(text);
    const rows = [...body.rows].sort((a, b) => {
      const x = value(a), y = value(b), p = numeric(x), q = numeric(y);
      if (Number.isNaN(p) !== Number.isNaN(q)) return Number.isNaN(p) ? 1 : -1;  // a dash stands last either way
      return (Number.isNaN(p) ? x.localeCompare(y) : p - q) * (up ? 1 : -1);
    });
    body.append(...rows);
  }));
}
for (const input of document.querySelectorAll("input[data-filter]")) {
  const body = document.getElementById(input.dataset.filter).tBodies[0];
  const count = input.parentElement.querySelector("output"), total = body.rows.length;
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
    const shown = [...body.rows].filter(row => !row.hidden).length;
    count.textContent = wanted ? `${shown} of ${total} rows` : `${total} row${total === 1 ? "" : "s"}`;
  });
}
// What scrolls can be reached with the keyboard and has a name; what does not scroll is no stop.
const parts = document.querySelectorAll(".scroll, .picture");
const stops = () => { for (const part of parts) {
  const scrolls = part.scrollWidth > part.clientWidth + 1 || part.scrollHeight > part.clientHeight + 1;
  part.toggleAttribute("data-wide", part.scrollWidth > part.clientWidth + 1);
  if (!scrolls) { for (const name of ["tabindex", "role", "aria-label"]) part.removeAttribute(name); continue; }
  part.tabIndex = 0; part.setAttribute("role", "group"); part.setAttribute("aria-label", part.dataset.label);
} };
addEventListener("resize", stops); stops();
for (const details of document.querySelectorAll("details")) details.addEventListener("toggle", stops);
// On paper, pictures that were not scrolled to are shown, too, and what claims rest on.
addEventListener("beforeprint", () => {
  for (const image of document.images) image.loading = "eager";
  for (const details of document.querySelectorAll(".claim:has(.numbers) details:not([open])")) { details.open = true; details.dataset.printed = ""; }
});
addEventListener("afterprint", () => {
  for (const details of document.querySelectorAll("[data-printed]")) { details.open = false; delete details.dataset.printed; }
});
