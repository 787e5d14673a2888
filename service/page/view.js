/**
 * Where the picture lies on the screen. Screen units are CSS pixels of the viewer.
 *
 * Picture pixel (0, 0) is the centre of the top-left pixel, whose corner is (-0.5, -0.5):
 *
 *     screen = (pixel + 0.5) * scale + origin
 */

const HALF = 0.5;
const LARGEST_SCALE = 160;
const KEPT_IN_SIGHT = 48;

export class View {
  scale = 1; // screen units per picture pixel
  x = 0; // screen place of the picture's top-left corner
  y = 0;
  picture = { width: 1, height: 1 };
  window = { width: 1, height: 1 };

  toScreen([x, y]) {
    return [(x + HALF) * this.scale + this.x, (y + HALF) * this.scale + this.y];
  }

  toPicture([x, y]) {
    return [(x - this.x) / this.scale - HALF, (y - this.y) / this.scale - HALF];
  }

  /** Zooms so that what lies under the screen place stays there. */
  zoomAbout([x, y], factor) {
    const scale = Math.min(Math.max(this.scale * factor, this.#smallest()), LARGEST_SCALE);
    this.x = x - (x - this.x) * (scale / this.scale);
    this.y = y - (y - this.y) * (scale / this.scale);
    this.scale = scale;
    this.#keepInSight();
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.#keepInSight();
  }

  /** Shows a box [x1, y1, x2, y2] of picture pixels as large as it fits; without one, the whole picture. */
  fit(box = [-HALF, -HALF, this.picture.width - HALF, this.picture.height - HALF], margin = 16) {
    const width = Math.max(this.window.width - 2 * margin, 1);
    const height = Math.max(this.window.height - 2 * margin, 1);
    const scale = Math.min(width / Math.max(box[2] - box[0], 1), height / Math.max(box[3] - box[1], 1), LARGEST_SCALE);
    this.centre([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], scale);
  }

  /** Brings a place of the picture into the middle of the screen. */
  centre([x, y], scale = this.scale) {
    this.scale = scale;
    this.x = this.window.width / 2 - (x + HALF) * scale;
    this.y = this.window.height / 2 - (y + HALF) * scale;
  }

  #smallest() {
    const fitting = Math.min(this.window.width / this.picture.width, this.window.height / this.picture.height);
    return Math.min(fitting / 2, 1);
  }

  #keepInSight() {
    const { picture, window, scale } = this;
    this.x = Math.min(Math.max(this.x, KEPT_IN_SIGHT - picture.width * scale), window.width - KEPT_IN_SIGHT);
    this.y = Math.min(Math.max(this.y, KEPT_IN_SIGHT - picture.height * scale), window.height - KEPT_IN_SIGHT);
  }
}
