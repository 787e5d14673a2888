/** The answers to the frames of a video, and which of their faces are the same. */

const COLOURS = 8; // of page.css

const MIN_OVERLAP = 0.2; // intersection over union of the boxes of a face in two frames
const MAX_GAP = 1; // seconds for which a face that is not found is remembered
const MAX_CHARACTERS = 256e6; // of all answers: those to 25,000 frames of one face

/** The number of a face's colour. */
export const colourOf = (id) => String(((id - 1) % COLOURS) + 1);

export class Tracks {
  /**
   * {time, at (a seek to there shows the frame), text (the answer as it was sent; null where there is none),
   * milliseconds, problem, faces: [{id, score}]}
   */
  frames = [];
  /** Of all faces, in the order of their first frames. */
  ids = [];
  #known = []; // {id, box, time} of the faces that may come again
  #characters = 0;

  /** The answers that are kept fill the memory that they may. */
  get isFull() {
    return this.#characters > MAX_CHARACTERS;
  }

  get last() {
    return this.frames.at(-1);
  }

  /** Adds the next frame: {text, answer, milliseconds}, or {problem}. */
  add({ time, at }, { text = null, answer, milliseconds = 0, problem = null }) {
    const found = answer?.faces ?? [];
    const ids = this.#identify(found, time);
    this.#characters += text?.length ?? 0;
    const scores = found.map(({ score }, i) => ({ id: ids[i], score }));
    this.frames.push({ time, at, text, milliseconds, problem, faces: scores });
  }

  /** The index of the frame that is shown at a time: the last that has begun. */
  indexAt(time) {
    let [low, high] = [0, this.frames.length];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (this.frames[middle].time <= time) low = middle;
      else high = middle;
    }
    return low;
  }

  /** The index of the frame nearest to another one that has this face. */
  nearest(id, index) {
    const has = (i) => this.frames[i]?.faces.some((face) => face.id === id);
    for (let by = 0; by < this.frames.length; by++) for (const i of [index - by, index + by]) if (has(i)) return i;
    return index;
  }

  /** The answer to a frame, {text, answer, milliseconds} with the ids of the faces in it; null where there is none. */
  reply(index) {
    const { text, milliseconds, faces } = this.frames[index];
    if (text === null) return null;
    const answer = JSON.parse(text);
    answer.faces.forEach((face, i) => (face.id = faces[i].id));
    return { text, answer, milliseconds };
  }

  /** All frames as JSON, in parts. The answers are as the service sent them. */
  json(video) {
    const line = ({ time, text, problem, faces }, i) => {
      const head = `{"frame":${i + 1},"time":${time},"faces":${JSON.stringify(faces.map(({ id }) => ({ id })))}`;
      const { title, detail, code } = problem ?? {};
      return problem ? `${head},"problem":${JSON.stringify({ code, title, detail })}}` : `${head},"answer":${text}}`;
    };
    const rows = this.frames.map((frame, i) => `${i ? ",\n" : ""}${line(frame, i)}`);
    return [`{"video":${JSON.stringify(video)},\n"frames":[\n`, ...rows, "\n]}\n"];
  }

  /** The ids of faces: the pairs of faces and known ones that overlap most come first. */
  #identify(faces, time) {
    const known = this.#known.filter((each) => time - each.time <= MAX_GAP);
    const pairs = faces.flatMap(({ box }, i) => known.map((each) => ({ i, each, share: overlap(box, each.box) })));
    const ids = Array(faces.length).fill(0);
    const used = new Set();
    for (const { i, each, share } of pairs.toSorted((a, b) => b.share - a.share)) {
      if (share < MIN_OVERLAP || ids[i] || used.has(each)) continue;
      ids[i] = each.id;
      used.add(each);
    }
    ids.forEach((id, i) => id || this.ids.push((ids[i] = this.ids.length + 1)));
    const found = faces.map(({ box }, i) => ({ id: ids[i], box, time }));
    this.#known = [...found, ...known.filter((each) => !used.has(each))];
    return ids;
  }
}

/** Intersection over union of two boxes. */
function overlap(a, b) {
  const side = (i) => Math.max(Math.min(a[i + 2], b[i + 2]) - Math.max(a[i], b[i]), 0);
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  const shared = side(0) * side(1);
  return shared / (area(a) + area(b) - shared);
}
