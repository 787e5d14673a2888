/**
 * The drawing above the picture, in SVG: for every face and group an outline, ellipses and points.
 *
 * Shapes are written once in picture pixels and moved by one transform; strokes keep their width on the screen. A point
 * is a line of no length with round ends, so its middle is exact at every zoom.
 */

import { ellipsePath } from "./uncertainty.js";

const SVG = "http://www.w3.org/2000/svg";
const LABEL_ROOM = 15; // screen units between two numbers
const LARGEST_DOT = 5.5; // screen units across
const SMALLEST_DOT = 1.8;

export class Overlay {
  constructor(svg) {
    this.scene = svg.appendChild(element("g", { class: "scene" }));
    this.labels = svg.appendChild(element("g", { class: "labels" }));
    this.mark = svg.appendChild(element("path", { class: "mark" }));
    this.band = svg.appendChild(element("path", { class: "band" }));
    this.faces = [];
    this.numbered = [];
  }

  /**
   * @param faces the answer's faces
   * @param show {groups: Set of names, parts: Set of "points" | "outlines" | "numbers" | "boxes", confidence: 0 to 1}
   */
  draw(layout, faces, chosen, show) {
    this.scene.replaceChildren();
    this.faces = faces.map((face, index) => ({ face, node: drawnFace(layout, face, index === chosen, show) }));
    // the chosen face comes last, above the others
    const order = this.faces.toSorted((a, b) => (a.face === faces[chosen]) - (b.face === faces[chosen]));
    this.scene.append(...order.map(({ node }) => node));
    this.labels.replaceChildren();
    this.numbered = show.parts.has("numbers") && faces[chosen] ? numbers(layout, faces[chosen], show.groups) : [];
    this.labels.append(...this.numbered.map(({ node }) => node));
  }

  /** Follows the view; `marked` is the point [x, y] to ring, or null. */
  place(view, marked) {
    const [x, y] = view.toScreen([0, 0]);
    this.scene.setAttribute("transform", `translate(${x} ${y}) scale(${view.scale})`);
    for (const { face, node } of this.faces) {
      const dot = Math.min(Math.max((face.inter_ocular * view.scale) / 34, SMALLEST_DOT), LARGEST_DOT);
      node.style.setProperty("--dot", `${dot}px`);
    }
    placeLabels(this.numbered, view);
    this.mark.setAttribute("d", marked ? cross(view.toScreen(marked)) : "");
  }

  /** The box that is being drawn, in picture pixels, or null. */
  stretch(view, box) {
    if (!box) return this.band.setAttribute("d", "");
    const [[x1, y1], [x2, y2]] = [view.toScreen(box.slice(0, 2)), view.toScreen(box.slice(2))];
    this.band.setAttribute("d", `M${x1} ${y1}H${x2}V${y2}H${x1}Z`);
  }
}

function element(name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}

/** A dark edge below the colour keeps it visible on bright skin. */
function edged(kind, d) {
  return d ? [element("path", { class: `${kind} edge`, d }), element("path", { class: kind, d })] : [];
}

function drawnFace(layout, face, isChosen, { groups, parts, confidence }) {
  const node = element("g", { class: isChosen ? "face chosen" : "face" });
  if (parts.has("boxes")) node.append(...edged("box", rectangle(face.box)));
  for (const [group, members] of Object.entries(layout.groups)) {
    if (!groups.has(group)) continue;
    const drawn = element("g", { "data-group": group });
    if (parts.has("outlines")) drawn.append(...edged("line", polylines(layout.outlines[group], face.points)));
    if (confidence) drawn.append(...edged("ellipse", ellipses(members, face, confidence, layout.freedom[group])));
    if (parts.has("points")) drawn.append(...edged("dot", dots(members, face.points)));
    node.append(drawn);
  }
  return node;
}

const rectangle = ([x1, y1, x2, y2]) => `M${x1} ${y1}H${x2}V${y2}H${x1}Z`;
const dots = (members, points) => members.map((i) => `M${points[i].join(" ")}h0`).join("");
const polylines = (lines, points) => lines.map((line) => `M${line.map((i) => points[i].join(" ")).join("L")}`).join("");
const ellipses = (members, face, confidence, freedom) =>
  members.map((i) => ellipsePath(face.points[i], face.covariances[i], confidence, freedom)).join("");

function numbers(layout, face, groups) {
  return Object.entries(layout.groups)
    .filter(([group]) => groups.has(group))
    .flatMap(([group, members]) =>
      members.map((index) => {
        const node = element("text", { "data-group": group });
        node.textContent = String(index);
        return { point: face.points[index], node };
      }),
    );
}

/** A number that would cover another is left out until there is room. */
function placeLabels(labels, view) {
  const taken = [];
  for (const { point, node } of labels) {
    const [x, y] = view.toScreen(point);
    const free = taken.every(([u, v]) => Math.abs(u - x) > LABEL_ROOM || Math.abs(v - y) > LABEL_ROOM * 0.75);
    node.classList.toggle("crowded", !free);
    if (!free) continue;
    taken.push([x, y]);
    node.setAttribute("x", x + 5);
    node.setAttribute("y", y - 5);
  }
}

/** A ring with four ticks that leave the point itself free. */
function cross([x, y]) {
  const ring = `M${x - 9} ${y}a9 9 0 1 0 18 0a9 9 0 1 0 -18 0`;
  return `${ring}M${x - 16} ${y}h7M${x + 9} ${y}h7M${x} ${y - 16}v7M${x} ${y + 9}v7`;
}
