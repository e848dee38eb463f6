// The lane above a column of charts: each change as a button where it began, and each act of an operator.

import { actName, concerns, type Item, isAct } from "./acts.ts";
import { FATE_WORDS } from "./changes.ts";
import { shown } from "./chart.tsx";
import * as format from "./format.ts";
import { Glyph } from "./glyph.tsx";
import { store, useMoves } from "./store.ts";

/** Marks that are nearer than this, in pixels, are shown as one. */
const NEAR = 32;

interface Mark {
  left: number;
  changes: Item[];
}

export function Lane({ offset, width }: { offset: number; width: number }) {
  const { ledger, acts, openChange, hot, pool } = useMoves();
  const [from, to] = shown();
  const room = Math.max(1, width - offset - 1);
  const marks: Mark[] = [];
  const items: Item[] = [...ledger.changes.values(), ...acts];
  for (const change of items.sort((left, right) => left.begun.at_ms - right.begun.at_ms)) {
    const at = change.begun.at_ms / 1000;
    if (at < from || at > to) continue;
    const left = ((at - from) / (to - from)) * room;
    const last = marks[marks.length - 1];
    if (last && left - last.left < NEAR) last.changes.push(change);
    else marks.push({ left, changes: [change] });
  }
  return (
    <div class="lane">
      {marks.map((mark) => {
        const own = mark.changes.find((item) => concerns(item, pool));
        const change = own ?? mark.changes[0];
        if (!change) return null;
        const many = mark.changes.length > 1;
        return (
          <button
            key={change.key}
            type="button"
            class={`${own ? "" : "other"}${mark.changes.some(({ key }) => key === hot) ? " hot" : ""}`}
            style={{ left: `${mark.left}px` }}
            aria-current={mark.changes.some(({ key }) => key === openChange)}
            aria-label={many ? `${mark.changes.length} decisions from ${name(change)}` : whole(change)}
            onClick={() => {
              store.set({ kind: "all", onlyPool: undefined });
              openCard(mark.changes, openChange);
            }}
          >
            <span>{many ? `×${mark.changes.length}` : isAct(change) ? "" : (change.generation ?? "")}</span>
            <Glyph fate={change.fate} />
          </button>
        );
      })}
    </div>
  );
}

/** Opens the card of the first of some changes, and moves there; again, that of the next one. */
export function openCard(changes: Item[], open: string | undefined): void {
  const at = changes.findIndex(({ key }) => key === open);
  const next = changes[(at + 1) % changes.length];
  if (!next) return;
  store.set({ openChange: next.key });
  requestAnimationFrame(() => {
    const card = document.getElementById(cardId(next));
    card?.scrollIntoView({ block: "nearest" });
    card?.querySelector("button")?.focus({ preventScroll: true });
  });
}

export function cardId(change: Item): string {
  return `change-${change.key}`;
}

function whole(change: Item): string {
  return isAct(change) ? `Operator ${name(change)}` : `Decision ${name(change)}`;
}

function name(change: Item): string {
  if (isAct(change)) return actName(change);
  const set = change.set.map(({ knob, from, to }) => `${knob} ${from} → ${to}`).join(", ");
  const number = change.generation === undefined ? "" : `${change.generation}: `;
  return `${number}${change.pool} ${set}, ${FATE_WORDS[change.fate]}, ${format.time(change.begun.at_ms)}`;
}
