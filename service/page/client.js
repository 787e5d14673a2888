/** The HTTP client for the service that this page came from. Every failure is a Problem (RFC 9457). */

export class Problem extends Error {
  constructor({ title, detail = "", code, action = "", request_id = "", status = 0 }, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { title, detail, code, action, requestId: request_id, status, retryAfter });
  }
}

const UNREACHABLE = {
  title: "The service cannot be reached",
  detail: "It did not answer.",
  code: "unreachable",
  action: "Check that it runs and that the network is up, then try again.",
};

/** The question for a first key. It has no code, because nothing has failed. */
const KEY_NEEDED = {
  title: "This service needs an API key",
  detail: "Whoever runs it gives out the keys. The page forgets the key when it is closed.",
  code: "",
  status: 401,
};

export class Client {
  key = ""; // kept in memory only: it is gone when the page is closed

  /** The points' names, groups and outlines, and `degreesOfFreedom` of each group's errors. */
  async layout() {
    const [layout, { models }] = await Promise.all(
      ["v1/layout", "v1/models"].map(async (path) => (await this.#fetch(path)).json()),
    );
    return { ...layout, degreesOfFreedom: models[0].degrees_of_freedom };
  }

  /** An example image, which comes with the service. */
  portrait() {
    return this.#fetch("page/portrait.png").then((response) => response.blob());
  }

  /**
   * The faces in one image file. `text` is the answer exactly as the service sent it.
   * @param {Blob} file
   * @param {{boxes: number[][], topk: string, maxFaces: string, refine: string}} options
   */
  async landmarks(file, options, signal) {
    const start = performance.now();
    const response = await this.#fetch(requestUrl(options), {
      method: "POST",
      body: file,
      // the service detects the format from the bytes; browsers derive a media type from the file's name only
      headers: { "Content-Type": "application/octet-stream" },
      signal,
    });
    const text = await response.text();
    return { text, answer: JSON.parse(text), milliseconds: performance.now() - start };
  }

  async #fetch(url, { headers = {}, ...rest } = {}) {
    const authorization = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    let response;
    try {
      response = await fetch(url, { headers: { ...headers, ...authorization }, ...rest });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(UNREACHABLE);
    }
    if (response.status === 401 && !this.key) throw new Problem(KEY_NEEDED);
    if (!response.ok) throw await problem(response);
    return response;
  }
}

export function requestUrl({ boxes, topk, maxFaces, refine }) {
  const query = new URLSearchParams(boxes.map((box) => ["box", box.join()]));
  for (const [name, value] of Object.entries({ topk, max_faces: maxFaces, refine })) if (value) query.set(name, value);
  const text = query.toString().replaceAll("%2C", ",");
  return text ? `v1/landmarks?${text}` : "v1/landmarks";
}

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  const seconds = Number.parseFloat(response.headers.get("Retry-After"));
  const unknown = {
    title: `HTTP status ${response.status}`,
    detail: "A proxy between this page and the service sent this answer.",
    code: `http_${response.status}`,
  };
  // the detail already says what to do; the action, which is the same for every problem of this code, would repeat it
  const known = body && typeof body.code === "string" ? { ...body, action: "" } : {};
  return new Problem({ ...unknown, ...known, status: response.status }, Number.isFinite(seconds) ? seconds : null);
}

/** The same request as a command for a terminal. */
export function curl(name, options, hasKey) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const key = hasKey ? ' -H "Authorization: Bearer $LANDMARKS_API_KEY"' : "";
  const url = new URL(requestUrl(options), document.baseURI).href;
  return `curl --data-binary ${quoted(`@${name}`)} -H 'Content-Type: application/octet-stream'${key} ${quoted(url)}`;
}
