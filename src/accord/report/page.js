"use strict";
(() => {
  const page = document.documentElement, at = name => document.getElementById(name);
  const seen = new Map([...document.querySelectorAll("main > *")].map(section => [section.id, section.innerHTML]));
  page.classList.add("scripted");

  // choices of language and colours outlive the page
  for (const kind of ["language", "theme"]) {
    const inputs = [...document.querySelectorAll(`input[name="${kind}"]`)];
    if (kind === "language" && !page.dataset.chosen && /^zh\b/i.test(navigator.language)) at("language-zh").checked = true; // the browser's, until one is chosen
    try {
      const kept = localStorage.getItem(`accord-${kind}`);
      inputs.forEach(input => { if (input.id === kept) input.checked = true; });
    } catch { /* a file may have no storage */ }
    const follow = () => { if (kind === "language") page.lang = at("language-zh").checked ? "zh-Hans" : "en"; };
    inputs.forEach(input => input.addEventListener("change", () => {
      try { localStorage.setItem(`accord-${kind}`, input.id); } catch { /* likewise */ }
      follow();
    }));
    follow();
  }

  // samples: search and filter
  const STEP = 24;
  let shown = STEP;
  const texts = new WeakMap();
  const text = piece => {
    if (!texts.has(piece)) texts.set(piece, piece.textContent.toLowerCase());
    return texts.get(piece);
  };
  const filter = () => {
    const form = at("controls");
    if (!form) return;
    const words = at("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chosen = {};
    form.querySelectorAll('input[type="radio"]:checked').forEach(input => { chosen[input.name] = input.value; });
    let found = 0;
    const pieces = at("pieces").children;
    for (const piece of pieces) {
      const kept = Object.entries(chosen).every(([name, value]) => !value || piece.dataset[name] === value)
        && words.every(word => text(piece).includes(word));
      found += kept;
      piece.hidden = !kept || found > shown;
    }
    at("count").textContent = `${Math.min(found, shown)} / ${found}`;
    at("more").hidden = found <= shown;
  };
  const again = () => { shown = STEP; filter(); };
  document.addEventListener("input", event => { if (event.target.closest("#controls")) again(); });
  document.addEventListener("submit", event => event.preventDefault());
  document.addEventListener("click", event => { if (event.target.closest("#more")) { shown += STEP; filter(); } });
  filter();

  // curves: the values where the pointer is
  const pointed = event => {
    const svg = event.target.closest?.("svg[data-points]");
    for (const old of document.querySelectorAll(".hover")) if (!svg || !svg.parentElement.contains(old)) old.remove();
    if (!svg) return;
    const across = (event.clientX - svg.getBoundingClientRect().left) / svg.getBoundingClientRect().width * svg.viewBox.baseVal.width;
    const names = (svg.dataset.lines || "").split(" "); // of lines that the choice of runs may hide
    const near = JSON.parse(svg.dataset.points).filter((line, n) => line.length && (!names[n] || svg.querySelector(`.${names[n]}`).getClientRects().length))
      .map(line => line.reduce((best, point) => Math.abs(point[0] - across) < Math.abs(best[0] - across) ? point : best));
    const told = svg.parentElement.querySelector(".hover") || svg.parentElement.insertBefore(document.createElement("output"), svg.nextSibling);
    told.className = "hover";
    told.textContent = near.length ? `${near[0][2]}: ${near.map(point => point[3]).join(" · ")}` : "";
  };
  document.addEventListener("pointermove", pointed);
  document.addEventListener("pointerdown", pointed);

  // a definition that is pointed to is shown even when it is folded away
  const open = () => {
    const target = location.hash && at(decodeURIComponent(location.hash.slice(1)));
    for (let around = target; around; around = around.parentElement) if (around.tagName === "DETAILS") around.open = true;
  };
  addEventListener("hashchange", open);
  open();

  // live: take over the sections that have changed; what the reader opened or typed stays
  let state = page.dataset.live;
  const typed = section => [...section.querySelectorAll("input")].map(input => [input.value, input.checked]);
  const renew = async () => {
    const fresh = new DOMParser().parseFromString(await (await fetch(location.pathname)).text(), "text/html");
    for (const section of fresh.querySelectorAll("main > *")) {
      const old = section.id ? at(section.id) : null;
      if (!old) { location.reload(); return; }
      const written = section.innerHTML;
      if (seen.get(section.id) === written || old.contains(document.activeElement)) continue;
      seen.set(section.id, written);
      const opened = [...old.querySelectorAll("details")].map(each => each.open), values = typed(old);
      old.replaceWith(section);
      section.querySelectorAll("details").forEach((each, n) => { each.open = opened[n] ?? each.open; });
      const inputs = [...section.querySelectorAll("input")];
      if (inputs.length === values.length) inputs.forEach((input, n) => { [input.value, input.checked] = values[n]; });
    }
    filter();
  };
  const look = async () => {
    try {
      const now = (await (await fetch(`${location.pathname.replace(/\/$/, "")}/state`)).json()).state;
      if (now !== state) { await renew(); state = now; }
      page.dataset.reached = "yes";
    } catch { page.dataset.reached = "no"; }
    setTimeout(look, 2000);
  };
  if (state) setTimeout(look, 2000);
})();
