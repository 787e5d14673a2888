/** Answers as a CSV file, with the columns that `landmarks detect --format csv` writes. */

const IMAGE = ["file", "faces", "face", "width", "height", "model", "provenance"];
const FACE = ["box_x1", "box_y1", "box_x2", "box_y2", "box_source", "box_score", "score", "inter_ocular", "passes"];
const POINT = { points: ["x", "y"], scores: ["score"], covariances: ["xx", "xy", "yy"], visibility: ["visibility"] };

/**
 * A row for each face, and one for an image without a face.
 * @param {{name: string, answer: object}[]} images
 */
export function csvOf(images) {
  const first = images.flatMap(({ answer }) => answer.faces)[0] ?? { points: [] };
  const numbers = Array.from(first.points.keys());
  const large = fieldsOf(first).flatMap((field) => numbers.flatMap((i) => POINT[field].map((part) => `${part}_${i}`)));
  const header = [...IMAGE, ...FACE, ...large];
  const rows = images.flatMap(rowsOf).map((row) => [...row, ...Array(header.length - row.length).fill("")]);
  return [header, ...rows].map((row) => `${row.map(cell).join(",")}\n`).join("");
}

function rowsOf({ name, answer: { faces, image, model } }) {
  const about = [image.width, image.height, model.name, model.provenance];
  if (!faces.length) return [[name, 0, "", ...about]];
  return faces.map((face, index) => [name, faces.length, index, ...about, ...faceCells(face)]);
}

function faceCells(face) {
  const numbers = FACE.slice(4).map((column) => face[column] ?? "");
  return [...face.box, ...numbers, ...fieldsOf(face).flatMap((field) => face[field].flat())];
}

/** Not every model states whether its points are seen. */
const fieldsOf = (face) => Object.keys(POINT).filter((field) => field in face);

function cell(value) {
  const text = String(value);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
