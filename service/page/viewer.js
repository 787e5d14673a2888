/**
 * The picture on its canvas, and what pointers and keys do to the view.
 *
 * It tells through `on`: hover(place or null), pick(place), box([x1, y1, x2, y2]), moved(). Places are picture pixels.
 */

import { View } from "./view.js";

const CRISP_FROM = 2; // device pixels per picture pixel from which pixels are shown as squares
const GRID_FROM = 18;
const MOVED = 4; // screen units after which a press is a drag
const SMALLEST_BOX = 6;

export class Viewer {
  view = new View();
  on = {};
  picture = null; // ImageBitmap, or null where the browser cannot show the file
  drawing = false; // dragging draws a box
  cursor = null; // the mouse's screen place
  #pointers = new Map();
  #press = null;
  #due = false;

  constructor(node, canvas, overlay) {
    Object.assign(this, { node, canvas, overlay });
    this.pixel = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    new ResizeObserver(() => this.#resized()).observe(node);
    node.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    node.addEventListener("pointerdown", (event) => this.#down(event));
    node.addEventListener("pointermove", (event) => this.#move(event));
    for (const kind of ["pointerup", "pointercancel"]) node.addEventListener(kind, (event) => this.#up(event));
    node.addEventListener("pointerleave", () => this.#leave());
    node.addEventListener("dblclick", (event) => this.zoom(2, this.#at(event)));
  }

  /** Shows a picture; where its size is that of the one before, the view stays. */
  show(picture, width, height) {
    this.picture?.close();
    this.picture = picture;
    const { picture: before } = this.view;
    if (before.width !== width || before.height !== height) {
      this.view.picture = { width, height };
      this.view.fit();
    }
    this.update();
  }

  zoom(factor, place = this.#middle()) {
    this.view.zoomAbout(place, factor);
    this.update();
  }

  /** About the cursor where there is one. */
  zoomAtCursor(factor) {
    this.zoom(factor, this.cursor ?? this.#middle());
  }

  oneToOne() {
    this.zoom(1 / (devicePixelRatio * this.view.scale));
  }

  fit(box, margin) {
    this.view.fit(box, margin);
    this.update();
  }

  pan(dx, dy) {
    this.view.pan(dx, dy);
    this.update();
  }

  centre(place, scale) {
    this.view.centre(place, scale);
    this.update();
  }

  get percent() {
    return this.view.scale * devicePixelRatio * 100;
  }

  /** [red, green, blue] of the pixel that a place lies in, or null outside the picture. */
  colour([x, y]) {
    const { width, height } = this.view.picture;
    const [column, row] = [Math.round(x), Math.round(y)];
    if (!this.picture || column < 0 || row < 0 || column >= width || row >= height) return null;
    this.pixel.drawImage(this.picture, column, row, 1, 1, 0, 0, 1, 1);
    return [...this.pixel.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  }

  /** Draws once before the next frame, however often it is called. */
  update() {
    if (this.#due) return;
    this.#due = true;
    requestAnimationFrame(() => {
      this.#due = false;
      this.#draw();
      this.on.moved();
    });
  }

  // ---------------------------------------------------------------- picture

  #draw() {
    const ratio = devicePixelRatio;
    const context = this.canvas.getContext("2d");
    const { scale, x, y, picture } = this.view;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    if (this.picture) {
      context.imageSmoothingEnabled = scale * ratio < CRISP_FROM;
      context.imageSmoothingQuality = "high";
      context.drawImage(this.picture, 0, 0);
    } else {
      context.fillStyle = getComputedStyle(this.node).getPropertyValue("--blank");
      context.fillRect(0, 0, picture.width, picture.height);
    }
    if (this.picture && scale * ratio >= GRID_FROM) this.#grid(context, ratio);
  }

  /** The edges of pixels. */
  #grid(context, ratio) {
    const { view } = this;
    const [left, top] = view.toPicture([0, 0]).map((v) => Math.max(Math.round(v), 0));
    const [right, bottom] = view.toPicture([view.window.width, view.window.height]).map(Math.ceil);
    context.beginPath();
    const [width, height] = [Math.min(right + 1, view.picture.width), Math.min(bottom + 1, view.picture.height)];
    for (let column = left; column <= width; column++) context.rect(column, top, 0, height - top);
    for (let row = top; row <= height; row++) context.rect(left, row, width - left, 0);
    context.lineWidth = 1 / (view.scale * ratio);
    context.strokeStyle = "rgb(128 128 128 / 0.28)";
    context.stroke();
  }

  #resized() {
    const { width, height } = this.node.getBoundingClientRect();
    const { view } = this;
    const middle = view.toPicture(this.#middle());
    const first = view.window.width <= 1;
    view.window = { width, height };
    this.canvas.width = Math.round(width * devicePixelRatio);
    this.canvas.height = Math.round(height * devicePixelRatio);
    if (first) view.fit();
    else view.centre(middle);
    this.update();
  }

  #middle() {
    return [this.view.window.width / 2, this.view.window.height / 2];
  }

  // ---------------------------------------------------------------- pointers

  #at(event) {
    const { left, top } = this.node.getBoundingClientRect();
    return [event.clientX - left, event.clientY - top];
  }

  #wheel(event) {
    event.preventDefault();
    const unit = [1, 16, this.view.window.height][event.deltaMode];
    // a pinch on a touchpad arrives as a wheel with Ctrl, in smaller steps
    const speed = event.ctrlKey ? 0.01 : 0.0016;
    this.zoom(Math.exp(-event.deltaY * unit * speed), this.#at(event));
  }

  #down(event) {
    if (event.button > 1) return;
    this.node.setPointerCapture(event.pointerId);
    const place = this.#at(event);
    this.#pointers.set(event.pointerId, place);
    const isFirst = this.#pointers.size === 1;
    const box = isFirst && event.button === 0 && (this.drawing || event.shiftKey);
    this.#press = { start: place, box, moved: !isFirst };
    if (!isFirst) this.overlay.stretch(this.view, null);
  }

  #move(event) {
    const place = this.#at(event);
    this.cursor = event.pointerType === "mouse" ? place : null;
    const before = this.#pointers.get(event.pointerId);
    if (!before) return this.on.hover(this.view.toPicture(place));
    if (this.#pointers.size === 2) this.#pinch(event.pointerId, place);
    else this.#drag(before, place);
    this.#pointers.set(event.pointerId, place);
  }

  #leave() {
    this.cursor = null;
    this.on.hover(null);
  }

  #drag([x, y], place) {
    const press = this.#press;
    press.moved ||= Math.hypot(place[0] - press.start[0], place[1] - press.start[1]) > MOVED;
    if (press.box) return this.overlay.stretch(this.view, this.#boxTo(place));
    if (press.moved) this.pan(place[0] - x, place[1] - y);
  }

  #pinch(id, place) {
    const [other] = [...this.#pointers].filter(([pointer]) => pointer !== id).map(([, at]) => at);
    const before = this.#pointers.get(id);
    const distance = (at) => Math.max(Math.hypot(at[0] - other[0], at[1] - other[1]), 1);
    this.view.pan((place[0] - before[0]) / 2, (place[1] - before[1]) / 2);
    this.zoom(distance(place) / distance(before), [(place[0] + other[0]) / 2, (place[1] + other[1]) / 2]);
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId) || this.#pointers.size) return;
    const { box, moved } = this.#press;
    this.overlay.stretch(this.view, null);
    if (event.type === "pointercancel") return;
    const place = this.#at(event);
    if (box && moved) this.#finish(this.#boxTo(place));
    else if (!moved) this.on.pick(this.view.toPicture(place));
  }

  #finish(box) {
    const size = Math.min(box[2] - box[0], box[3] - box[1]) * this.view.scale;
    if (size >= SMALLEST_BOX) this.on.box(box);
  }

  #boxTo(place) {
    const [a, b] = [this.view.toPicture(this.#press.start), this.view.toPicture(place)];
    return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  }
}
