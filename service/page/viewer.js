/**
 * The image on its canvas, and the changes of the view by pointers and keys.
 *
 * It calls the handlers in `on`: hover(position or null), select(position), box([x1, y1, x2, y2]), viewChanged().
 * Positions are in image pixels.
 */

import { View } from "./view.js";

const MIN_SCALE_SQUARES = 2; // device pixels per image pixel, from which pixels are shown as squares
const MIN_SCALE_GRID = 18;
const DRAG_THRESHOLD = 4; // screen units after which a press is a drag
const MIN_BOX_SIZE = 6; // screen units

export class Viewer {
  view = new View();
  on = {};
  bitmap = null; // ImageBitmap, or null when the browser cannot show the file
  drawing = false; // dragging draws a box
  cursor = null; // the mouse's screen position
  #pointers = new Map();
  #press = null;
  #isUpdatePending = false;

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

  /** Shows an image. The view stays when the image before had the same size. */
  show(bitmap, width, height) {
    this.bitmap?.close();
    this.bitmap = bitmap;
    const { image: before } = this.view;
    if (before.width !== width || before.height !== height) {
      this.view.image = { width, height };
      this.view.fit();
    }
    this.update();
  }

  zoom(factor, position = this.#middle()) {
    this.view.zoomAbout(position, factor);
    this.update();
  }

  /** Zooms about the cursor, or about the middle where there is no cursor. */
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

  centre(position, scale) {
    this.view.centre(position, scale);
    this.update();
  }

  get percent() {
    return this.view.scale * devicePixelRatio * 100;
  }

  /** [red, green, blue] of the pixel at a position, or null outside the image. */
  colour([x, y]) {
    const { width, height } = this.view.image;
    const [column, row] = [Math.round(x), Math.round(y)];
    if (!this.bitmap || column < 0 || row < 0 || column >= width || row >= height) return null;
    this.pixel.drawImage(this.bitmap, column, row, 1, 1, 0, 0, 1, 1);
    return [...this.pixel.getImageData(0, 0, 1, 1).data.slice(0, 3)];
  }

  /** Draws once before the next frame, however many calls there are. */
  update() {
    if (this.#isUpdatePending) return;
    this.#isUpdatePending = true;
    requestAnimationFrame(() => {
      this.#isUpdatePending = false;
      this.#draw();
      this.on.viewChanged();
    });
  }

  // ---------------------------------------------------------------- image

  #draw() {
    const ratio = devicePixelRatio;
    const context = this.canvas.getContext("2d");
    const { scale, x, y, image } = this.view;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(scale * ratio, 0, 0, scale * ratio, x * ratio, y * ratio);
    if (this.bitmap) {
      context.imageSmoothingEnabled = scale * ratio < MIN_SCALE_SQUARES;
      context.imageSmoothingQuality = "high";
      context.drawImage(this.bitmap, 0, 0);
    } else {
      context.fillStyle = getComputedStyle(this.node).getPropertyValue("--blank");
      context.fillRect(0, 0, image.width, image.height);
    }
    if (this.bitmap && scale * ratio >= MIN_SCALE_GRID) this.#grid(context, ratio);
  }

  /** Draws the edges of pixels. */
  #grid(context, ratio) {
    const { view } = this;
    const [left, top] = view.toImage([0, 0]).map((v) => Math.max(Math.round(v), 0));
    const [right, bottom] = view.toImage([view.window.width, view.window.height]).map(Math.ceil);
    context.beginPath();
    const [width, height] = [Math.min(right + 1, view.image.width), Math.min(bottom + 1, view.image.height)];
    for (let column = left; column <= width; column++) context.rect(column, top, 0, height - top);
    for (let row = top; row <= height; row++) context.rect(left, row, width - left, 0);
    context.lineWidth = 1 / (view.scale * ratio);
    context.strokeStyle = "rgb(128 128 128 / 0.28)";
    context.stroke();
  }

  #resized() {
    const { width, height } = this.node.getBoundingClientRect();
    const { view } = this;
    const middle = view.toImage(this.#middle());
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
    // a pinch on a touchpad arrives as wheel events with Ctrl, in smaller steps
    const speed = event.ctrlKey ? 0.01 : 0.0016;
    this.zoom(Math.exp(-event.deltaY * unit * speed), this.#at(event));
  }

  #down(event) {
    if (event.button > 1) return;
    this.node.setPointerCapture(event.pointerId);
    const position = this.#at(event);
    this.#pointers.set(event.pointerId, position);
    const isFirst = this.#pointers.size === 1;
    const box = isFirst && event.button === 0 && (this.drawing || event.shiftKey);
    this.#press = { start: position, box, moved: !isFirst };
    if (!isFirst) this.overlay.drawSelection(this.view, null);
  }

  #move(event) {
    const position = this.#at(event);
    this.cursor = event.pointerType === "mouse" ? position : null;
    const before = this.#pointers.get(event.pointerId);
    if (!before) return this.on.hover(this.view.toImage(position));
    if (this.#pointers.size === 2) this.#pinch(event.pointerId, position);
    else this.#drag(before, position);
    this.#pointers.set(event.pointerId, position);
  }

  #leave() {
    this.cursor = null;
    this.on.hover(null);
  }

  #drag([x, y], position) {
    const press = this.#press;
    press.moved ||= Math.hypot(position[0] - press.start[0], position[1] - press.start[1]) > DRAG_THRESHOLD;
    if (press.box) return this.overlay.drawSelection(this.view, this.#boxTo(position));
    if (press.moved) this.pan(position[0] - x, position[1] - y);
  }

  #pinch(id, position) {
    const [other] = [...this.#pointers].filter(([pointer]) => pointer !== id).map(([, at]) => at);
    const before = this.#pointers.get(id);
    const distance = (at) => Math.max(Math.hypot(at[0] - other[0], at[1] - other[1]), 1);
    this.view.pan((position[0] - before[0]) / 2, (position[1] - before[1]) / 2);
    this.zoom(distance(position) / distance(before), [(position[0] + other[0]) / 2, (position[1] + other[1]) / 2]);
  }

  #up(event) {
    if (!this.#pointers.delete(event.pointerId) || this.#pointers.size) return;
    const { box, moved } = this.#press;
    this.overlay.drawSelection(this.view, null);
    if (event.type === "pointercancel") return;
    const position = this.#at(event);
    if (box && moved) this.#finish(this.#boxTo(position));
    else if (!moved) this.on.select(this.view.toImage(position));
  }

  #finish(box) {
    const size = Math.min(box[2] - box[0], box[3] - box[1]) * this.view.scale;
    if (size >= MIN_BOX_SIZE) this.on.box(box);
  }

  #boxTo(position) {
    const [a, b] = [this.view.toImage(this.#press.start), this.view.toImage(position)];
    return [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.max(a[0], b[0]), Math.max(a[1], b[1])];
  }
}
