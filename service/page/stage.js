/** The picture with its drawing and everything beside it, as the state says; and pointing at faces and points. */

import { say } from "./notices.js";
import { Overlay } from "./overlay.js";
import { PointTable, byId, described, make, showFaces, showFacts, showGroups, showTimings, swatch } from "./panel.js";
import { chosenFace, faces, show, state } from "./state.js";
import { Viewer } from "./viewer.js";

const NEAR = 14; // screen units from which a point is meant
const CLOSE_UP = 24; // screen units per picture pixel when zooming to a point

export const viewer = new Viewer(byId("viewer"), byId("canvas"), new Overlay(byId("overlay")));
let table = null;

/** What the points are called and how they belong together: nothing is drawn before. */
export function setLayout(layout) {
  state.layout = layout;
  table = new PointTable(byId("points"), layout, { pick: (index) => choosePoint(index), enter: zoomToPoint });
  for (const id of ["all-groups", "no-groups"]) byId(id).disabled = false;
  showOnly(Object.keys(layout.groups));
}

export function showOnly(groups) {
  show.groups = new Set(groups);
  showGroups(byId("groups"), state.layout, show.groups, (group, isOn) => {
    if (isOn) show.groups.add(group);
    else show.groups.delete(group);
    redraw();
  });
  redraw();
}

// ---------------------------------------------------------------- what is shown

/** Everything anew, after an answer or another choice. `remove` leaves a face out. */
export function refresh() {
  const { file, reply } = state;
  const all = faces();
  byId("face-count").textContent = reply ? String(all.length) : "";
  byId("no-face").hidden = all.length > 0;
  byId("no-face").textContent = reply ? "None found: draw a box around a face." : "None yet.";
  const remove = state.live ? null : (index) => viewer.on.remove(index);
  showFaces(byId("faces"), all, state.face, { choose, zoom: zoomToFace, remove });
  const isOpen = Boolean(file && (file.isShown || reply));
  document.body.classList.toggle("open", isOpen);
  byId("welcome").hidden = isOpen || state.capturing;
  for (const id of ["draw-box", "find"]) byId(id).disabled = !isOpen || state.live;
  byId("find").hidden = state.boxes.length === 0;
  byId("save").hidden = !file?.isFrame;
  byId("copy-curl").hidden = Boolean(file?.isFrame);
  byId("fit-face").disabled = all.length === 0;
  byId("points-of").textContent = all.length > 1 ? `of face ${state.face + 1}` : "";
  for (const id of ["points-section", "answer-section"]) byId(id).hidden = !reply;
  if (reply) {
    showTimings(byId("timings"), reply.answer.timings_ms, reply.milliseconds);
    showFacts(byId("facts"), reply.answer);
  }
  redraw();
}

/** The drawing and the table, after another choice of what is shown. */
export function redraw() {
  if (!state.layout) return;
  viewer.overlay.draw(state.layout, faces(), state.face, show);
  table.show(chosenFace(), show.groups);
  followView();
}

/** What depends on where the picture lies on the screen. */
function followView() {
  const chosen = state.point === null ? null : { face: state.face, point: state.point };
  const marked = state.hovered ?? chosen;
  const face = marked && faces()[marked.face];
  const place = face ? face.points[marked.point] : null;
  viewer.overlay.place(viewer.view, place);
  showTip(place, face, marked?.point);
  byId("zoom").textContent = `${viewer.percent.toFixed(viewer.percent < 10 ? 1 : 0)} %`;
}

function showTip(place, face, point) {
  const tip = byId("tip");
  tip.hidden = !place;
  if (!place) return;
  const { name, where, certainty } = described(state.layout, face, point);
  const title = make("strong", { "data-group": table.groupOf[point] }, swatch(), `${point} ${name}`);
  tip.replaceChildren(title, make("span", {}, where), make("span", {}, certainty));
  const { width, height } = viewer.view.window;
  const at = beside(viewer.view.toScreen(place), [tip.offsetWidth, tip.offsetHeight], [width, height]);
  tip.style.transform = `translate(${at.join("px, ")}px)`;
}

/** Where a thing of this size goes that must not cover the place: right of it, else left, else above or below. */
function beside([x, y], [w, h], [width, height]) {
  const within = (at, size, most) => Math.min(Math.max(at, 6), most - size - 6);
  if (x + 22 + w < width) return [x + 22, within(y - h / 2, h, height)];
  if (x - 22 - w > 0) return [x - 22 - w, within(y - h / 2, h, height)];
  return [within(x - w / 2, w, width), y - 22 - h > 0 ? y - 22 - h : y + 22];
}

// ---------------------------------------------------------------- pointing

function hover(place) {
  state.hovered = place && nearest(place);
  viewer.node.classList.toggle("over", Boolean(state.hovered));
  const colour = place && state.file && viewer.colour(place);
  const values = colour ? `  rgb ${colour.join(" ")}` : "";
  const where = place && state.file ? `x ${place[0].toFixed(2)}  y ${place[1].toFixed(2)}` : "";
  byId("readout").textContent = where + values;
  followView();
}

/** {face, point} nearest to a place among the shown groups, or null when none is near. */
function nearest(place) {
  if (!state.layout) return null;
  const shown = [...show.groups].flatMap((group) => state.layout.groups[group]);
  let best = null;
  let least = NEAR / viewer.view.scale;
  faces().forEach(({ points }, face) => {
    for (const point of shown) {
      const distance = Math.hypot(points[point][0] - place[0], points[point][1] - place[1]);
      if (distance < least) [best, least] = [{ face, point }, distance];
    }
  });
  return best;
}

function pick(place) {
  const found = nearest(place);
  const inside = faces().findIndex(({ box }) => isInside(place, box));
  if (found) {
    if (found.face !== state.face) choose(found.face);
    choosePoint(found.point);
  } else if (inside >= 0 && inside !== state.face) choose(inside);
  else choosePoint(null);
}

const isInside = ([x, y], box) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];

export function choose(face) {
  const wasInList = byId("faces").contains(document.activeElement);
  state.face = face;
  refresh();
  const item = byId("faces").children[face];
  item?.scrollIntoView({ block: "nearest" });
  if (wasInList) item?.querySelector("button").focus();
  say(`Face ${face + 1} of ${faces().length}.`);
}

export function choosePoint(point, { announce = false } = {}) {
  state.point = point;
  table?.mark(point);
  followView();
  if (announce && chosenFace()) say(Object.values(described(state.layout, chosenFace(), point)).join(", "));
}

export function zoomToPoint(point) {
  choosePoint(point);
  if (chosenFace()) viewer.centre(chosenFace().points[point], Math.max(viewer.view.scale, CLOSE_UP));
}

export function zoomToFace(index = state.face) {
  if (!faces()[index]) return;
  if (index !== state.face) choose(index);
  const { box, points } = faces()[index];
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const around = [Math.min(...xs, box[0]), Math.min(...ys, box[1]), Math.max(...xs, box[2]), Math.max(...ys, box[3])];
  viewer.fit(around, 40);
}

/** The next or previous point of the shown groups. */
export function step(by) {
  const shown = [...show.groups].flatMap((group) => state.layout.groups[group]).toSorted((a, b) => a - b);
  if (!chosenFace() || !shown.length) return;
  const here = shown.indexOf(state.point);
  const start = by > 0 ? -1 : 0;
  const there = ((here < 0 ? start : here) + by + shown.length) % shown.length;
  choosePoint(shown[there], { announce: true });
}

/** The next or previous face. */
export function turn(by) {
  const count = faces().length;
  if (count) choose((state.face + by + count) % count);
}

/** Whether dragging draws a box. */
export function setDrawing(on) {
  viewer.drawing = on && Boolean(state.file) && !state.live;
  viewer.node.classList.toggle("drawing", viewer.drawing);
  byId("draw-box").setAttribute("aria-pressed", String(viewer.drawing));
  if (viewer.drawing) say("Drag over a face to box it. Escape leaves.");
}

viewer.on = { hover, pick, moved: followView };
