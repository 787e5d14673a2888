/** What the page says: its status line, and a problem with what to do about it. */

import { Problem } from "./client.js";
import { byId } from "./panel.js";
import { state } from "./state.js";

/** Does the work and shows what goes wrong, with `retry` behind "Try again". */
export async function attempt(work, retry = null) {
  try {
    await work();
  } catch (error) {
    showProblem(error instanceof Problem ? error : fault(error), retry);
  }
}

function fault(error) {
  return new Problem({ title: "This page failed", detail: String(error), code: "page", action: "Reload it." });
}

/** Whether the same request may go better another time. */
const mayPass = ({ status, retryAfter }) => retryAfter !== null || status === 0 || status >= 500;

function showProblem(problem, retry) {
  const wantsKey = problem.status === 401;
  state.retry = retry;
  const texts = {
    "problem-title": problem.title,
    "problem-code": problem.code,
    "problem-detail": problem.detail,
    "problem-action": problem.action,
    "problem-id": problem.requestId && `Request ${problem.requestId}`,
  };
  for (const [id, text] of Object.entries(texts)) byId(id).textContent = text;
  byId("key-form").hidden = !wantsKey;
  byId("again").hidden = !retry || !mayPass(problem);
  byId("problem").hidden = false;
  say(state.reply ? "The last request failed; the answer shown is the one before it." : "The request failed.");
  if (wantsKey) byId("key").focus();
}

export function hideProblem() {
  byId("problem").hidden = true;
}

export function say(text) {
  byId("status").textContent = text;
}
