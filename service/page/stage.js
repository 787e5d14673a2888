/** Shows the state: the image with its drawing, and the panel beside it. Selects faces and points. */

import { Overlay } from "./overlay.js";
import { PointTable, byId, describePoint, faceName, make, swatch } from "./panel.js";
import { showFaces, showFacts, showGroups, showTimings } from "./panel.js";
import { faces, selectedFace, show, state } from "./state.js";
import { setStatus } from "./status.js";
import { Viewer } from "./viewer.js";

const HIT_RADIUS = 14; // screen units around the pointer in which a point is selected
const POINT_SCALE = 24; // screen units per image pixel when zooming to a point

export const viewer = new Viewer(byId("viewer"), byId("canvas"), new Overlay(byId("overlay")));
let table = null;

/** The names, groups and outlines of the points, without which nothing is drawn. */
export function setLayout(layout) {
  state.layout = layout;
  table = new PointTable(byId("points"), layout, { select: (index) => selectPoint(index), enter: zoomToPoint });
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

/** Shows everything again, after an answer or another selection. */
export function refresh() {
  const { file } = state;
  const reply = file?.reply;
  const all = faces();
  byId("face-count").textContent = reply ? String(all.length) : "";
  const [listed, selected] = [listedFaces(), selectedFace()];
  const isMoving = state.live || state.video !== null; // the next frame replaces what is shown
  byId("no-face").textContent = noFace(listed, isMoving);
  byId("no-face").hidden = byId("no-face").textContent === "";
  const handlers = {
    select: (face) => (all.includes(face) ? selectFace(all.indexOf(face)) : viewer.on.find(face)),
    zoom: (face) => (all.includes(face) ? zoomToFace(all.indexOf(face)) : viewer.on.find(face)),
    remove: isMoving ? null : (face) => viewer.on.remove(all.indexOf(face)),
  };
  showFaces(byId("faces"), state.layout, listed, selected, handlers);
  const isOpen = Boolean(file && (file.isDecoded || reply));
  document.body.classList.toggle("open", isOpen);
  byId("welcome").hidden = isOpen || state.capturing;
  for (const id of ["draw-box", "find"]) byId(id).disabled = !isOpen || isMoving;
  byId("find").hidden = !file?.boxes.length;
  byId("save").hidden = !file?.isFrame || !file.blob;
  byId("copy-curl").hidden = Boolean(file?.isFrame);
  byId("fit-face").disabled = all.length === 0;
  byId("points-of").textContent =
    listed.length > 1 && selected ? `of ${faceName(selected, state.face).toLowerCase()}` : "";
  byId("points-section").hidden = listed.length === 0;
  byId("answer-section").hidden = !reply;
  if (reply) {
    showTimings(byId("timings"), reply.answer.timings_ms, reply.milliseconds);
    showFacts(byId("facts"), reply.answer);
  }
  redraw();
}

/** Of an image those that it has; of a video all that were found, so that the list stays from frame to frame. */
function listedFaces() {
  const all = faces();
  return state.video ? state.video.tracks.ids.map((id) => all.find((face) => face.id === id) ?? { id }) : all;
}

/** What the list of faces does not say. */
function noFace(listed, isMoving) {
  const { problem, reply } = state.file ?? {};
  if (state.video && problem) return `This frame has no answer: ${problem.title}.`;
  if (listed.length) return "";
  if (!reply) return "None yet.";
  return `No face was found in this image.${isMoving ? "" : " Draw a box around one: its points are then located."}`;
}

/** Shows the drawing and the table again, after a change of what is drawn. */
export function redraw() {
  if (!state.layout) return;
  viewer.overlay.draw(state.layout, faces(), state.face, show);
  table.show(selectedFace(), show.groups);
  followView();
}

/** Updates what depends on the view. */
function followView() {
  const selected = state.point === null ? null : { face: state.face, point: state.point };
  const marked = state.hovered ?? selected;
  const face = marked && faces()[marked.face];
  const position = face ? face.points[marked.point] : null;
  viewer.overlay.follow(viewer.view, position);
  showTip(position, face, marked?.point);
  byId("zoom").textContent = `${viewer.percent.toFixed(viewer.percent < 10 ? 1 : 0)} %`;
}

function showTip(position, face, point) {
  const tip = byId("tip");
  tip.hidden = !position;
  if (!position) return;
  const { name, position: coordinates, uncertainty } = describePoint(state.layout, face, point);
  const title = make("strong", { "data-group": table.groupOf[point] }, swatch(), `${point} ${name}`);
  tip.replaceChildren(title, make("span", {}, coordinates), make("span", {}, uncertainty));
  const { width, height } = viewer.view.window;
  const at = tipPosition(viewer.view.toScreen(position), [tip.offsetWidth, tip.offsetHeight], [width, height]);
  tip.style.transform = `translate(${at.join("px, ")}px)`;
}

/** The position of a tip of this size that does not cover the point: right of it, else left, else above or below. */
function tipPosition([x, y], [w, h], [width, height]) {
  const within = (at, size, limit) => Math.min(Math.max(at, 6), limit - size - 6);
  if (x + 22 + w < width) return [x + 22, within(y - h / 2, h, height)];
  if (x - 22 - w > 0) return [x - 22 - w, within(y - h / 2, h, height)];
  return [within(x - w / 2, w, width), y - 22 - h > 0 ? y - 22 - h : y + 22];
}

// ---------------------------------------------------------------- selection

function hover(position) {
  state.hovered = position && nearest(position);
  viewer.node.classList.toggle("over", Boolean(state.hovered));
  const colour = position && state.file && viewer.colour(position);
  const values = colour ? `  rgb ${colour.join(" ")}` : "";
  const coordinates = position && state.file ? `x ${position[0].toFixed(2)}  y ${position[1].toFixed(2)}` : "";
  byId("readout").textContent = coordinates + values;
  followView();
}

/** {face, point} nearest to a position among the shown groups, or null when none is within HIT_RADIUS. */
function nearest(position) {
  if (!state.layout) return null;
  const shown = [...show.groups].flatMap((group) => state.layout.groups[group]);
  let best = null;
  let smallest = HIT_RADIUS / viewer.view.scale;
  faces().forEach(({ points }, face) => {
    for (const point of shown) {
      const distance = Math.hypot(points[point][0] - position[0], points[point][1] - position[1]);
      if (distance < smallest) [best, smallest] = [{ face, point }, distance];
    }
  });
  return best;
}

function select(position) {
  const found = nearest(position);
  const inside = faces().findIndex(({ box }) => isInside(position, box));
  if (found) {
    if (found.face !== state.face) selectFace(found.face);
    selectPoint(found.point);
  } else if (inside >= 0 && inside !== state.face) selectFace(inside);
  else selectPoint(null);
}

const isInside = ([x, y], box) => x >= box[0] && x <= box[2] && y >= box[1] && y <= box[3];

export function selectFace(face) {
  state.face = face;
  if (state.video) viewer.on.choose(faces()[face]);
  refresh();
  byId("faces").querySelector("[aria-pressed=true]")?.scrollIntoView({ block: "nearest" });
  setStatus(`${faceName(faces()[face], face)} of ${listedFaces().length}.`);
}

export function selectPoint(point, { announce = false } = {}) {
  state.point = point;
  table?.mark(point);
  followView();
  const face = selectedFace();
  if (announce && face) setStatus(Object.values(describePoint(state.layout, face, point)).join(", "));
}

export function zoomToPoint(point) {
  selectPoint(point);
  if (selectedFace()) viewer.centre(selectedFace().points[point], Math.max(viewer.view.scale, POINT_SCALE));
}

export function zoomToFace(index = state.face) {
  if (!faces()[index]) return;
  if (index !== state.face) selectFace(index);
  const { box, points } = faces()[index];
  const [xs, ys] = [points.map(([x]) => x), points.map(([, y]) => y)];
  const around = [Math.min(...xs, box[0]), Math.min(...ys, box[1]), Math.max(...xs, box[2]), Math.max(...ys, box[3])];
  viewer.fit(around, 40);
}

/** Selects the next (1) or previous (-1) point of the shown groups. */
export function stepPoint(by) {
  const shown = [...show.groups].flatMap((group) => state.layout.groups[group]).toSorted((a, b) => a - b);
  if (!selectedFace() || !shown.length) return;
  const here = shown.indexOf(state.point);
  const start = by > 0 ? -1 : 0;
  const there = ((here < 0 ? start : here) + by + shown.length) % shown.length;
  selectPoint(shown[there], { announce: true });
}

/** Selects the next (1) or previous (-1) face. */
export function stepFace(by) {
  const count = faces().length;
  if (count) selectFace((state.face + by + count) % count);
}

/** Sets whether dragging draws a box. */
export function setDrawing(on) {
  viewer.drawing = on && Boolean(state.file) && !state.live && !state.video;
  viewer.node.classList.toggle("drawing", viewer.drawing);
  byId("draw-box").setAttribute("aria-pressed", String(viewer.drawing));
  if (viewer.drawing) setStatus("Drag to draw a box. Escape cancels.");
}

viewer.on = { hover, select, viewChanged: followView };
