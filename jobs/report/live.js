
(() => {
  // The page of a job that runs: ask whether there are more results, and show them where the reader is.
  const version = document.querySelector("meta[name=version]").content, progress = document.getElementById("progress");
  const all = (selector) => [...document.querySelectorAll(selector)];
  const nameOf = (folded) => `${folded.closest("section")?.getAttribute("aria-labelledby")} ${folded.id} ${
    folded.previousElementSibling?.id} ${folded.firstElementChild.textContent}`;
  const kept = "mnistjobs-page";
  const keep = () => sessionStorage.setItem(kept, JSON.stringify({
    open: all("details[open]").map(nameOf),
    rows: all("tr.configuration").filter((row) => row.nextElementSibling.classList.contains("shown")).map((row) => row.id),
    fields: all("#filter, #matrix-a, #matrix-b").map((field) => [field.id, field.value]),
    checked: all("input:checked").map((field) => field.id),
    top: scrollY,
  }));
  const restore = () => {
    const before = JSON.parse(sessionStorage.getItem(kept) || "null");
    sessionStorage.removeItem(kept);
    if (!before) return;
    all("details").forEach((each) => { if (before.open.includes(nameOf(each))) each.open = true; });
    before.rows.forEach((id) => document.getElementById(id)?.querySelector("button[aria-expanded=false]")?.click());
    before.checked.forEach((id) => { const field = document.getElementById(id); if (field && !field.checked) field.click(); });
    before.fields.forEach(([id, value]) => {
      const field = document.getElementById(id);
      if (!field || field.value === value) return;
      if (field.options && !all(`#${id} option`).some((option) => option.value === value)) return;
      field.value = value;
      field.dispatchEvent(new Event(field.options ? "change" : "input"));
    });
    scrollTo(0, before.top);
  };
  restore();
  let failures = 0;
  const look = async () => {
    try {
      const answer = await fetch(`/state${location.search}`, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.status);
      const state = await answer.json();
      failures = 0;
      if (state.version !== version) { keep(); location.reload(); return; }
      progress.textContent = state.progress;
    } catch {
      failures += 1;
      if (failures === 3) {
        progress.textContent = "The command that serves this page has ended, so the page no longer follows the job.";
        return;
      }
    }
    setTimeout(look, 3000);
  };
  setTimeout(look, 1000);
})();
