/** The scores of a video's faces over its frames, the scrubber below them, and which frame is shown. */

import { svgElement } from "./overlay.js";
import { byId } from "./panel.js";
import { colourOf } from "./tracks.js";

const STEPS = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 }; // frames
const BOUNDS = { Home: -Infinity, End: Infinity };

/** It calls the handlers in `on`: seek(time in seconds), step(frames). */
export class Timeline {
  on = {};
  #from = 0;
  #span = 1;
  #lines = new Map(); // of the faces, by id: {path, d, last (index of its last frame), count, gaps, least, most}
  #changed = new Set();

  constructor() {
    this.plot = byId("plot");
    this.scrubber = byId("scrubber");
    this.scrubber.addEventListener("input", () => this.on.seek(Number(this.scrubber.value)));
    this.scrubber.addEventListener("keydown", (event) => this.#key(event));
    this.plot.addEventListener("pointerdown", (event) => {
      this.plot.setPointerCapture(event.pointerId);
      this.on.seek(this.#timeAt(event));
    });
    this.plot.addEventListener("pointermove", (event) => event.buttons && this.on.seek(this.#timeAt(event)));
  }

  /** Begins anew, for the frames between two times. */
  open(from, to) {
    this.#from = from;
    this.#span = Math.max(to - from, 1e-3);
    this.#lines.clear();
    byId("scores").replaceChildren();
    this.plot.setAttribute("viewBox", `0 0 ${this.#span} 1`);
    for (const [name, x] of Object.entries({ x1: 0, x2: this.#span })) byId("half").setAttribute(name, x);
    Object.assign(this.scrubber, { min: from, max: to, value: from });
    this.#describe();
  }

  /** Adds the scores of the frame with an index, in the order of the frames. */
  add(index, { time, faces }) {
    for (const { id, score } of faces) {
      const line = this.#lines.get(id) ?? this.#line(id);
      const at = `${(time - this.#from).toFixed(4)} ${(1 - score).toFixed(4)}`;
      const isNext = line.last === index - 1;
      // after a gap there is a new piece; a line of length zero shows it where it is a single frame
      line.d += isNext ? `L${at}` : `M${at}h0`;
      line.gaps += line.count && !isNext ? 1 : 0;
      Object.assign(line, { last: index, count: line.count + 1 });
      [line.least, line.most] = [Math.min(line.least, score), Math.max(line.most, score)];
      this.#changed.add(line);
    }
    if (this.#changed.size) requestAnimationFrame(() => this.#draw());
  }

  /** Shows which frame is shown, of how many, and which face is selected. */
  move(index, count, time, selected) {
    const x = time - this.#from;
    for (const name of ["x1", "x2"]) byId("cursor").setAttribute(name, x);
    this.scrubber.value = time;
    const [frame, seconds] = [`Frame ${index + 1} of ${count}`, `${time.toFixed(3)} s`];
    this.scrubber.setAttribute("aria-valuetext", `${frame}, ${seconds}`);
    byId("frame-number").textContent = frame;
    byId("frame-time").textContent = seconds;
    for (const [id, { path }] of this.#lines) path.classList.toggle("selected", id === selected);
  }

  #line(id) {
    const path = svgElement("path", { "data-track": colourOf(id), "data-face": id });
    byId("scores").append(path);
    const line = { path, d: "", last: -2, count: 0, gaps: 0, least: 1, most: 0 };
    this.#lines.set(id, line);
    return line;
  }

  #draw() {
    for (const { path, d } of this.#changed) path.setAttribute("d", d);
    this.#changed.clear();
    this.#describe();
  }

  #describe() {
    const lines = [...this.#lines].map(([id, { count, gaps, least, most }]) => {
      const range = `${least.toFixed(2)} to ${most.toFixed(2)}`;
      return `Face ${id}: ${range} in ${count} frames, ${gaps} ${gaps === 1 ? "gap" : "gaps"}`;
    });
    this.plot.setAttribute("aria-label", `Score of each face over time. ${lines.join("; ")}`);
  }

  #timeAt({ clientX }) {
    const { left, width } = this.plot.getBoundingClientRect();
    return this.#from + Math.min(Math.max((clientX - left) / width, 0), 1) * this.#span;
  }

  #key(event) {
    const by = STEPS[event.key] ?? BOUNDS[event.key];
    if (by === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.on.step(by);
  }
}
