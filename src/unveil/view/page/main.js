// The viewer: what is asked first, and how its parts act on each other.

import * as ask from "./ask.js";
import { Attention } from "./attention.js";
import { find, h, icon } from "./dom.js";
import { bind, explain } from "./keys.js";
import { Side } from "./side.js";
import { Stage } from "./stage.js";
import { Store, nameOf } from "./store.js";
import { Timeline } from "./timeline.js";

/** @import {Edit, Point, Scene, State} from "./types.js" */

const TOOLS = [
  { name: "select", key: "V", title: "Select" },
  { name: "promote", key: "P", title: "Make an object" },
  { name: "split", key: "S", title: "Split" },
  { name: "brush", key: "B", title: "Add with a brush" },
  { name: "erase", key: "E", title: "Erase with a brush" },
  { name: "attention", key: "A", title: "Attention" },
];
const WORDS = /** @type {Record<string, string>} */ ({
  promote: "make an object", settings: "slider", class: "class", colour: "colour", cut: "cut in time", join: "join in time", brush: "stroke",
});

/** @param {string} text */
function tell(text) {
  find("said").textContent = text;
}

let hush = 0;
/** @param {string} text */
function complain(text) {
  const toast = find("toast");
  toast.textContent = text;
  toast.hidden = false;
  clearTimeout(hush);
  hush = window.setTimeout(() => (toast.hidden = true), 3000 + 40 * text.length);
}

/** @param {unknown} error */
const fail = (error) => complain(error instanceof Error ? error.message : String(error));

/** Show how far the work is until the result is there; asks for the video where it moved. */
async function ready() {
  const dialog = /** @type {HTMLDialogElement} */ (find("wait"));
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  for (;;) {
    const state = await ask.state();
    if (state.phase === "ready" || state.phase === "saving") {
      if (dialog.open) dialog.close();
      return;
    }
    if (state.phase === "failed") {
      dialog.replaceChildren(h("h2", { id: "wait-title" }, "That did not work"), h("p", {}, state.error), h("p", { class: "faint" }, "Start the viewer again once that is put right."));
      if (!dialog.open) dialog.showModal();
      return new Promise(() => {});
    }
    if (state.phase === "source") {
      await where(dialog, state);
      continue;
    }
    progress(dialog, state, `Looking at ${state.name}`);
    if (!dialog.open) dialog.showModal();
    await new Promise((done) => setTimeout(done, 300));
  }
}

/** @param {HTMLDialogElement} dialog @param {State} state @param {string} title */
function progress(dialog, state, title) {
  const p = state.progress;
  const bar = /** @type {HTMLProgressElement} */ (h("progress", { "aria-label": p?.stage ?? "" }));
  if (p?.total) {
    bar.max = p.total;
    bar.value = p.done;
  }
  dialog.replaceChildren(h("h2", { id: "wait-title" }, title), bar, h("p", { class: "faint" }, p ? `${p.stage}${p.total ? ` ${p.done} of ${p.total}` : p.done ? ` ${p.done}` : " …"}` : "…"));
}

/** Ask where the video is. @param {HTMLDialogElement} dialog @param {State} state */
function where(dialog, state) {
  return new Promise((/** @type {(value: void) => void} */ done) => {
    const why = h("p", { class: "warn", role: "alert" }, state.error);
    const field = /** @type {HTMLInputElement} */ (h("input", { type: "text", id: "source", placeholder: "/path/to/the/video.mp4", "aria-label": "Path of the video", autofocus: true }));
    const take = async (/** @type {string | null} */ path) => {
      try {
        await ask.source(path);
        done();
      } catch (error) {
        why.textContent = error instanceof Error ? error.message : String(error);
        field.select();
      }
    };
    const form = h("form", { onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      const path = field.value.trim();
      if (path) void take(path);
    } }, field,
      state.masks_only && h("button", { type: "button", id: "masks-only", onclick: () => void take(null) }, "Only the masks"),
      h("button", { class: "strong" }, "Open"));
    dialog.replaceChildren(h("h2", { id: "wait-title" }, "Where is the video?"), why, h("p", { class: "faint" }, "The result is here, its pictures are not. Give the path of the same video on this machine."), form);
    if (!dialog.open) dialog.showModal();
  });
}

async function main() {
  theme();
  await ready();
  const [about, scene] = await Promise.all([ask.about(), ask.scene()]);
  document.title = `${about.name} · Unveil`;
  find("title").textContent = about.name;
  find("about").textContent = `${about.width}×${about.height} · ${about.frames} frames · ${Number(about.fps.toFixed(2))} fps`;
  const store = new Store({
    about, scene, frame: 0, playing: false, selected: [], cluster: null, hidden: new Set(), solo: null, opacity: 0.5, outlines: true,
    clusters: false, tool: "select", radius: 0.03, carry: true, pressed: null, busy: false,
  });
  const { view } = store;

  const select = (/** @type {number} */ id, /** @type {boolean} */ more) => {
    let selected = id ? [id] : [];
    if (more && id) selected = view.selected.includes(id) ? view.selected.filter((i) => i !== id) : [...view.selected, id];
    store.set({ selected });
    const names = store.things.map(nameOf);
    tell(names.length ? `${names.join(", ")} selected` : "nothing selected");
  };

  /** Show a scene; what is gone is selected and hidden no more. @param {Scene} scene */
  const take = (scene, selected = view.selected) => {
    const there = new Set(scene.objects.map((o) => o.id));
    store.set({
      scene, cluster: null,
      selected: selected.filter((id) => there.has(id)),
      hidden: new Set([...view.hidden].filter((id) => there.has(id))),
      solo: view.solo !== null && there.has(view.solo) ? view.solo : null,
    });
  };

  let news = 0; // times that another tab had changed the scene
  /** Show the scene as it is now; whether it was another. */
  const refresh = async () => {
    const scene = await ask.scene();
    if (scene.version === view.scene.version) return false;
    news++;
    take(scene);
    return true;
  };

  let chain = Promise.resolve();
  /** One edit after the other, in the order they were made. @param {Edit} edit */
  const edit = (edit) => {
    if (about.locked) return Promise.resolve(complain(about.locked));
    const known = news;
    chain = chain.then(async () => {
      if (known !== news) return; // it was made on a scene that is gone, which was said
      try {
        const before = new Set(view.scene.objects.map((o) => o.id));
        const { frame } = view;
        const [after, mask] = await ask.edit(edit, frame, view.scene.version);
        if (mask) stage.cache.take(after.version, frame, mask);
        const fresh = after.objects.map((o) => o.id).filter((id) => !before.has(id));
        let { selected } = view;
        if (edit.edit === "promote" && fresh.length) selected = fresh;
        if (edit.edit === "split" && fresh.length) selected = [fresh[0]];
        if (edit.edit === "cut" && fresh.length) selected = fresh;
        if (edit.edit === "merge" || edit.edit === "join") selected = selected.slice(0, 1);
        // The background's clusters come later: what was asked for is seen at once.
        after.clusters ??= view.scene.clusters;
        take(after, selected);
        void stage.settled().then(ask.scene).then((full) => full.version === view.scene.version && store.set({ scene: full }), () => {});
        tell(`${words(edit)} done; ${after.objects.length} objects`);
      } catch (error) {
        stage.untry();
        fail(error);
        if (error instanceof ask.Refused && error.status === 409) await refresh().catch(fail);
      }
    });
    return chain;
  };

  const asked = { busy: false, next: /** @type {Edit | null} */ (null) };
  /** Show what an edit would do, the latest one only. @param {Edit} said */
  const preview = async (said) => {
    asked.next = said;
    if (asked.busy) return;
    asked.busy = true;
    while (asked.next) {
      const now = asked.next;
      asked.next = null;
      try {
        await stage.try(now);
      } catch {
        // the edit itself will say why it cannot be done
      }
    }
    asked.busy = false;
  };

  const need = (/** @type {number} */ n, /** @type {string} */ why) => {
    if (about.locked) return complain(about.locked), false;
    if (store.things.length >= n) return true;
    complain(why);
    return false;
  };
  const ids = () => store.things.map((t) => t.id);
  const doings = {
    edit,
    preview: (/** @type {Edit} */ e) => void preview(e),
    untry: () => stage.untry(),
    show: (/** @type {import("./types.js").Cluster} */ c) => {
      store.set({ cluster: c.id });
      if (!c.seen.some(([a, b]) => a <= view.frame && view.frame < b)) seek(c.at[0]);
    },
    find: (/** @type {import("./types.js").Thing} */ thing) => void (thing.seen.length && seek(thing.seen[0][0])),
    merge: () => need(2, "Select two or more objects first: shift-click them.") && void edit({ edit: "merge", objects: ids() }),
    join: () => need(2, "Select two or more objects first: shift-click them.") && void edit({ edit: "join", objects: ids() }),
    cut: () => need(1, "Select the object to cut first.") && void edit({ edit: "cut", of: ids()[0], frame: view.frame }),
    drop: () => {
      if (need(1, "Select the object to drop first.")) for (const id of ids()) void edit({ edit: "drop", of: id });
    },
    split: () => use("split"),
  };

  const stage = new Stage(store, {
    select,
    promote: (at) => void edit({ edit: "promote", at }),
    side: (at, id) => side(at, id),
    stroke: (said) => void edit(said),
    press: (at) => store.set({ pressed: at }),
    fail: complain,
    stale: () => void refresh().then((changed) => changed && complain("This was changed in another tab: it is shown as it is now."), fail),
  });
  const seek = (/** @type {number} */ frame) => store.set({ frame: Math.min(Math.max(frame, 0), about.frames - 1) });
  const step = (/** @type {number} */ by) => {
    store.set({ playing: false });
    seek(view.frame + by);
  };

  let due = 0;
  const tick = (/** @type {number} */ now) => {
    if (!view.playing) return;
    const next = (view.frame + 1) % about.frames;
    if (now >= due - 4 && stage.cache.now(view.scene.version, next)) {
      due = Math.max(due + 1000 / about.fps, now - 1000 / about.fps);
      store.set({ frame: next });
    }
    stage.ahead();
    requestAnimationFrame(tick);
  };
  const play = () => {
    store.set({ playing: !view.playing });
    due = performance.now();
    if (view.playing) requestAnimationFrame(tick);
    else void stage.loadClusters();
  };

  // Split: points of either side, shown as the edit would part them, done with Enter.
  let turn = 0;
  const side = (/** @type {Point} */ at, /** @type {number} */ id) => {
    if (!store.things.length || (id && !view.selected.includes(id) && !stage.marks.length)) {
      if (!id) return complain("Click on the object that is to be split.");
      select(id, false);
    }
    stage.marks.push({ at, side: turn });
    if (stage.marks.filter((m) => m.side === turn).length === 1 && turn === 0) turn = 1;
    task();
    stage.draw();
    const parted = splitting();
    if (parted) void stage.try(parted).catch(fail);
  };
  /** @returns {Edit | null} */
  const splitting = () => {
    const sides = [0, 1].map((s) => stage.marks.filter((m) => m.side === s).map((m) => m.at));
    return store.things.length && sides.every((points) => points.length) ? { edit: "split", of: ids()[0], sides } : null;
  };
  const finish = () => {
    const said = splitting();
    if (!said) return complain("Click once on either side first.");
    void edit(said).then(() => use("select"));
  };
  const use = (/** @type {string} */ tool) => {
    if (about.locked && tool !== "select") return complain(about.locked);
    stage.marks = [];
    turn = 0;
    if (view.tool === "split") stage.untry();
    store.set({ tool, cluster: null });
    if (tool !== "attention") store.set({ pressed: null });
  };
  const task = () => {
    const room = find("task");
    const { tool } = view;
    const lead = store.things[0];
    /** @type {Record<string, (Node | string)[]>} */
    const tasks = {
      promote: ["Click a thing that is no object yet."],
      split: [
        lead ? `Split ${nameOf(lead)}: click on ` : "Click the object to split, on ",
        ...[0, 1].map((s) =>
          h("button", { type: "button", class: `side side${s + 1}`, "aria-pressed": turn === s ? "true" : "false", title: `Clicks are of side ${s + 1} (${s + 1})`, onclick: () => turnTo(s) }, `side ${s + 1}`)),
        h("button", { type: "button", class: "strong", id: "split-done", onclick: finish }, "Split"),
        h("button", { type: "button", class: "quiet", onclick: () => use("select") }, "Cancel"),
      ],
      brush: [lead ? `Paint what is of ${nameOf(lead)}; [ and ] change the brush.` : "Select an object, then paint what is of it."],
      erase: [lead ? `Wipe away what is not of ${nameOf(lead)}.` : "Select an object, then wipe away what is not of it."],
      attention: ["Press on a patch to see what it attends to."],
    };
    room.hidden = !tasks[tool] || (tool === "attention" && view.pressed !== null);
    room.replaceChildren(...(tasks[tool] ?? []));
    for (const b of document.querySelectorAll("#tools button")) b.setAttribute("aria-pressed", /** @type {HTMLElement} */ (b).dataset.tool === tool ? "true" : "false");
    stage.canvas.dataset.tool = tool;
  };
  const turnTo = (/** @type {number} */ s) => {
    turn = s;
    task();
  };

  const history = (/** @type {string} */ kind) => edit({ edit: kind });
  const save = async () => {
    const dialog = /** @type {HTMLDialogElement} */ (find("wait"));
    try {
      await chain;
      store.set({ playing: false });
      let state = await ask.save();
      while (state.phase === "saving") {
        progress(dialog, state, "Saving");
        if (!dialog.open) dialog.showModal();
        await new Promise((done) => setTimeout(done, 150));
        state = await ask.state();
      }
      if (dialog.open) dialog.close();
      if (state.error) return fail(state.error);
      take(await ask.scene());
      tell("saved");
    } catch (error) {
      if (dialog.open) dialog.close();
      fail(error);
    }
  };

  const timeline = new Timeline(store, { seek, step, play, select });
  const panel = new Side(store, doings);
  new Attention(store);
  void timeline;
  performance.mark("timeline");

  const bar = () => {
    const { undo, redo, saved } = view.scene;
    const set = (/** @type {string} */ id, /** @type {string} */ text, /** @type {Edit | null} */ what, /** @type {string} */ key) => {
      const b = /** @type {HTMLButtonElement} */ (find(id));
      b.disabled = !what;
      b.title = what ? `${text} ${words(what)} (${key})` : `Nothing to ${text.toLowerCase()}`;
      b.setAttribute("aria-label", b.title);
    };
    set("undo", "Undo", undo, "Ctrl+Z");
    set("redo", "Redo", redo, "Ctrl+Shift+Z");
    /** @type {HTMLButtonElement} */ (find("save")).disabled = saved;
    const { edits } = view.scene;
    const unsaved = edits ? `${edits} ${edits === 1 ? "edit" : "edits"}, not in the masks yet` : "no edits, the masks are of some";
    find("saved").textContent = saved ? "saved" : unsaved;
  };
  find("undo").append(icon("undo"));
  find("redo").append(icon("redo"));
  find("help").append(icon("help"));
  find("help").setAttribute("aria-label", "Keyboard help (?)");
  find("help").title = "Keyboard (?)";
  find("undo").onclick = () => history("undo");
  find("redo").onclick = () => history("redo");
  find("save").onclick = save;
  find("save").title = "Write masks, overlay and objects.json (Ctrl+S)";
  document.body.toggleAttribute("data-locked", Boolean(about.locked));
  find("locked").title = about.locked;
  find("locked").onclick = () => complain(about.locked);
  find("tools").append(
    ...TOOLS.filter(({ name }) => !about.locked || name === "select").map(({ name, key, title }) => h("button", { type: "button", "data-tool": name, "aria-label": `${title} (${key})`, title: `${title} (${key})`, "aria-pressed": "false", onclick: () => use(name) }, icon(name))),
    h("span", { class: "gap" }),
    h("button", { type: "button", "aria-label": "Whole frame (0)", title: "Whole frame (0)", onclick: () => stage.fit() }, icon("fit")),
  );

  /** @type {import("./keys.js").Group[]} */
  const groups = [
    { title: "Look", keys: [
      { keys: [" "], shown: "Space", about: "play or pause", act: play },
      { keys: ["ArrowLeft"], shown: "←", about: "a frame back", act: () => step(-1) },
      { keys: ["ArrowRight"], shown: "→", about: "a frame ahead", act: () => step(1) },
      { keys: ["Shift+ArrowLeft"], shown: "Shift ←", about: "ten frames back", act: () => step(-10) },
      { keys: ["Shift+ArrowRight"], shown: "Shift →", about: "ten frames ahead", act: () => step(10) },
      { keys: ["Home"], shown: "Home", about: "first frame", act: () => step(-about.frames) },
      { keys: ["End"], shown: "End", about: "last frame", act: () => step(about.frames) },
      { keys: ["+", "="], shown: "+", about: "closer", act: () => stage.magnify(1.3) },
      { keys: ["-"], shown: "-", about: "further away", act: () => stage.magnify(1 / 1.3) },
      { keys: ["0"], shown: "0", about: "whole frame", act: () => stage.fit() },
      { keys: ["l"], shown: "L", about: "outlines", act: () => store.set({ outlines: !view.outlines }) },
      { keys: ["k"], shown: "K", about: "background clusters", act: () => store.set({ clusters: !view.clusters }) },
      { keys: ["o"], shown: "O", about: "only the selected object", act: () => store.set({ solo: view.solo === null ? (ids()[0] ?? null) : null }) },
      { keys: ["h"], shown: "H", about: "hide the selected, or show all", act: () => store.set({ hidden: ids().length ? new Set([...view.hidden, ...ids()]) : new Set(), solo: null }) },
      { keys: [",", "."], shown: ", .", about: "masks off and on", act: () => store.set({ opacity: view.opacity ? 0 : 0.5 }) },
    ] },
    { title: "Correct", keys: [
      { keys: ["p"], shown: "P", about: "make an object of what is clicked", act: () => use("promote") },
      { keys: ["m"], shown: "M", about: "merge the selected", act: doings.merge },
      { keys: ["s"], shown: "S", about: "split: click either side, then Enter", act: () => use("split") },
      { keys: ["Delete", "Backspace"], shown: "Del", about: "drop the selected", act: doings.drop },
      { keys: ["r", "F2"], shown: "R", about: "rename", act: () => panel.name() },
      { keys: ["c"], shown: "C", about: "cut in time: from here on another", act: doings.cut },
      { keys: ["j"], shown: "J", about: "join in time", act: doings.join },
      { keys: ["b"], shown: "B", about: "add with a brush", act: () => use("brush") },
      { keys: ["e"], shown: "E", about: "erase with a brush", act: () => use("erase") },
      { keys: ["["], shown: "[", about: "smaller brush", act: () => store.set({ radius: Math.max(0.005, view.radius / 1.25) }) },
      { keys: ["]"], shown: "]", about: "larger brush", act: () => store.set({ radius: Math.min(0.2, view.radius * 1.25) }) },
      { keys: ["Ctrl+z"], shown: "Ctrl Z", about: "undo", act: () => history("undo") },
      { keys: ["Ctrl+Shift+z", "Ctrl+y"], shown: "Ctrl Shift Z", about: "redo", act: () => history("redo") },
      { keys: ["Ctrl+s"], shown: "Ctrl S", about: "save", act: () => void (about.locked ? complain(about.locked) : view.scene.saved || save()) },
    ] },
    { title: "Choose", keys: [
      { keys: ["v"], shown: "V", about: "select", act: () => use("select") },
      { keys: ["a"], shown: "A", about: "attention", act: () => use("attention") },
      { keys: ["n", "ArrowDown"], shown: "N ↓", about: "next object", act: () => neighbour(1) },
      { keys: ["Shift+n", "ArrowUp"], shown: "Shift N ↑", about: "object before", act: () => neighbour(-1) },
      { keys: ["Ctrl+a"], shown: "Ctrl A", about: "all objects", act: () => store.set({ selected: view.scene.objects.map((o) => o.id) }) },
      { keys: ["1"], shown: "1", about: "while splitting: clicks of side 1", act: () => (view.tool === "split" ? turnTo(0) : nth(1)) },
      { keys: ["2"], shown: "2", about: "while splitting: clicks of side 2", act: () => (view.tool === "split" ? turnTo(1) : nth(2)) },
      { keys: ["Enter"], shown: "Enter", about: "do the split", act: () => view.tool === "split" && finish() },
      { keys: ["Escape"], shown: "Esc", about: "leave the tool, select nothing", act: () => (view.tool === "select" ? (select(0, false), store.set({ pressed: null, cluster: null })) : use("select")) },
      { keys: ["?"], shown: "?", about: "this list", act: () => explain(shown) },
    ] },
  ];
  const nth = (/** @type {number} */ n) => view.scene.objects[n - 1] && select(view.scene.objects[n - 1].id, false);
  const neighbour = (/** @type {number} */ by) => {
    const all = view.scene.objects.map((o) => o.id);
    if (!all.length) return;
    const at = all.indexOf(view.selected[0]);
    select(all[(at + by + all.length + (at < 0 && by < 0 ? 1 : 0)) % all.length], false);
  };
  bind(groups);
  const shown = about.locked ? groups.filter((group) => group.title !== "Correct") : groups;
  find("help").onclick = () => explain(shown);
  store.listen((changed) => {
    if (changed.has("scene")) bar();
    if (["tool", "selected", "pressed"].some((k) => changed.has(/** @type {any} */ (k)))) task();
  });
  bar();
  task();
  for (const warning of about.warnings) complain(warning);
  document.body.dataset.ready = "yes";
  await stage.load();
  document.body.dataset.shown = "yes";
}

/** @param {Edit} edit */
const words = (edit) => WORDS[edit.edit] ?? edit.edit;

function theme() {
  const key = "unveil-theme";
  const set = (/** @type {string | null} */ to) => {
    if (to) document.documentElement.dataset.theme = to;
    else delete document.documentElement.dataset.theme;
  };
  set(localStorage.getItem(key));
  const b = find("theme");
  b.append(icon("theme"));
  b.title = "Light or dark";
  b.setAttribute("aria-label", "Light or dark");
  b.onclick = () => {
    const light = matchMedia("(prefers-color-scheme: light)").matches;
    const now = document.documentElement.dataset.theme ?? (light ? "light" : "dark");
    const to = now === "dark" ? "light" : "dark";
    localStorage.setItem(key, to);
    set(to);
  };
}

main().catch(fail);
