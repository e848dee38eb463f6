// The keys of the page, each with what the help says of it.

import { newestFirst } from "./acts.ts";
import { dropCursor, moveCursor } from "./chart.tsx";
import { wanted } from "./decisions.tsx";
import * as deeds from "./deeds.ts";
import { keep, kept } from "./kept.ts";
import { openCard } from "./lane.tsx";
import { store } from "./store.ts";
import { switchTheme } from "./theme.ts";

export interface Shortcut {
  /** As the browser names them, letters in lower case. */
  keys: string[];
  /** As they stand on a keyboard. */
  shown: string[];
  does: string;
  /** Whether it goes on while the key is held down. */
  repeats?: boolean;
  press: (event: KeyboardEvent) => void;
}

const LETTERS_KEY = "trimtab-letters";
/** How far a step moves a chosen time, as a share of its width. */
const PAN = 0.1;

export const SHORTCUTS: Shortcut[] = [
  {
    keys: ["f"],
    shown: ["f"],
    does: "freeze, or lift the freeze; first it says what that would do",
    press: () => store.set({ deed: store.status?.frozen ? deeds.lift() : deeds.freeze() }),
  },
  {
    keys: ["/"],
    shown: ["/"],
    does: "find a function in the flamegraph; Esc leaves the field",
    press: () => document.querySelector<HTMLInputElement>(".find")?.focus(),
  },
  {
    keys: ["d"],
    shown: ["d"],
    does: "open the next decision of the list, from the newest to the oldest",
    press: nextDecision,
  },
  {
    keys: ["arrowleft", "arrowright"],
    shown: ["←", "→"],
    does: "move the cursor of all charts by one reading; with Shift, move the chosen time",
    repeats: true,
    press: (event) => {
      const step = event.key === "ArrowLeft" ? -1 : 1;
      if (event.shiftKey) store.pan(step * PAN);
      else moveCursor(step);
    },
  },
  {
    keys: ["escape"],
    shown: ["Esc"],
    does: "close what lies above the page; else let the cursor go and show all the time",
    press: () => {
      dropCursor();
      store.set({ range: { ...store.range, zoom: undefined } });
    },
  },
  { keys: ["t"], shown: ["t"], does: "switch between light and dark", press: switchTheme },
  { keys: ["?"], shown: ["?"], does: "open this help", press: () => store.set({ help: true }) },
];

/** Whether single letters and signs do something. Speech that is typed, or a hand that slips, may want them off. */
export function letters(): boolean {
  return kept(LETTERS_KEY) !== "off";
}

export function setLetters(on: boolean): void {
  keep(LETTERS_KEY, on ? "on" : "off");
  store.changed();
}

export function pressed(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  // What is open above the page has keys of its own.
  if (document.querySelector("dialog[open]")) return;
  const target = event.target as Element;
  if (/^(input|select|textarea)$/i.test(target.tagName)) return;
  const arrow = event.key.startsWith("Arrow");
  if (arrow && target.closest("[role=radiogroup], .toml")) return;
  if (event.key.length === 1 && !letters()) return;
  const shortcut = SHORTCUTS.find(({ keys }) => keys.includes(event.key.toLowerCase()));
  if (!shortcut || (event.repeat && !shortcut.repeats)) return;
  event.preventDefault();
  shortcut.press(event);
}

function nextDecision(): void {
  const changes = newestFirst(store.ledger.newest(), store.acts).filter((item) => wanted(store, item));
  openCard(changes, store.openChange);
}
