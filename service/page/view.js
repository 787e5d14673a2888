/**
 * The transform from image pixels to the screen. Screen units are CSS pixels of the viewer.
 *
 * Image pixel (0, 0) is the centre of the top-left pixel, whose corner is (-0.5, -0.5):
 *
 *     screen = (pixel + 0.5) * scale + origin
 */

const HALF = 0.5;
const MAX_SCALE = 160;
const MIN_VISIBLE = 48; // screen units of the image that stay inside the window

export class View {
  scale = 1; // screen units per image pixel
  x = 0; // screen position of the image's top-left corner
  y = 0;
  image = { width: 1, height: 1 };
  window = { width: 1, height: 1 };

  toScreen([x, y]) {
    return [(x + HALF) * this.scale + this.x, (y + HALF) * this.scale + this.y];
  }

  toImage([x, y]) {
    return [(x - this.x) / this.scale - HALF, (y - this.y) / this.scale - HALF];
  }

  /** Zooms so that the image pixel at this screen position stays there. */
  zoomAbout([x, y], factor) {
    const scale = Math.min(Math.max(this.scale * factor, this.#minScale()), MAX_SCALE);
    this.x = x - (x - this.x) * (scale / this.scale);
    this.y = y - (y - this.y) * (scale / this.scale);
    this.scale = scale;
    this.#keepVisible();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#keepVisible();
  }

  /** Shows a box [x1, y1, x2, y2] of image pixels as large as possible; by default the entire image. */
  fit(box = [-HALF, -HALF, this.image.width - HALF, this.image.height - HALF], margin = 16) {
    const width = Math.max(this.window.width - 2 * margin, 1);
    const height = Math.max(this.window.height - 2 * margin, 1);
    const scale = Math.min(width / Math.max(box[2] - box[0], 1), height / Math.max(box[3] - box[1], 1), MAX_SCALE);
    this.centre([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], scale);
  }

  /** Moves a position of the image to the centre of the screen. */
  centre([x, y], scale = this.scale) {
    this.scale = scale;
    this.x = this.window.width / 2 - (x + HALF) * scale;
    this.y = this.window.height / 2 - (y + HALF) * scale;
  }

  #minScale() {
    const fitting = Math.min(this.window.width / this.image.width, this.window.height / this.image.height);
    return Math.min(fitting / 2, 1);
  }

  #keepVisible() {
    const { image, window, scale } = this;
    this.x = Math.min(Math.max(this.x, MIN_VISIBLE - image.width * scale), window.width - MIN_VISIBLE);
    this.y = Math.min(Math.max(this.y, MIN_VISIBLE - image.height * scale), window.height - MIN_VISIBLE);
  }
}
