// The ledger's entries, gathered into changes: begun, judged, kept or rolled back. And the decisions to hold, counted.

import type { DecisionEntry, Entry, OutcomeEntry, Value } from "./wire.ts";

export type Fate = "trial" | "kept" | "rolled back" | "advised" | "observed" | "refused" | "unknown";

/** What became of a change, in the words of the page. */
export const FATE_WORDS: Record<Fate, string> = {
  kept: "kept",
  trial: "on trial",
  "rolled back": "rolled back",
  advised: "would try",
  observed: "would have",
  refused: "refused",
  unknown: "not known yet",
};

export interface Change {
  key: string;
  generation: number | undefined;
  pool: string;
  set: { knob: string; from: Value; to: Value }[];
  begun: DecisionEntry;
  judged: DecisionEntry | undefined;
  ended: OutcomeEntry | undefined;
  fate: Fate;
}

/** The most changes that are kept. */
const CHANGES_MAX = 400;

export class Ledger {
  readonly changes = new Map<string, Change>();
  /** Decisions to hold by reason, with the newest sentence of each. */
  readonly held = new Map<string, { count: number; text: string; pool: string }>();
  heldSince: number | undefined;
  version = 0;
  private readonly advised = new Map<string, string>();
  private readonly seen = new Set<string>();

  /** Takes in entries, oldest first; an entry that is known already changes nothing. */
  add(entries: Entry[]): void {
    for (const entry of entries) {
      if (this.seen.has(entry.id)) continue;
      this.seen.add(entry.id);
      if (isDecision(entry)) this.decision(entry);
      else if (isOutcome(entry)) this.outcome(entry);
    }
    while (this.changes.size > CHANGES_MAX) {
      const [oldest] = this.changes.keys();
      if (oldest === undefined) break;
      this.changes.delete(oldest);
    }
    if (this.seen.size > 60_000) this.seen.clear();
    this.version += 1;
  }

  /** Newest first. */
  newest(): Change[] {
    return [...this.changes.values()].sort((left, right) => right.begun.moment_ns - left.begun.moment_ns);
  }

  private decision(entry: DecisionEntry): void {
    switch (entry.action) {
      case "try":
        this.begin(entry, "trial");
        break;
      case "advise":
        this.plan(entry, "advised");
        break;
      case "confirm":
        this.judge(entry, "kept");
        break;
      case "roll_back":
        this.judge(entry, "rolled back");
        break;
      case "hold":
        // Where it only observes, what it would have done stands beside why it did not.
        if (entry.reason.kind === "mode_observes" && entry.change) this.plan(entry, "observed");
        this.hold(entry);
        break;
    }
  }

  private begin(entry: DecisionEntry, fate: Fate): Change {
    const generation = entry.change?.generation;
    const planned = fate === "advised" || fate === "observed";
    const key = planned ? `plan-${entry.id}` : changeKey(entry, generation);
    const set = Object.entries(entry.change?.set ?? {}).map(([knob, { from, to }]) => ({ knob, from, to }));
    const known = this.changes.get(key);
    if (known) {
      // The verdict came over the stream before the beginning was fetched.
      known.begun = entry;
      known.set = set;
      return known;
    }
    const change: Change = {
      key,
      generation: planned ? undefined : generation,
      pool: entry.pool ?? "",
      set,
      begun: entry,
      judged: undefined,
      ended: undefined,
      fate,
    };
    this.changes.set(key, change);
    return change;
  }

  /** The same plan tick after tick is one plan. */
  private plan(entry: DecisionEntry, fate: "advised" | "observed"): void {
    const pool = entry.pool ?? "";
    const wish = JSON.stringify(entry.change?.set ?? {});
    if (this.advised.get(pool) === wish) return;
    this.advised.set(pool, wish);
    this.begin(entry, fate);
  }

  private judge(entry: DecisionEntry, fate: Fate): void {
    const known = this.changes.get(changeKey(entry, entry.change?.generation));
    const change = known ?? this.begin(entry, fate);
    change.judged = entry;
    change.fate = fate;
  }

  private hold(entry: DecisionEntry): void {
    this.heldSince ??= entry.at_ms;
    const kind = entry.reason.kind;
    const known = this.held.get(kind);
    this.held.set(kind, { count: (known?.count ?? 0) + 1, text: entry.text, pool: entry.pool ?? "" });
    if (kind === "trial_ended") this.endedByHost(entry);
  }

  /** The host ended a trial by itself. The sidecar counts what the host undid as rolled back, and so does this page. */
  private endedByHost(entry: DecisionEntry): void {
    const { status } = entry.reason;
    if (status === "trial") return;
    for (const change of this.changes.values()) {
      const open = change.fate === "trial" || change.fate === "unknown";
      if (change.pool !== entry.pool || !open) continue;
      change.fate = status === "confirmed" ? "kept" : "rolled back";
      change.judged = entry;
    }
  }

  private outcome(entry: OutcomeEntry): void {
    const change = this.changes.get(changeKey(entry, entry.generation));
    if (!change) return;
    change.ended = entry;
    if (entry.action !== "try" || !entry.reason || change.fate !== "trial") return;
    change.fate = entry.reason.kind === "refused" ? "refused" : "unknown";
  }
}

function isDecision(entry: Entry): entry is DecisionEntry {
  return entry.entry === "decision";
}

function isOutcome(entry: Entry): entry is OutcomeEntry {
  return entry.entry === "outcome";
}

/** Generations are of one host's instance, so the same number may come again after a restart. */
function changeKey(entry: { instance?: string }, generation: number | undefined): string {
  return `${entry.instance ?? ""}-${generation ?? "none"}`;
}
