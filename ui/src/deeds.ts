// The hands of an operator: what each asks for, what it does in general, and what undoes it.

import type { Order } from "./command.ts";
import * as expect from "./expect.ts";
import * as format from "./format.ts";
import type { Store } from "./store.ts";
import type { EffectiveConfiguration, PoolStatus, Receipt, Value } from "./wire.ts";

export type Answers = Record<string, string>;

export interface Field {
  name: string;
  label: string;
  kind: "text" | "number" | "choice";
  value: string;
  options?: [string, string][];
  min?: number;
  max?: number;
}

export interface Deed {
  title: string;
  /** The word on the button. */
  verb: string;
  /** What it does, whatever the numbers of the moment are. */
  does: string[];
  fields: Field[];
  orders(answers: Answers): Order[];
  /** What it would change by the newest reading, before the sidecar is asked, which takes a token. */
  expects(page: Store, answers: Answers): expect.Expected;
  /** What puts things back, once it is done. */
  undo(receipts: Receipt[], answers: Answers): Deed | undefined;
}

const TIMES: [string, string][] = [
  ["15 min", "900000"],
  ["1 h", "3600000"],
  ["4 h", "14400000"],
  ["1 day", "86400000"],
];

export function freeze(): Deed {
  return {
    title: "Freeze Trimtab",
    verb: "Freeze",
    does: [
      "Open trials are rolled back, and nothing is changed until the freeze is lifted.",
      "The sidecar holds to it over its own restarts and the host's. Whether the host by itself would, it says once it took it.",
      "Reading goes on.",
    ],
    fields: [{ name: "reason", label: "Why, for the next person", kind: "text", value: "" }],
    orders: ({ reason }) => [{ word: "freeze", body: reason ? { reason } : {} }],
    expects: (page) => expect.trialsEnd(page),
    undo: lift,
  };
}

export function lift(): Deed {
  return {
    title: "Lift the freeze",
    verb: "Lift the freeze",
    does: ["Trimtab may try changes again, within the same bounds as before."],
    fields: [],
    orders: () => [{ word: "unfreeze", body: {} }],
    expects: () => expect.words("No value changes by the lifting itself."),
    undo: freeze,
  };
}

export function pin(name: string, pool: PoolStatus, knob = "workers", value?: Value): Deed {
  const knobs = Object.keys(pool.knobs).map((it): [string, string] => [it, it]);
  const current = pool.knobs[knob];
  return {
    title: `Pin a knob of ${name}`,
    verb: "Pin",
    does: [
      "The knob is held at this value; an open trial of the pool ends. Trimtab leaves it alone meanwhile.",
      "After the time it goes back to its last confirmed value by itself.",
    ],
    fields: [
      { name: "knob", label: "Knob", kind: "choice", value: knob, options: knobs },
      { name: "value", label: "Value", kind: "text", value: String(value ?? current?.value ?? "") },
      { name: "for", label: "For how long", kind: "choice", value: "900000", options: TIMES },
    ],
    orders: (answers) => [pinOrder(name, answers.knob ?? knob, answers.value ?? "", Number(answers.for))],
    expects: (page, answers) => expect.pinned(page, name, answers.knob ?? knob, answers.value ?? ""),
    undo: (_, answers) => unpin(name, answers.knob ?? knob),
  };
}

function pinOrder(pool: string, knob: string, value: Value, forMs: number): Order {
  const typed = typeof value === "string" && /^\d+$/.test(value) ? Number(value) : value;
  return { word: "pin", body: { pool, knob, value: typed === "" ? undefined : typed, for_ms: forMs } };
}

export function unpin(pool: string, knob: string): Deed {
  return {
    title: `Release ${knob} of ${pool}`,
    verb: "Release",
    does: ["The knob goes back to its last confirmed value, and Trimtab may change it again."],
    fields: [],
    orders: () => [{ word: "unpin", body: { pool, knob } }],
    expects: (page) => expect.released(page, pool, knob),
    undo: () => undefined,
  };
}

export function reset(pool?: string): Deed {
  return {
    title: pool ? `Reset ${pool} to its baseline` : "Reset every pool to its baseline",
    verb: "Reset",
    does: [
      "The knobs go back to what the host was started with; pins are released and trials end.",
      "Trimtab may change them again afterwards: freeze it first if it should not.",
    ],
    fields: [],
    orders: () => [{ word: "reset", body: pool ? { pool } : {} }],
    expects: (page) => expect.baselines(page, pool),
    undo: (receipts) => putBack(receipts),
  };
}

/** Holds for a quarter of an hour what a reset changed: the only way back to a value that is no baseline. */
function putBack(receipts: Receipt[]): Deed | undefined {
  const orders: Order[] = [];
  for (const { values } of receipts) {
    for (const [pool, knobs] of Object.entries(values ?? {})) {
      for (const [knob, { from }] of Object.entries(knobs)) orders.push(pinOrder(pool, knob, from, 900_000));
    }
  }
  if (orders.length === 0) return undefined;
  return {
    title: "Put the values back",
    verb: "Put back",
    does: ["The values of before the reset are held for 15 min; from then on Trimtab goes on from them."],
    fields: [],
    orders: () => orders,
    expects: (page) => expect.held(page, orders),
    undo: () => undefined,
  };
}

export function profile(name: string, pool: PoolStatus, known: EffectiveConfiguration | undefined): Deed {
  const names = known?.profiles.map((it): [string, string] => [it.name, it.name]) ?? [
    [pool.profile, pool.profile],
  ];
  const times: [string, string][] = [["until the sidecar restarts", ""], ...TIMES];
  return {
    title: `Switch the profile of ${name}`,
    verb: "Switch",
    does: ["The bounds and goals of another profile hold for this pool. Nothing is changed at once."],
    fields: [
      {
        name: "profile",
        label: "Profile",
        kind: "choice",
        value: pool.profile,
        options: [["the one it follows by itself", ""], ...names],
      },
      { name: "for", label: "For how long", kind: "choice", value: "3600000", options: times },
    ],
    orders: (answers) => [
      {
        word: "profile",
        body: {
          pool: name,
          profile: answers.profile || undefined,
          for_ms: answers.for && answers.profile ? Number(answers.for) : undefined,
        },
      },
    ],
    expects: (page, answers) => expect.followed(page, name, answers.profile || undefined),
    undo: () => ({
      ...profile(name, pool, known),
      title: `Back to the profile ${pool.profile} for ${name}`,
      verb: "Switch back",
      fields: [],
      orders: () => [{ word: "profile", body: { pool: name, profile: undefined } }],
      expects: (page) => expect.followed(page, name, pool.profile),
      undo: () => undefined,
    }),
  };
}

export function approve(count: number): Deed {
  return {
    title: "Approve the configuration that waits",
    verb: "Approve",
    does: [
      `${format.number(count)} changed keys come into force. Values that the host now has stay until the next decision.`,
      "To undo it, write the old values into the file: nothing here writes files.",
    ],
    fields: [],
    orders: () => [{ word: "approve", body: {} }],
    expects: expect.waiting,
    undo: () => undefined,
  };
}

export function reject(): Deed {
  return {
    title: "Reject the configuration that waits",
    verb: "Reject",
    does: [
      "What is in force stays so. The file stays as it is, and its next change is asked about again.",
      "To undo it, save the file once more.",
    ],
    fields: [],
    orders: () => [{ word: "reject", body: {} }],
    expects: () => expect.words("No value changes."),
    undo: () => undefined,
  };
}
