// What the page asks of the server. Addresses are relative, so the token goes along by itself.

/** @import {About, Edit, Panel, Scene, State} from "./types.js" */

/** An answer that says in words why there is none. */
export class Refused extends Error {
  /** @param {number} status @param {string} why */
  constructor(status, why) {
    super(why);
    this.status = status;
  }
}

/** @param {string} path @param {RequestInit} [options] @returns {Promise<Response>} */
async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Refused(0, "The viewer's program no longer answers. Start it again; every edit is on the disk.");
  }
  if (answer.ok) return answer;
  let why = answer.statusText;
  try {
    why = (await answer.json()).error ?? why;
  } catch {
    // an answer without words keeps its status
  }
  throw new Refused(answer.status, why);
}

/** @param {string} path @param {unknown} said */
function post(path, said) {
  const headers = { "content-type": "application/json" };
  return ask(path, { method: "POST", headers, body: JSON.stringify(said) });
}

/** @returns {Promise<State>} */
export const state = async () => (await ask("api/state")).json();
/** @returns {Promise<About>} */
export const about = async () => (await ask("api/about")).json();
/** @returns {Promise<Scene>} */
export const scene = async () => (await ask("api/scene")).json();
/**
 * The scene after an edit, and the mask of the frame that is looked at, where it could be painted.
 * @param {Edit} said @param {number} frame @param {number} version of the scene that it was made on
 * @returns {Promise<[Scene, Uint32Array | null]>}
 */
export async function edit(said, frame, version) {
  const { mask, ...scene } = await (await post(`api/edit?frame=${frame}&version=${version}`, said)).json();
  return [scene, mask ? new Uint32Array(Uint8Array.from(atob(mask), (c) => c.charCodeAt(0)).buffer) : null];
}
/** @param {Edit} said @param {number} frame */
export const preview = async (said, frame) => words(await post("api/preview", { edit: said, frame }));
/** @returns {Promise<State>} */
export const save = async () => (await post("api/save", {})).json();
/** @param {string | null} path null: masks alone @returns {Promise<State>} */
export const source = async (path) => (await post("api/source", { source: path })).json();
/** @param {number} version @param {number} frame */
export const mask = async (version, frame) => words(await ask(`api/mask/${version}/${frame}`));
/** @param {number} version @param {number} frame @param {AbortSignal} signal */
export const clusters = async (version, frame, signal) =>
  words(await ask(`api/clusters/${version}/${frame}`, { signal }));
/** @param {number} frame */
export const picture = async (frame) => createImageBitmap(await (await ask(`api/frame/${frame}.jpg`)).blob());
/** @returns {Promise<{panels: Panel[], lacks: string}>} */
export const panels = async () => (await ask("api/panels")).json();
/** @param {string} panel @param {number} frame @param {[number, number, number]} at @param {number | null} head */
export const heat = async (panel, frame, [t, x, y], head) =>
  createImageBitmap(await (await ask(`api/heat/${panel}/${frame}.png?at=${t}&x=${x}&y=${y}${head === null ? "" : `&head=${head}`}`)).blob());

/** @param {Response} answer */
async function words(answer) {
  return new Uint32Array(await answer.arrayBuffer());
}
