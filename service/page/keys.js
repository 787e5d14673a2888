/** Single keys. They work on the whole page, or in the picture alone where that was chosen; never while one writes. */

import { byId } from "./panel.js";

const PAN = 48; // screen units
const ARROWS = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] };

/** `actions` by key in lower case, and `enter` for Enter in the picture. */
export function bindKeys(viewer, actions, enter) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const isInPicture = event.target === viewer.node;
    const arrow = isInPicture && ARROWS[event.key];
    const key = event.key.toLowerCase();
    const action = key === "enter" ? isInPicture && enter : isMeant(event, isInPicture) && actions[key];
    if (!arrow && !action) return;
    event.preventDefault();
    if (arrow) viewer.pan(...arrow);
    else action();
  });
}

function isMeant(event, isInPicture) {
  if (byId("keys").open) return false;
  if (event.target.closest?.("input:not([type=checkbox], [type=radio]), select, textarea")) return false;
  return isInPicture || event.key === "Escape" || byId("single-keys").checked;
}
