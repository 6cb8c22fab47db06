"use strict";
(() => {
  const root = document.documentElement;
  const filter = document.getElementById("filter");
  const show = document.getElementById("show");
  const dark = document.getElementById("dark");
  const panel = document.getElementById("panel");
  const rows = [...document.querySelectorAll("tbody tr")];
  const plain = new Set(["always", "since", "skipped"]);
  const kinds = {
    all: () => true,
    notable: (trend) => !plain.has(trend),
    bad: (trend) => trend === "regressed" || trend === "failing",
    known: (trend) => trend === "known",
    skipped: (trend) => trend === "skipped" || trend === "unknown",
  };
  let pinned = null;

  // The theme is the reader's until they choose.
  const theme = matchMedia("(prefers-color-scheme: dark)");
  const paint = (on) => { root.classList.toggle("dark", on); dark.checked = on; };
  paint(location.hash === "#dark" || theme.matches);
  theme.addEventListener("change", (event) => paint(event.matches));
  dark.addEventListener("change", () => paint(dark.checked));

  const select = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const text = (row.cells[0].textContent + " " + row.cells[row.cells.length - 1].textContent).toLowerCase();
      // Who asks for a test by name gets it, whatever kind it is.
      const kind = words.length > 0 && show.value === "notable" ? kinds.all : kinds[show.value];
      row.hidden = !(kind(row.dataset.trend) && words.every((word) => text.includes(word)));
      count += row.hidden ? 0 : 1;
    }
    document.getElementById("shown").textContent = `${count} of ${rows.length} tests`;
    for (const section of document.querySelectorAll("section")) {
      const all = [...section.querySelectorAll("tbody tr")];
      // A table without a row would look like one without a result.
      section.querySelector(".count").textContent =
        `· ${all.filter((row) => !row.hidden).length} of ${all.length} tests shown`;
      rove(section.querySelector("table"));
    }
  };

  // One cell of each table takes part in the order of Tab; the arrow keys move inside.
  const entries = (row) => [...row.cells].filter((cell) => cell.tagName === "TD" && !cell.classList.contains("verdict"));
  const rove = (table) => {
    const visible = [...table.tBodies[0].rows].filter((row) => !row.hidden);
    for (const cell of table.querySelectorAll("td[tabindex]")) cell.removeAttribute("tabindex");
    if (visible.length > 0 && entries(visible[0]).length > 0) entries(visible[0])[0].tabIndex = 0;
  };

  const tell = (cell) => {
    if (!cell || !cell.title && !cell.dataset.about) { panel.hidden = true; return; }
    const row = cell.parentElement;
    const column = cell.closest("table").tHead.rows[0].cells[cell.cellIndex];
    panel.replaceChildren();
    const name = document.createElement("b");
    name.textContent = cell.tagName === "TD" ? row.cells[0].textContent : "";
    panel.append(name, cell.tagName === "TD" ? ` on ${column.firstElementChild.textContent}\n` : "", cell.title);
    panel.hidden = false;
  };
  const pin = (cell) => {
    if (pinned) pinned.classList.remove("pinned");
    pinned = pinned === cell ? null : cell;
    if (pinned) pinned.classList.add("pinned");
    tell(pinned);
  };

  document.addEventListener("mouseover", (event) => {
    const cell = event.target.closest("tbody td, thead th");
    if (!pinned) tell(cell && !cell.classList.contains("verdict") ? cell : null);
  });
  document.addEventListener("click", (event) => {
    const cell = event.target.closest("tbody td");
    if (cell && cell.title) pin(cell);
  });
  document.addEventListener("focusin", (event) => { if (!pinned) tell(event.target.closest("tbody td")); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && event.target !== filter) { filter.focus(); event.preventDefault(); return; }
    if (event.key === "Escape") { if (pinned) pin(pinned); panel.hidden = true; return; }
    const cell = event.target.closest("tbody td");
    if (!cell) return;
    const visible = [...cell.closest("tbody").rows].filter((row) => !row.hidden);
    const [y, x] = [visible.indexOf(cell.parentElement), entries(cell.parentElement).indexOf(cell)];
    const to = { ArrowUp: [y - 1, x], ArrowDown: [y + 1, x], ArrowLeft: [y, x - 1], ArrowRight: [y, x + 1],
      Home: [y, 0], End: [y, entries(cell.parentElement).length - 1] }[event.key];
    if (event.key === "Enter" || event.key === " ") { pin(cell); event.preventDefault(); return; }
    const next = to && visible[to[0]] && entries(visible[to[0]])[to[1]];
    if (!to) return;
    event.preventDefault();
    if (!next) return;
    cell.removeAttribute("tabindex");
    next.tabIndex = 0;
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
  });

  document.getElementById("tools").addEventListener("submit", (event) => event.preventDefault());
  filter.addEventListener("input", select);
  show.addEventListener("change", select);
  // A run without trouble has nothing else to show.
  if (rows.every((row) => plain.has(row.dataset.trend))) show.value = "all";
  select();
})();
