// What operators did: rows of the list and marks of the lane, beside the changes that Trimtab made.

import type { Change } from "./changes.ts";
import * as format from "./format.ts";
import type { CommandEntry } from "./wire.ts";

export interface Act {
  key: string;
  /** Without one it was about the whole host. */
  pool: string | undefined;
  begun: { at_ms: number; moment_ns: number };
  fate: "operator";
  entry: CommandEntry;
}

/** What the list and the lane show. */
export type Item = Change | Act;

export function isAct(item: Item): item is Act {
  return item.fate === "operator";
}

/** What was really asked for, newest first; a dry run did nothing. */
export function acts(commands: CommandEntry[]): Act[] {
  const real = commands.filter(({ dry_run }) => !dry_run);
  return real.reverse().map((entry) => ({
    key: `act-${entry.id}`,
    pool: entry.pool,
    begun: entry,
    fate: "operator",
    entry,
  }));
}

/** Changes and acts in one row, newest first. */
export function newestFirst(changes: Change[], done: Act[]): Item[] {
  return [...changes, ...done].sort((left, right) => right.begun.at_ms - left.begun.at_ms);
}

/** Whether it is about this pool; what is about the host is about each of its pools. */
export function concerns(item: Item, pool: string | undefined): boolean {
  return item.pool === pool || item.pool === undefined;
}

export function who({ operator }: CommandEntry): string {
  return operator.by === "token" ? operator.name : `user ${operator.uid}`;
}

/** The way by which the command came. */
export function way({ operator }: CommandEntry): string {
  if (operator.by === "token") return `over HTTP${operator.from ? `, from ${operator.from}` : ""}`;
  return `over the operator's socket${operator.pid === undefined ? "" : `, process ${operator.pid}`}`;
}

/** What was asked for, in a few words. */
export function asked({ asked: { command, with: given } }: CommandEntry): string {
  const { pool, knob, value, profile, reason } = given ?? {};
  switch (command) {
    case "freeze":
      return `freeze${reason ? `: “${reason}”` : ""}`;
    case "unfreeze":
      return "lift the freeze";
    case "pin":
      return `pin ${pool} ${knob}${value === undefined ? "" : ` at ${value}`}`;
    case "unpin":
      return `release ${knob} of ${pool}`;
    case "reset":
      return `reset ${pool ?? "every pool"} to the baseline`;
    case "profile":
      return profile ? `${pool} follows profile ${profile}` : `${pool} follows its own profile`;
    default:
      return `${format.words(command)} the configuration`;
  }
}

const RESULTS = { done: "done", partly: "partly done", refused: "refused" };

export function result({ outcome }: CommandEntry): string {
  return RESULTS[outcome.result];
}

/** What came of it, as a sentence. */
export function cameOf({ outcome }: CommandEntry): string {
  const parts = outcome.result === "refused" ? [outcome.detail] : [outcome.text, outcome.missing];
  const said = parts
    .filter((part) => part !== undefined && part !== "")
    .map((part) => format.period(part ?? ""));
  return said.join(" ").replaceAll(" -> ", " → ");
}

/** An act's whole name, for those who hear the lane. */
export function actName({ entry }: Act): string {
  return `${who(entry)}: ${asked(entry)}, ${result(entry)}, ${format.time(entry.at_ms)}`;
}
