// The shapes of what the server tells; read by the type checker alone.

/**
 * @typedef {[number, number, number]} Point frame, and x and y as shares of the frame
 * @typedef {{seen: [number, number][], areas: string, largest: number}} Presence
 * @typedef {Presence & {id: number, name: string, class: string, colour: string, fixed: boolean, score: number, granularity: number, min_score: number}} Thing
 * @typedef {Presence & {id: number, at: Point}} Cluster
 * @typedef {{objects: number | null, granularity: number | null, min_score: number, keep_background: boolean}} Sliders
 * @typedef {{edit: string, [field: string]: unknown}} Edit
 * @typedef {{version: number, objects: Thing[], clusters: Cluster[], sliders: Sliders, edits: number, undo: Edit | null, redo: Edit | null, saved: boolean}} Scene
 * @typedef {{name: string, title: string, about: string, heads: number}} Panel
 * @typedef {{name: string, folder: string, source: string | null, frames: number, height: number, width: number, fps: number, grid: [number, number], shots: number[], evidence: boolean, warnings: string[], locked: string}} About
 * @typedef {{phase: string, name: string, progress: {stage: string, done: number, total: number | null} | null, error: string, saves: number, masks_only: boolean}} State
 */

export {};
