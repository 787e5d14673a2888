/** The image with its drawing as a file: an SVG document, or a PNG made of it. */

import { Problem } from "./client.js";
import { Overlay } from "./overlay.js";
import { View } from "./view.js";

const MIN_SIDE = 1200; // pixels of a PNG's longer side: a small image is enlarged, so that the drawing is sharp
const SCREEN_SIDE = 1600; // screen units of the longer side at which strokes have the width that they have on a screen

const PROPERTIES = {
  g: ["opacity"],
  path: ["fill", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linecap", "stroke-linejoin"],
  text: ["fill", "stroke", "stroke-width", "stroke-linejoin", "paint-order", "font-family", "font-size", "font-weight"],
};

/**
 * @param picture {bitmap (null where the browser cannot show the file), type (of its file, if it has one), width, height}
 * @param drawing the arguments of `Overlay.draw`
 */
export async function svgFile(picture, drawing) {
  const svg = drawnSvg(picture, drawing);
  if (picture.bitmap) svg.prepend(await imageNode(picture, svg.viewBox.baseVal));
  return svgBlob(svg);
}

export async function pngFile(picture, drawing) {
  const svg = drawnSvg(picture, drawing);
  const image = new Image();
  const url = URL.createObjectURL(svgBlob(svg));
  image.src = url;
  await image.decode();
  URL.revokeObjectURL(url);
  const [width, height] = ["width", "height"].map((side) => Number(svg.getAttribute(side)));
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  if (picture.bitmap) context.drawImage(picture.bitmap, 0, 0, width, height);
  context.drawImage(image, 0, 0, width, height);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  if (blob) return blob;
  const title = "The image is too large for a PNG of this browser";
  throw new Problem({ title, code: "page", action: "Download the SVG instead.", status: -1 });
}

/** The drawing alone, as a document that needs no style sheet. */
function drawnSvg({ width, height }, drawing) {
  const longer = Math.max(width, height);
  const enlarged = Math.max(Math.round(MIN_SIDE / longer), 1);
  const view = Object.assign(new View(), { scale: Math.min(enlarged, SCREEN_SIDE / longer) });
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "offscreen");
  document.body.append(svg); // styles are computed only for what is in the page
  const overlay = new Overlay(svg);
  overlay.draw(...drawing);
  overlay.follow(view, null);
  for (const node of svg.querySelectorAll(".mark, .band, .crowded")) node.remove();
  for (const face of svg.querySelectorAll(".face")) face.classList.add("selected"); // none stands back for another
  for (const node of svg.querySelectorAll("path, text, .face")) writeStyle(node, node.closest(".scene") ? view.scale : 1);
  for (const node of svg.querySelectorAll("*")) for (const name of ["class", "style"]) node.removeAttribute(name);
  svg.remove();
  svg.removeAttribute("class");
  svg.setAttribute("width", width * enlarged);
  svg.setAttribute("height", height * enlarged);
  svg.setAttribute("viewBox", `0 0 ${width * view.scale} ${height * view.scale}`);
  return svg;
}

/** Turns the styles of a node into attributes. `scale`: of the transform around it, which its strokes do not follow. */
function writeStyle(node, scale) {
  const style = getComputedStyle(node);
  for (const name of PROPERTIES[node.localName]) {
    let value = plainColor(style.getPropertyValue(name));
    if (name === "stroke-width" || name === "stroke-dasharray") {
      value = value.replace(/[\d.]+(px)?/g, (length) => String(Number.parseFloat(length) / scale));
    }
    node.setAttribute(name, value);
  }
}

/** Mixed colours are computed as color(srgb ...), which few other programs read. */
const plainColor = (text) =>
  text.replace(/color\(srgb ([^)/]+)[^)]*\)/, (_, parts) => {
    const levels = parts.trim().split(" ").map((part) => Math.round(Number(part) * 255));
    return `rgb(${levels.join(", ")})`;
  });

async function imageNode({ bitmap, type }, { width, height }) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  // drawn anew rather than copied: other programs would not turn the file as its EXIF orientation says
  const blob = await canvas.convertToBlob({ type: type === "image/png" ? type : "image/jpeg", quality: 0.95 });
  const node = document.createElementNS("http://www.w3.org/2000/svg", "image");
  for (const [name, value] of Object.entries({ href: await dataUrl(blob), width, height })) node.setAttribute(name, value);
  return node;
}

function dataUrl(blob) {
  const reader = new FileReader();
  return new Promise((resolve, reject) => {
    Object.assign(reader, { onload: () => resolve(reader.result), onerror: () => reject(reader.error) });
    reader.readAsDataURL(blob);
  });
}

const svgBlob = (svg) => new Blob([new XMLSerializer().serializeToString(svg)], { type: "image/svg+xml" });
