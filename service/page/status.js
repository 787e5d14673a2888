/** The status line, and the alert that shows a problem and what to do about it. */

import { Problem } from "./client.js";
import { byId } from "./panel.js";
import { state } from "./state.js";

/** Runs `work`, and shows its failure. `retry` is the action of "Try again". */
export async function attempt(work, retry = null) {
  try {
    await work();
  } catch (error) {
    showProblem(asProblem(error), retry);
  }
}

export function asProblem(error) {
  if (error instanceof Problem) return error;
  return new Problem({ title: "This page failed", detail: String(error), code: "page", action: "Reload it.", status: -1 });
}

/** Whether the same may succeed later. The status is 0 where there was no answer. */
const isTemporary = ({ status, retryAfter }) => retryAfter !== null || status === 0 || status >= 500;

export function showProblem(problem, retry) {
  const { title, detail, code, action, requestId } = problem;
  const needsKey = problem.status === 401;
  state.retry = retry;
  const texts = {
    "problem-title": title,
    "problem-code": code,
    "problem-detail": detail,
    "problem-action": action,
    "problem-id": requestId && `Request ${requestId}`,
  };
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
  byId("key-form").hidden = !needsKey;
  byId("again").hidden = !retry || !isTemporary(problem);
  byId("dismiss").textContent = needsKey ? "Not now" : "Dismiss";
  byId("problem").classList.toggle("question", code === "");
  byId("problem").hidden = false;
  byId("problem").scrollIntoView({ block: "nearest" });
  setStatus(`${title}.`);
  if (needsKey) byId("key").focus();
}

export function hideProblem() {
  byId("problem").hidden = true;
}

export function setStatus(text) {
  byId("status").textContent = text;
}
