/** Asks the service that this page came from. Every failure is a Problem (RFC 9457), so that one place shows all. */

export class Problem extends Error {
  constructor({ title, detail = "", code, action = "", request_id = "", status = 0 }, retryAfter = null) {
    super(detail || title);
    Object.assign(this, { title, detail, code, action, requestId: request_id, status, retryAfter });
  }
}

const UNREACHABLE = {
  title: "The service cannot be reached",
  detail: "No answer came from it.",
  code: "unreachable",
  action: "Check that it runs and that the network is up, then try again.",
};

export class Client {
  key = ""; // held in memory alone: it is gone when the page is closed

  /** The points' names, groups and outlines, and as `freedom` how heavy the tails of each group's errors are. */
  async layout() {
    const [layout, { models }] = await Promise.all(
      ["v1/layout", "v1/models"].map(async (path) => (await this.#ask(path)).json()),
    );
    return { ...layout, freedom: models[0].degrees_of_freedom };
  }

  /** A picture to try, which comes with the service. */
  portrait() {
    return this.#ask("page/portrait.png").then((response) => response.blob());
  }

  /**
   * The faces of one image file. `text` is the answer as the service wrote it.
   * @param {Blob} file
   * @param {{boxes: number[][], topk: string, maxFaces: string}} options
   */
  async landmarks(file, options, signal) {
    const start = performance.now();
    const response = await this.#ask(address(options), {
      method: "POST",
      body: file,
      // the service looks at the bytes; what a browser makes of a file's name is no help
      headers: { "Content-Type": "application/octet-stream" },
      signal,
    });
    const text = await response.text();
    return { text, answer: JSON.parse(text), milliseconds: performance.now() - start };
  }

  async #ask(url, { headers = {}, ...rest } = {}) {
    const authorization = this.key ? { Authorization: `Bearer ${this.key}` } : {};
    let response;
    try {
      response = await fetch(url, { headers: { ...headers, ...authorization }, ...rest });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Problem(UNREACHABLE);
    }
    if (!response.ok) throw await problem(response);
    return response;
  }
}

export function address({ boxes, topk, maxFaces }) {
  const query = new URLSearchParams(boxes.map((box) => ["box", box.join()]));
  if (topk) query.set("topk", topk);
  if (maxFaces) query.set("max_faces", maxFaces);
  const text = query.toString().replaceAll("%2C", ",");
  return text ? `v1/landmarks?${text}` : "v1/landmarks";
}

async function problem(response) {
  const told = await response.json().catch(() => ({}));
  const seconds = Number.parseFloat(response.headers.get("Retry-After"));
  const unknown = {
    title: `HTTP status ${response.status}`,
    detail: "Something between this page and the service answered in its place.",
    code: `http_${response.status}`,
  };
  // the service's details say what to do: its action, which is the same for all of a code, would say it again
  const known = told && typeof told.code === "string" ? { ...told, action: "" } : {};
  return new Problem({ ...unknown, ...known, status: response.status }, Number.isFinite(seconds) ? seconds : null);
}

/** The same request for a terminal. */
export function curl(name, options, hasKey) {
  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const key = hasKey ? ' -H "Authorization: Bearer $LANDMARKS_API_KEY"' : "";
  const url = new URL(address(options), document.baseURI).href;
  return `curl --data-binary ${quoted(`@${name}`)} -H 'Content-Type: application/octet-stream'${key} ${quoted(url)}`;
}
