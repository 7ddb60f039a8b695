"use strict";

(() => {
  document.documentElement.classList.add("scripted");

  const byText = new Intl.Collator("en", { numeric: true }).compare;

  /* Undefined values (an empty data-value) stay last in either direction. */
  function compareCells(a, b, kind, sign) {
    if (kind === "text") return sign * byText(a.textContent.trim(), b.textContent.trim());
    const [left, right] = [a.dataset.value, b.dataset.value];
    if (left === "" || right === "") return (left === "") - (right === "");
    return sign * (Number(left) - Number(right));
  }

  function sortBy(table, header) {
    const kind = header.dataset.sort;
    const first = kind === "text" ? "ascending" : "descending";
    const second = kind === "text" ? "descending" : "ascending";
    const direction = header.getAttribute("aria-sort") === first ? second : first;
    for (const other of table.querySelectorAll("th[aria-sort]")) {
      other.setAttribute("aria-sort", other === header ? direction : "none");
    }
    const sign = direction === "ascending" ? 1 : -1;
    const body = table.tBodies[0];
    const at = header.cellIndex;
    const rows = [...body.rows].sort((a, b) => compareCells(a.cells[at], b.cells[at], kind, sign));
    body.append(...rows);
  }

  function makeSortable(table) {
    for (const header of table.querySelectorAll("th[data-sort]")) {
      const button = header.querySelector("button");
      button.disabled = false;
      button.addEventListener("click", () => sortBy(table, header));
    }
  }

  const orders = {
    highest: (a, b) => Number(b.dataset.score) - Number(a.dataset.score),
    lowest: (a, b) => Number(a.dataset.score) - Number(b.dataset.score),
    name: (a, b) => byText(a.dataset.name, b.dataset.name),
  };

  function makeGallery(gallery, viewer) {
    const list = gallery.querySelector(".cards");
    const status = gallery.querySelector("[role=status]");
    const filters = [...gallery.querySelectorAll(".filters button")];
    const order = gallery.querySelector("select");
    const cards = [...list.children];
    const allShown = status.textContent;

    function filter(chosen) {
      for (const button of filters) button.setAttribute("aria-pressed", String(button === chosen));
      const label = chosen.dataset.filter;
      for (const card of cards) card.hidden = label !== undefined && card.dataset.label !== label;
      const shown = cards.filter((card) => !card.hidden).length;
      status.textContent = label === undefined ? allShown : `${shown} of ${cards.length} shown: ${label}`;
    }

    for (const button of filters) button.addEventListener("click", () => filter(button));
    order.addEventListener("change", () => list.append(...[...cards].sort(orders[order.value])));
    list.addEventListener("click", (event) => {
      const card = event.target.closest(".card");
      if (card) viewer.open([...list.children].filter((other) => !other.hidden), card);
    });
  }

  function makeViewer(dialog) {
    const parts = (name) => [...dialog.querySelectorAll(`[data-viewer="${name}"]`)];
    const part = (name) => parts(name)[0];
    let cards = [];
    let at = 0;

    function copy(from, to, alt) {
      for (const image of to) {
        image.hidden = !from;
        if (from) image.src = from.src;
        image.alt = from ? alt : "";
      }
    }

    function show(index) {
      at = Math.min(Math.max(index, 0), cards.length - 1);
      const card = cards[at];
      const picture = (role) => card.querySelector(`[data-role="${role}"]`);
      const name = card.dataset.name;
      dialog.querySelector("h2").textContent = name;
      part("facts").textContent = [...card.querySelectorAll(".card-label, .card-score, .verdict")]
        .map((element) => element.textContent)
        .join(" · ");
      copy(picture("image"), parts("image"), name);
      copy(picture("image"), parts("truth"), `${name} with its ground truth`);
      copy(picture("heat"), parts("heat"), `Heat map of ${name}`);
      copy(picture("outline"), parts("outline"), "");
      part("truth-text").textContent = card.dataset.truth;
      part("position").textContent = `${at + 1} of ${cards.length}`;
      /* Not `disabled`: that would take the focus away at the ends of the list. */
      part("previous").setAttribute("aria-disabled", String(at === 0));
      part("next").setAttribute("aria-disabled", String(at === cards.length - 1));
    }

    part("previous").addEventListener("click", () => show(at - 1));
    part("next").addEventListener("click", () => show(at + 1));
    part("close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close();
    });
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      show(at + step);
    });
    dialog.addEventListener("close", () => cards[at].querySelector(".enlarge").focus());

    return {
      open(shown, card) {
        cards = shown;
        show(shown.indexOf(card));
        dialog.showModal();
      },
    };
  }

  document.querySelectorAll("[data-sortable]").forEach(makeSortable);
  const dialog = document.getElementById("viewer");
  if (dialog) {
    const viewer = makeViewer(dialog);
    document.querySelectorAll("[data-gallery]").forEach((gallery) => makeGallery(gallery, viewer));
  }
})();
