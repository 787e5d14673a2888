/** Example images: the portrait that comes with the service, and two that are drawn here. */

import { client } from "./requests.js";
import { newImage } from "./state.js";

export async function examples() {
  const portrait = await client.portrait();
  const bitmap = await createImageBitmap(portrait);
  return [
    newImage(portrait, "portrait.png"),
    newImage(await drawn(960, 640, (context) => drawGallery(context, bitmap)), "gallery.png"),
    newImage(await drawn(640, 480, drawLandscape), "landscape.png"),
  ];
}

async function drawn(width, height, draw) {
  const canvas = new OffscreenCanvas(width, height);
  draw(canvas.getContext("2d"));
  return canvas.convertToBlob();
}

/** The portrait four times on a wall: upright, mirrored, tilted, and small. */
function drawGallery(context, portrait) {
  context.fillStyle = "#8f9a94";
  context.fillRect(0, 0, 960, 640);
  for (const [x, y, size, degrees, mirror] of [
    [220, 250, 330, 0, 1],
    [545, 220, 230, 0, -1],
    [740, 440, 250, 24, 1],
    [390, 530, 120, -8, 1],
  ]) {
    context.setTransform(mirror, 0, 0, 1, x, y);
    context.rotate((degrees * Math.PI) / 180);
    context.fillStyle = "#f4f1ea";
    context.fillRect(-size / 2 - 10, -size / 2 - 10, size + 20, size + 20);
    context.imageSmoothingQuality = "high";
    context.drawImage(portrait, -size / 2, -size / 2, size, size);
  }
}

/** An image without a face. */
function drawLandscape(context) {
  const sky = context.createLinearGradient(0, 0, 0, 320);
  sky.addColorStop(0, "#6f9fd0");
  sky.addColorStop(1, "#dfe9ee");
  context.fillStyle = sky;
  context.fillRect(0, 0, 640, 480);
  for (const [height, color] of [[300, "#7f9a86"], [350, "#5d7d5e"], [410, "#41603f"]]) {
    context.fillStyle = color;
    context.beginPath();
    context.moveTo(0, 480);
    for (let x = 0; x <= 640; x += 8) context.lineTo(x, height + 30 * Math.sin((x + 3 * height) / 90));
    context.lineTo(640, 480);
    context.fill();
  }
}
