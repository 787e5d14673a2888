/** The panel beside the image: faces, groups, the table of points, and details of the answer. */

import { colourOf } from "./tracks.js";
import { isDoubtful, sigmas } from "./uncertainty.js";

export const byId = (id) => document.getElementById(id);

/** An element with children. Values that are text become attributes, others properties. */
export function make(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "string") node.setAttribute(key, value);
    else node[key] = value;
  }
  node.append(...children);
  return node;
}

export const pixels = (value) => value.toFixed(2);
export const swatch = () => make("span", { class: "swatch" });
export const displayName = (name) => name.replaceAll("_", " ");

/** One point in words. */
export function describePoint(layout, face, index) {
  const { major, minor } = sigmas(face.covariances[index]);
  const [x, y] = face.points[index].map(pixels);
  return {
    name: displayName(layout.points[index]),
    position: `x ${x}  y ${y}`,
    uncertainty: `score ${face.scores[index].toFixed(2)}  σ ${pixels(major)} × ${pixels(minor)} px${seen(face, index)}`,
  };
}

const seen = ({ visibility }, index) => (visibility ? `  seen ${visibility[index].toFixed(2)}` : "");

// ---------------------------------------------------------------- faces

/** The name of a face by its number in the video, or by its place in the answer. */
export const faceName = ({ id }, index) => `Face ${id ?? index + 1}`;

/**
 * The list of faces. Without `remove` they cannot be removed. Faces of a video that are not in the frame have nothing
 * but their id.
 */
export function showFaces(list, layout, faces, selected, { select, zoom, remove }) {
  const focused = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(
    ...faces.map((face, index) => {
      const name = faceName(face, index);
      const isDoubted = isDoubtful(face);
      const title = make("strong", {}, ...mark(face), isDoubted ? `${name}, perhaps not a face` : name);
      const kind = isDoubted || isAbsent(face) ? "face doubtful" : "face";
      const pressed = { type: "button", class: kind, "aria-pressed": String(face === selected) };
      const button = make("button", { ...pressed, onclick: () => select(face) }, title, faceSummary(layout, face));
      const buttons = [button, iconButton("#target", `Zoom to ${name}`, () => zoom(face))];
      if (remove) buttons.push(iconButton("#cross", `Remove ${name}`, () => remove(face)));
      return make("li", {}, ...buttons);
    }),
  );
  list.querySelectorAll("button")[focused]?.focus({ preventScroll: true });
}

const isAbsent = ({ points }) => points === undefined;
const mark = ({ id }) => (id ? [make("span", { class: "swatch", "data-track": colourOf(id) })] : []);

function faceSummary(layout, face) {
  if (isAbsent(face)) return make("span", { class: "figure quiet" }, "not in this frame");
  const { score, inter_ocular: distance, box_source: source, box_score: boxScore } = face;
  const box = source === "given" ? "box given" : `box ${boxScore.toFixed(2)}`;
  const size = `${layout.inter_ocular ? "eyes" : "size"} ${distance.toFixed(1)} px`;
  return make("span", { class: "figure quiet" }, `score ${score.toFixed(2)} · ${size} · ${box}`);
}

/** A button with one of the icons in index.html. */
function iconButton(icon, label, onclick) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  drawing.setAttribute("aria-hidden", "true");
  drawing.appendChild(document.createElementNS("http://www.w3.org/2000/svg", "use")).setAttribute("href", icon);
  return make("button", { type: "button", class: "icon", "aria-label": label, title: label, onclick }, drawing);
}

export function showGroups(node, layout, shown, toggle) {
  node.replaceChildren(
    ...Object.entries(layout.groups).map(([group, members]) =>
      make(
        "label",
        { "data-group": group },
        checkbox(shown.has(group), (isOn) => toggle(group, isOn)),
        swatch(),
        `${displayName(group)} `,
        make("span", { class: "figure quiet" }, String(members.length)),
      ),
    ),
  );
}

function checkbox(checked, change) {
  return make("input", { type: "checkbox", checked, onchange: ({ target }) => change(target.checked) });
}

// ---------------------------------------------------------------- points

/** The table of points. One row is in the tab order; arrow keys move from row to row. */
export class PointTable {
  constructor(table, layout, { select, enter }) {
    this.body = table.tBodies[0];
    this.headers = [...table.tHead.rows[0].cells];
    this.groupOf = Object.fromEntries(Object.entries(layout.groups).flatMap(([g, all]) => all.map((i) => [i, g])));
    this.rows = layout.points.map((name, index) => pointRow(name, index, this.groupOf[index]));
    this.order = { by: "index", descending: false };
    this.body.replaceChildren(...this.rows);
    this.body.addEventListener("focusin", (event) => select(indexOf(event.target)));
    this.body.addEventListener("click", (event) => event.target.closest("tr").focus());
    this.body.addEventListener("dblclick", (event) => enter(indexOf(event.target)));
    this.body.addEventListener("keydown", (event) => this.#key(event, enter));
    table.tHead.addEventListener("click", (event) => this.#sortBy(event.target.closest("button")?.dataset.sort));
    this.rows[0].tabIndex = 0;
  }

  show(face, groups) {
    this.rows.forEach((row, index) => {
      const values = face ? pointValues(face, index) : ["", "", "", ""];
      values.forEach((value, column) => (row.cells[column + 2].textContent = value));
      row.hidden = !groups.has(row.dataset.group);
    });
    this.face = face;
    this.#arrange();
  }

  /** Marks a row and scrolls it into view; null marks none. */
  mark(index) {
    for (const row of this.rows) row.setAttribute("aria-selected", String(Number(row.dataset.index) === index));
    if (index === null) return;
    for (const row of this.rows) row.tabIndex = Number(row.dataset.index) === index ? 0 : -1;
    scrollInside(this.body.closest("#table-frame"), this.rows[index]);
  }

  #key(event, enter) {
    if (event.key === "Enter") enter(indexOf(event.target));
    const shown = [...this.body.rows].filter((row) => !row.hidden);
    const here = shown.indexOf(event.target.closest("tr"));
    const there = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: shown.length - 1 }[event.key];
    if (there === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    shown[Math.min(Math.max(there, 0), shown.length - 1)].focus();
  }

  #sortBy(by) {
    if (!by) return;
    // the most uncertain first: the lowest score, the largest sigma
    const descending = by === this.order.by ? !this.order.descending : by === "sigma";
    this.order = { by, descending };
    for (const header of this.headers) {
      const isThis = header.querySelector("button")?.dataset.sort === by;
      if (isThis) header.setAttribute("aria-sort", this.order.descending ? "descending" : "ascending");
      else header.removeAttribute("aria-sort");
    }
    this.#arrange();
  }

  #arrange() {
    const { face } = this;
    const { by, descending } = this.order;
    const keys = {
      index: (i) => i,
      score: (i) => face?.scores[i] ?? i,
      sigma: (i) => (face ? sigmas(face.covariances[i]).major : i),
    };
    const key = (row) => keys[by](Number(row.dataset.index)) * (descending ? -1 : 1);
    const sorted = this.rows.toSorted((a, b) => key(a) - key(b));
    if (sorted.every((row, index) => this.body.rows[index] === row)) return;
    const focused = this.body.contains(document.activeElement) ? document.activeElement : null;
    this.body.replaceChildren(...sorted);
    focused?.focus({ preventScroll: true });
  }
}

const indexOf = (node) => Number(node.closest("tr").dataset.index);

function pointRow(name, index, group) {
  const row = make("tr", { tabindex: "-1", "data-index": String(index), "data-group": group });
  row.append(make("td", { class: "figure" }, String(index)));
  row.append(make("th", { scope: "row" }, swatch(), displayName(name)));
  for (let column = 0; column < 4; column++) row.append(make("td", { class: "figure" }));
  return row;
}

function pointValues(face, index) {
  const [x, y] = face.points[index];
  return [pixels(x), pixels(y), face.scores[index].toFixed(2), pixels(sigmas(face.covariances[index]).major)];
}

/** Scrolls only the frame: the browser's scrollIntoView would also scroll the page on a phone. */
function scrollInside(frame, row) {
  const head = frame.querySelector("thead").offsetHeight;
  const [top, bottom] = [row.offsetTop - head, row.offsetTop + row.offsetHeight];
  if (top < frame.scrollTop) frame.scrollTop = top;
  else if (bottom > frame.scrollTop + frame.clientHeight) frame.scrollTop = bottom - frame.clientHeight;
}

// ---------------------------------------------------------------- answer

export function showTimings(node, timings, roundTrip) {
  const stages = Object.entries(timings).filter(([stage]) => stage !== "total");
  const longest = Math.max(...stages.map(([, spent]) => spent), 0.001);
  const rows = stages.map(([stage, spent]) => {
    const bar = make("span", { class: "bar" });
    bar.style.width = `${(spent / longest) * 100}%`;
    const time = make("span", { class: "figure" }, `${spent.toFixed(1)} ms`);
    return [make("span", {}, stage), make("span", { class: "track" }, bar), time];
  });
  const total = `${timings.total.toFixed(1)} ms in the service, ${roundTrip.toFixed(0)} ms with the network`;
  node.replaceChildren(...rows.flat(), make("p", { class: "quiet" }, total));
}

export function showFacts(node, { model, image, request_id }) {
  const facts = {
    Image: `${image.width} × ${image.height} px`,
    Model: `${model.name}, version ${model.version}`,
    Provenance: model.provenance,
    Request: request_id,
  };
  const rows = Object.entries(facts).map(([name, text]) => [make("dt", {}, name), make("dd", { title: text }, text)]);
  node.replaceChildren(...rows.flat());
}
