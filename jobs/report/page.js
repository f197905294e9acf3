"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  document.documentElement.classList.add("js");

  // What a mark stands for: on hover, and where it has the focus.
  const tip = document.createElement("div");
  tip.className = "tip";
  tip.setAttribute("role", "tooltip");
  tip.id = "tip";
  tip.hidden = true;
  document.body.append(tip);
  const marked = (target) => target.closest && target.closest(
    "[data-tip], .confusion tbody td, .forest .bars, .chart [role=graphics-symbol][aria-label]");
  const textOf = (mark) => {
    if (mark.matches(".matrix td")) return `${mark.parentElement.rowIndex - 1} predicted as ${mark.cellIndex - 1}: ${mark.dataset.n || 0}`;
    if (mark.matches(".bars")) {
      const row = mark.parentElement, text = (name) => row.querySelector(name).textContent.trim();
      return text(".number") && `${text(".label")}: ${text(".number")} points`;
    }
    return mark.dataset.tip || mark.getAttribute("aria-label");
  };
  const show = (target) => {
    const mark = marked(target), text = mark && textOf(mark);
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const box = mark.getBoundingClientRect();
    const left = Math.min(box.left + scrollX, scrollX + document.documentElement.clientWidth - tip.offsetWidth - 8);
    tip.style.left = `${Math.max(left, 4)}px`;
    tip.style.top = `${box.bottom + scrollY + 6}px`;
  };
  document.addEventListener("pointerover", (event) => show(event.target));
  document.addEventListener("focusin", (event) => show(event.target));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });

  // The table of configurations: sorted, filtered, and opened row by row.
  const table = document.getElementById("configuration-table");
  if (table) {
    const body = table.tBodies[0];
    const pairs = all("tr.configuration", body).map((row) => [row, row.nextElementSibling]);
    const value = (row, column) => {
      const text = row.cells[column].dataset.v;
      return text === undefined ? row.cells[column].textContent.trim().toLowerCase() : Number(text);
    };
    all("thead th[data-sort]", table).forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const down = head.getAttribute("aria-sort") === "descending";
        all("th[aria-sort]", table).forEach((each) => each.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "ascending" : "descending");
        const column = head.cellIndex, sign = down ? 1 : -1;
        pairs.sort(([a], [b]) => {
          const [x, y] = [value(a, column), value(b, column)];
          return sign * (x < y ? -1 : x > y ? 1 : 0);
        });
        pairs.forEach((pair) => body.append(...pair));
      });
    });
    const toggle = (button, shown) => {
      const detail = button.closest("tr").nextElementSibling;
      detail.classList.toggle("shown", shown);
      button.setAttribute("aria-expanded", String(shown));
    };
    all(".name", table).forEach((cell) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "open-row";
      button.setAttribute("aria-expanded", "false");
      button.append(...cell.childNodes);
      cell.append(button);
      button.addEventListener("click", () => toggle(button, button.getAttribute("aria-expanded") === "false"));
    });
    const filter = document.getElementById("filter"), count = document.getElementById("filter-count");
    if (filter) filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/);
      let shown = 0;
      pairs.forEach(([row, detail]) => {
        const text = row.cells[0].textContent.toLowerCase();
        const fits = words.every((word) => text.includes(word));
        row.hidden = detail.hidden = !fits;
        shown += fits;
      });
      count.textContent = `${shown} of ${pairs.length} configurations`;
    });
  }

  // Links into folded parts unfold them.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    if (target.tagName === "TR") { const button = target.querySelector("button[aria-expanded=false]"); if (button) button.click(); }
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();

  // Training curves: the means at the epoch under the pointer, or at the one chosen with the arrow keys.
  all(".chart[data-means]").forEach((figure) => {
    const means = JSON.parse(figure.dataset.means), first = Number(figure.dataset.first);
    const last = Number(figure.dataset.last), reading = figure.querySelector(".reading");
    const svg = figure.querySelector("svg");
    let epoch = last;
    const read = () => {
      const parts = Object.entries(means).map(([name, values]) => {
        const value = values[epoch - first];
        return `${name} ${value === null || value === undefined ? "–" : Number(value.toPrecision(4))}`;
      });
      reading.textContent = `epoch ${epoch}: ${parts.join(", ")}`;
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), view = svg.viewBox.baseVal;
      const x = (event.clientX - box.left) * view.width / box.width - Number(figure.dataset.left);
      const share = Math.min(1, Math.max(0, x / Number(figure.dataset.width)));
      epoch = Math.round(first + share * (Math.max(last, first + 1) - first));
      epoch = Math.min(epoch, last);
      read();
    });
    figure.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      epoch = Math.min(last, Math.max(first, epoch + step));
      read();
    });
  });

  // Confusion matrices: in percent or in counts; one, or the difference of two.
  const counts = document.getElementById("matrix-counts");
  if (counts) counts.addEventListener("change", () => all(".matrix tbody td").forEach((cell) => {
    cell.dataset.percent ??= cell.textContent;
    cell.textContent = counts.checked ? Number(cell.dataset.n || 0).toLocaleString("en") : cell.dataset.percent;
  }));
  const chosen = document.getElementById("matrix-a"), other = document.getElementById("matrix-b");
  if (chosen) {
    const matrices = all(".matrix"), output = document.getElementById("matrix-difference");
    const cells = (matrix) => all("tbody td", matrix).map((cell) => Number(cell.dataset.n || 0));
    const shares = (counts) => counts.map((n, k) => {
      const row = counts.slice(10 * Math.floor(k / 10), 10 * Math.floor(k / 10) + 10);
      const total = row.reduce((sum, each) => sum + each, 0);
      return total ? 100 * n / total : NaN;
    });
    const draw = () => {
      matrices.forEach((matrix) => { matrix.hidden = matrix.id !== chosen.value && matrix.id !== other.value; });
      output.hidden = !other.value || other.value === chosen.value;
      if (output.hidden) return;
      const [a, b] = [chosen.value, other.value].map((id) => shares(cells(document.getElementById(id))));
      all("tbody td", output).forEach((cell, k) => {
        const difference = a[k] - b[k];
        cell.textContent = Number.isNaN(difference) ? "–" : difference.toFixed(1).replace(/^-(?=0\.0$)/, "").replace("-", "−");
        const right = Math.floor(k / 10) === k % 10;
        cell.className = Math.abs(difference) < 0.5 ? "h0" : (difference > 0) === right ? "less" : "more";
        cell.dataset.tip = `actual ${Math.floor(k / 10)}, predicted ${k % 10}: ${cell.textContent} points`;
      });
    };
    chosen.addEventListener("change", draw);
    other.addEventListener("change", draw);
    draw();
  }
})();
