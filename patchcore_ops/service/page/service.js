import { drawDistribution } from "./distribution.js";

const TOKEN = "patchcore-token";
const RETRY_MS = 1000;
const LOOK_AGAIN_MS = 5000;

const at = (id) => document.getElementById(id);
const number = (value) => (value === null ? "unknown" : Number(value.toPrecision(4)).toLocaleString("en"));

const percent = (share) => `${Number((100 * share).toPrecision(2))} %`;
// Whole images, unless there are few.
const count = (value) => (value < 10 ? number(value) : Math.round(value).toLocaleString("en"));

let models = [];
let chosen = null; // The image, and its URL for the page.
let asked = 0; // Answers to earlier questions are ignored.

class Problem extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

async function ask(path, options = {}) {
  const headers = { Accept: "application/json", ...options.headers };
  const token = sessionStorage.getItem(TOKEN);
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Problem(0, "The service does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer.detail ?? `Status ${response.status}`);
  return answer;
}

function say(sentence) {
  at("status").textContent = sentence;
}

function complain(problem) {
  say("");
  if (problem?.status === 401) {
    at("token-form").hidden = false;
    at("choice").hidden = true;
    at("result").hidden = true;
    const refused = sessionStorage.getItem(TOKEN) !== null;
    sessionStorage.removeItem(TOKEN);
    at("token").focus();
    if (!refused) return;
    problem = { message: "The service does not know this token." };
  }
  at("problem").hidden = !problem;
  at("problem").textContent = problem ? problem.message : "";
}

async function listModels() {
  let found;
  try {
    found = (await ask("v1/models")).models;
  } catch (problem) {
    complain(problem);
    return;
  }
  at("token-form").hidden = true;
  if (found.length === 0) {
    say("The models are being loaded …");
    setTimeout(listModels, RETRY_MS);
    return;
  }
  if (at("choice").hidden) complain(null);
  at("choice").hidden = false;
  const names = ({ category }) => category;
  const isNew = found.map(names).join("/") !== models.map(names).join("/");
  models = found;
  if (isNew) {
    const before = at("category").value;
    at("category").replaceChildren(...models.map(({ category }) => new Option(category, category)));
    if (models.some(({ category }) => category === before)) at("category").value = before;
    describe(chosenModel());
  }
  waitForOthers();
}

// Other models may be loaded later than the first one.
async function waitForOthers() {
  try {
    await ask("health/ready");
  } catch (problem) {
    if (problem.status === 503) setTimeout(listModels, LOOK_AGAIN_MS);
  }
}

function chosenModel() {
  return models.find(({ category }) => category === at("category").value);
}

function describe(model) {
  const asked = model.false_positive_rate;
  const kept = model.guaranteed_rate ?? asked;
  at("about-model").textContent =
    model.image_threshold === null
      ? "This model is not calibrated: it gives a score, but no verdict."
      : `The threshold, ${number(model.image_threshold)}, rests on ${model.normal_images} normal images: ` +
        `of new ones at most ${percent(kept)} exceed it on average` +
        (kept > asked ? ` (${percent(asked)} was asked for; that takes more images).` : ".");
}

function choose(file) {
  if (!file) return;
  if (chosen) URL.revokeObjectURL(chosen.url);
  chosen = { file, url: URL.createObjectURL(file) };
  at("file-name").textContent = file.name;
  inspect();
}

async function inspect() {
  if (!chosen) return;
  const category = at("category").value;
  const question = ++asked;
  complain(null);
  say(`${chosen.file.name} is being inspected …`);
  const path = `v1/models/${encodeURIComponent(category)}`;
  try {
    const query = new URLSearchParams({ heat_map: "true", name: chosen.file.name.slice(0, 256) });
    const [answer, details] = await Promise.all([
      ask(`${path}/predict?${query}`, {
        method: "POST",
        headers: { "Content-Type": "application/octet-stream" },
        body: chosen.file,
      }),
      ask(path),
    ]);
    if (question === asked) show(answer, details);
  } catch (problem) {
    if (question !== asked) return;
    at("result").hidden = true;
    complain(problem);
  }
}

function show(answer, details) {
  say("");
  describe(details); // The model may be a newer one.
  const kind = { true: "anomaly", false: "normal", null: "unknown" }[answer.is_anomaly];
  const verdict = at("verdict");
  verdict.className = `verdict ${kind}`;
  verdict.textContent = { anomaly: "✗ Anomaly", normal: "✓ Normal", unknown: "No verdict" }[kind];
  const highest = details.normal_scores.at(-1);
  at("verdict-text").textContent =
    answer.p_value === null
      ? "The model is not calibrated."
      : `Of 1,000 normal images, ${answer.score > highest ? "at most about" : "about"} ` +
        `${count(1000 * answer.p_value)} would have such a score or a greater one.`;
  figures([
    ["Score", number(answer.score)],
    ["Threshold", number(details.image_threshold)],
    ["p-value", number(answer.p_value)],
    ...(answer.probability === null ? [] : [["Probability of a defect", number(answer.probability)]]),
    ["Image", `${answer.image_size.join(" × ")}`],
    ["Model", answer.model_version.slice(0, 12), "small"],
  ]);
  distribution(answer, details, kind);
  picture(answer);
  at("result").hidden = false;
  verdict.focus({ preventScroll: true });
  verdict.scrollIntoView({ block: "nearest" });
}

function figures(pairs) {
  at("figures").replaceChildren(
    ...pairs.map(([name, value, kind]) => {
      const group = document.createElement("div");
      const term = document.createElement("dt");
      const definition = document.createElement("dd");
      term.textContent = name;
      definition.textContent = value;
      if (kind) definition.className = kind;
      group.append(term, definition);
      return group;
    }),
  );
}

function distribution(answer, details, kind) {
  const scores = details.normal_scores;
  at("distribution").hidden = scores.length === 0;
  if (scores.length === 0) return;
  const lower = scores.filter((score) => score < answer.score).length;
  at("chart").replaceChildren(drawDistribution(scores, details.image_threshold, answer.score, kind));
  at("chart-text").textContent =
    `Bars: scores of ${scores.length} normal images, ${lower} of them lower than this image's. ` +
    "Dashed: the threshold.";
}

function picture(answer) {
  const [width, height] = answer.image_size;
  const stack = at("stack");
  stack.style.aspectRatio = `${width} / ${height}`;
  const image = at("image");
  at("not-shown").hidden = true;
  image.hidden = false;
  image.onerror = () => {
    image.hidden = true;
    at("not-shown").hidden = false;
  };
  image.alt = `The image ${answer.name}`;
  image.src = chosen.url;
  at("heat").src = `data:image/png;base64,${answer.heat_map}`;
  const boxes = at("boxes");
  boxes.setAttribute("viewBox", `0 0 ${width} ${height}`);
  boxes.replaceChildren(
    ...answer.regions.map(({ box: [left, top, right, bottom] }) => {
      const shape = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      const place = { x: left, y: top, width: right - left, height: bottom - top };
      for (const [name, value] of Object.entries(place)) shape.setAttribute(name, value);
      return shape;
    }),
  );
  regions(answer);
}

function regions(answer) {
  if (answer.regions.length === 0) {
    const none = document.createElement("p");
    none.className = "quiet";
    none.textContent =
      answer.is_anomaly === null ? "Without a threshold there are no regions." : "No region is above the pixel threshold.";
    at("regions").replaceChildren(none);
    return;
  }
  const table = document.createElement("table");
  table.createCaption().textContent = `Regions above the pixel threshold: ${answer.regions.length}`;
  const head = table.createTHead().insertRow();
  for (const name of ["Left, top", "Size", "Area", "Peak"]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = name;
    head.append(cell);
  }
  const body = table.createTBody();
  for (const { box: [left, top, right, bottom], area, peak } of answer.regions) {
    const row = body.insertRow();
    for (const text of [`${left}, ${top}`, `${right - left} × ${bottom - top}`, number(area), number(peak)])
      row.insertCell().textContent = text;
  }
  at("regions").replaceChildren(table);
}

function setOpacity() {
  const share = at("opacity").value;
  at("heat").style.opacity = share / 100;
  at("opacity-value").textContent = `${share} %`;
}

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(TOKEN, at("token").value.trim());
  at("token").value = "";
  listModels();
});
at("category").addEventListener("change", () => {
  describe(chosenModel());
  inspect();
});
for (const id of ["file", "photo"]) {
  at(id).addEventListener("change", (event) => {
    choose(event.target.files[0]);
    event.target.value = ""; // So that the same file can be chosen again.
  });
}
at("opacity").addEventListener("input", setOpacity);
at("show-boxes").addEventListener("change", (event) => {
  at("boxes").style.visibility = event.target.checked ? "visible" : "hidden";
});
document.addEventListener("paste", (event) => choose(event.clipboardData?.files[0]));
// A file that misses the field must not replace the page.
for (const kind of ["dragover", "drop"]) document.addEventListener(kind, (event) => event.preventDefault());
document.addEventListener("dragover", () => at("drop").classList.add("over"));
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) at("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  at("drop").classList.remove("over");
  if (!at("choice").hidden) choose(event.dataTransfer.files[0]);
});
listModels();
