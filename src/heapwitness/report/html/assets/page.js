"use strict";
(() => {
  const all = (where, what) => Array.from(where.querySelectorAll(what));

  /* --- the filter --- */
  const form = document.querySelector(".filter");
  if (form) {
    const field = form.querySelector("input[type=search]");
    const kinds = all(form, "input[type=checkbox]");
    const findings = all(document, ".finding");
    const shown = form.querySelector(".shown");
    const apply = () => {
      const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
      const wanted = new Set(kinds.filter((one) => one.checked).map((one) => one.value));
      let count = 0;
      for (const one of findings) {
        const fits = wanted.has(one.dataset.kind) && words.every((word) => one.dataset.words.includes(word));
        one.hidden = !fits;
        count += fits;
      }
      shown.textContent = count === findings.length ? "" : count + " of " + findings.length + " shown";
    };
    form.hidden = false;
    form.addEventListener("input", apply);
    form.addEventListener("submit", (event) => event.preventDefault());
    /* Alt with a click on a kind shows that one alone. */
    form.addEventListener("click", (event) => {
      const chip = event.target.closest(".chip");
      if (!chip || !event.altKey) return;
      event.preventDefault();
      const mine = chip.querySelector("input");
      kinds.forEach((one) => { one.checked = one === mine; });
      apply();
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && !/^(input|select|textarea)$/i.test(event.target.tagName)) {
        event.preventDefault();
        field.focus();
      }
    });
  }
  if (location.hash.startsWith("#finding-")) {
    const asked = document.getElementById(location.hash.slice(1));
    if (asked) { asked.open = true; asked.scrollIntoView(); }
  }

  /* --- the bytes --- */
  const signed = (number) => (number > 0 ? "+" : "") + number.toLocaleString("en");
  const told = (cell) => {
    const row = cell.parentElement, picture = cell.closest(".picture"), place = picture.querySelector(".told");
    const number = all(row, ".b").indexOf(cell);
    const digits = cell.firstChild.textContent, should = cell.querySelector("i");
    const at = Number(row.dataset.at) + number;
    const value = parseInt(digits, 16);
    const character = value >= 32 && value < 127 ? " (" + JSON.stringify(String.fromCharCode(value)) + ")" : "";
    const origin = place.dataset.origin;
    const where = place.dataset.absolute ? "0x" + at.toString(16) : signed(at) + " " + origin;
    const part = /p-(\S*)/.exec(row.className);
    const right = cell.classList.contains("x")
      ? should ? ", should be " + should.textContent : ", overwritten; nothing vouches for what it was"
      : "";
    place.textContent = where + ": " + digits + character + right + (part && part[1] ? "; " + part[1] : "");
  };
  for (const table of all(document, ".bytes")) {
    const cells = all(table, ".b");
    if (!cells.length) continue;
    const first = cells.find((one) => one.classList.contains("x")) || cells[0];
    first.tabIndex = 0;
    const hint = table.closest(".picture").querySelector(".told");
    hint.textContent = "Point at a byte, or go there with Tab and the arrow keys, to read what it is.";
    hint.hidden = false;
    table.addEventListener("mouseover", (event) => { if (event.target.closest(".b")) told(event.target.closest(".b")); });
    table.addEventListener("focusin", (event) => { if (event.target.classList.contains("b")) told(event.target); });
    table.addEventListener("click", (event) => { const cell = event.target.closest(".b"); if (cell) go(cell); });
    const go = (cell) => {
      cells.forEach((one) => one.removeAttribute("tabindex"));
      cell.tabIndex = 0;
      cell.focus();
    };
    table.addEventListener("keydown", (event) => {
      const number = cells.indexOf(document.activeElement);
      if (number < 0 || !event.key.startsWith("Arrow")) return;
      event.preventDefault();
      const row = all(cells[number].parentElement, ".b"), rows = all(table, "tr").map((one) => all(one, ".b")).filter((one) => one.length);
      const line = rows.findIndex((one) => one[0] === row[0]), column = row.indexOf(cells[number]);
      const other = rows[line + { ArrowUp: -1, ArrowDown: 1, ArrowLeft: 0, ArrowRight: 0 }[event.key]];
      if (event.key === "ArrowLeft") go(cells[Math.max(0, number - 1)]);
      else if (event.key === "ArrowRight") go(cells[Math.min(cells.length - 1, number + 1)]);
      else if (other) go(other[Math.min(column, other.length - 1)]);
    });
  }

  /* --- paper has everything --- */
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = all(document, "details:not([open])");
    closed.forEach((one) => { one.open = true; });
  });
  addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));
})();
