/**
 * The drawing over the image, in SVG: outlines, ellipses and points for every face and group.
 *
 * Shapes are written once, in image pixels, and moved by one transform; strokes keep their width on the screen. A point
 * is a line of length zero with round ends, so that its centre is exact at every zoom.
 */

import { colourOf } from "./tracks.js";
import { ellipsePath, isDoubtful, isHidden } from "./uncertainty.js";

const SVG = "http://www.w3.org/2000/svg";
const LABEL_SPACING = 15; // screen units between two numbers
const MAX_DOT = 5.5; // diameter in screen units
const MIN_DOT = 1.8;
const DOTS_PER_SIZE = 34; // diameters of a dot in the size of a face

export class Overlay {
  constructor(svg) {
    this.scene = svg.appendChild(svgElement("g", { class: "scene" }));
    this.labels = svg.appendChild(svgElement("g", { class: "labels" }));
    this.marker = svg.appendChild(svgElement("path", { class: "mark" }));
    this.selection = svg.appendChild(svgElement("path", { class: "band" }));
    this.faces = [];
    this.numbered = [];
    this.tags = [];
  }

  /**
   * @param faces the answer's faces
   * @param show {groups: Set of names, parts: Set of "points" | "outlines" | "numbers" | "boxes", confidence: 0 to 1}
   */
  draw(layout, faces, selected, show) {
    this.scene.replaceChildren();
    this.faces = faces.map((face, index) => ({ face, node: faceNode(layout, face, index === selected, show) }));
    // the selected face comes last, above the others
    const order = this.faces.toSorted((a, b) => (a.face === faces[selected]) - (b.face === faces[selected]));
    this.scene.append(...order.map(({ node }) => node));
    this.labels.replaceChildren();
    this.numbered = show.parts.has("numbers") && faces[selected] ? numbers(layout, faces[selected], show.groups) : [];
    this.tags = show.parts.has("boxes") ? faces.filter(({ id }) => id).map(tag) : [];
    this.labels.append(...[...this.numbered, ...this.tags].map(({ node }) => node));
  }

  /** Follows the view. `marked`: the position [x, y] to mark, or null. */
  follow(view, marked) {
    const [x, y] = view.toScreen([0, 0]);
    this.scene.setAttribute("transform", `translate(${x} ${y}) scale(${view.scale})`);
    for (const { face, node } of this.faces) {
      const dot = Math.min(Math.max((face.inter_ocular * view.scale) / DOTS_PER_SIZE, MIN_DOT), MAX_DOT);
      node.style.setProperty("--dot", `${dot}px`);
    }
    positionLabels(this.numbered, view);
    for (const { corner, node } of this.tags) positionLabel(node, view.toScreen(corner));
    this.marker.setAttribute("d", marked ? ring(view.toScreen(marked)) : "");
  }

  /** Shows the box that the user is drawing, in image pixels; null hides it. */
  drawSelection(view, box) {
    if (!box) return this.selection.setAttribute("d", "");
    const [[x1, y1], [x2, y2]] = [view.toScreen(box.slice(0, 2)), view.toScreen(box.slice(2))];
    this.selection.setAttribute("d", `M${x1} ${y1}H${x2}V${y2}H${x1}Z`);
  }
}

export function svgElement(name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** A path with a dark edge below it, which keeps it visible on bright skin. */
function outlined(kind, d) {
  return d ? [svgElement("path", { class: `${kind} edge`, d }), svgElement("path", { class: kind, d })] : [];
}

function faceNode(layout, face, isSelected, { groups, parts, confidence }) {
  const node = svgElement("g", { class: isSelected ? "face selected" : "face" });
  node.classList.toggle("doubtful", isDoubtful(face));
  if (face.id) node.setAttribute("data-track", colourOf(face.id));
  if (parts.has("boxes")) node.append(...outlined("box", rectangle(face.box)));
  for (const [group, members] of Object.entries(layout.groups)) {
    if (!groups.has(group)) continue;
    const groupNode = svgElement("g", { "data-group": group });
    if (parts.has("outlines")) groupNode.append(...outlined("line", polylines(layout.outlines[group], face.points)));
    const freedom = layout.degreesOfFreedom[group];
    if (confidence) groupNode.append(...outlined("ellipse", ellipses(members, face, confidence, freedom)));
    if (parts.has("points")) groupNode.append(...outlined("dot", dots(members, face.points)), ...hollows(members, face));
    node.append(groupNode);
  }
  return node;
}

/** What makes the dots of hidden points hollow; nothing where the model does not say which are seen. */
function hollows(members, face) {
  const hidden = members.filter((i) => isHidden(face, i));
  return hidden.length ? [svgElement("path", { class: "hollow", d: dots(hidden, face.points) })] : [];
}

const rectangle = ([x1, y1, x2, y2]) => `M${x1} ${y1}H${x2}V${y2}H${x1}Z`;
const dots = (members, points) => members.map((i) => `M${points[i].join(" ")}h0`).join("");
const polylines = (lines, points) => lines.map((line) => `M${line.map((i) => points[i].join(" ")).join("L")}`).join("");
const ellipses = (members, face, confidence, degreesOfFreedom) =>
  members.map((i) => ellipsePath(face.points[i], face.covariances[i], confidence, degreesOfFreedom)).join("");

function numbers(layout, face, groups) {
  return Object.entries(layout.groups)
    .filter(([group]) => groups.has(group))
    .flatMap(([group, members]) =>
      members.map((index) => {
        const node = svgElement("text", { "data-group": group });
        node.textContent = String(index);
        return { point: face.points[index], node };
      }),
    );
}

/** Positions the numbers. A number that would overlap another is hidden. */
function positionLabels(labels, view) {
  const positions = [];
  for (const { point, node } of labels) {
    const [x, y] = view.toScreen(point);
    const free = positions.every(([u, v]) => Math.abs(u - x) > LABEL_SPACING || Math.abs(v - y) > LABEL_SPACING * 0.75);
    node.classList.toggle("crowded", !free);
    if (!free) continue;
    positions.push([x, y]);
    positionLabel(node, [x, y]);
  }
}

function positionLabel(node, [x, y]) {
  node.setAttribute("x", x + 5);
  node.setAttribute("y", y - 5);
}

/** The number of a face of a video, above its box. */
function tag({ id, box }) {
  const node = svgElement("text", { class: "tag", "data-track": colourOf(id) });
  node.textContent = String(id);
  return { corner: box.slice(0, 2), node };
}

/** A ring with four ticks, which leaves the point itself visible. */
function ring([x, y]) {
  const circle = `M${x - 9} ${y}a9 9 0 1 0 18 0a9 9 0 1 0 -18 0`;
  return `${circle}M${x - 16} ${y}h7M${x + 9} ${y}h7M${x} ${y - 16}v7M${x} ${y + 9}v7`;
}
