/**
 * Keyboard shortcuts of a single key. They work on the whole page, or only in the image where the user chose that, and
 * never while the user types into a field.
 */

import { byId } from "./panel.js";

const PAN_STEP = 48; // screen units
const ARROWS = {
  ArrowLeft: [PAN_STEP, 0],
  ArrowRight: [-PAN_STEP, 0],
  ArrowUp: [0, PAN_STEP],
  ArrowDown: [0, -PAN_STEP],
};

/** `actions`: functions by key, in lower case. `enter`: the action of Enter in the image. */
export function bindKeys(viewer, actions, enter) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const isInImage = event.target === viewer.node;
    const arrow = isInImage && ARROWS[event.key];
    const key = event.key.toLowerCase();
    const action = key === "enter" ? isInImage && enter : isShortcut(event, isInImage) && actions[key];
    if (!arrow && !action) return;
    event.preventDefault();
    if (arrow) viewer.pan(...arrow);
    else action();
  });
}

function isShortcut(event, isInImage) {
  if (byId("keys").open) return false;
  if (event.target.closest?.("input:not([type=checkbox], [type=radio], [type=range]), select, textarea")) return false;
  if (event.key === " " && event.target.closest?.("a, button, summary, [type=checkbox], [type=radio]")) return false;
  return isInImage || event.key === "Escape" || byId("single-keys").checked;
}
