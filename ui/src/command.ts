// What an operator tells the sidecar. The token stays in this page's memory and nowhere else; a reload forgets it.

import type { Store } from "./store.ts";
import type { Receipt, Value } from "./wire.ts";

/** A command: the end of its path, and its body. */
export interface Order {
  word: "freeze" | "unfreeze" | "pin" | "unpin" | "reset" | "profile" | "approve" | "reject";
  body: Record<string, Value | undefined>;
}

/** The sidecar did not do as asked. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }

  /** Whether another token may help. */
  get isAboutToken(): boolean {
    return this.status === 401;
  }
}

/** Whether the sidecar takes commands from a page at all. While that is not known, it is taken to. */
export function takesCommands({ effective }: Store): boolean {
  if (!effective) return true;
  return effective.settings.some(({ key }) => key === "intake.token_file");
}

/** The same order as a command of the machine's own shell. */
export function asShell(page: Store, { word, body }: Order): string {
  const parts = ["trimtab", word === "profile" ? "profile use" : word];
  const put = (value: Value | undefined) => value !== undefined && parts.push(quoted(String(value)));
  put(body.pool);
  put(body.knob);
  put(body.value);
  if (word === "profile") put(body.profile ?? "auto");
  if (body.reason !== undefined) parts.push("--reason", quoted(String(body.reason)));
  if (typeof body.for_ms === "number") parts.push("--for", duration(body.for_ms));
  const [file] = page.configuration?.files ?? [];
  const isProfile = page.effective?.profiles.some((profile) => profile.file === file);
  if (file && !isProfile) parts.push("--config", quoted(file));
  if (page.hosts.length > 1 && page.host) parts.push("--host", quoted(page.host));
  return parts.join(" ");
}

function quoted(text: string): string {
  return /^[\w./:@%+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

const UNITS: [string, number][] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1_000],
];

function duration(ms: number): string {
  const unit = UNITS.find(([, size]) => ms % size === 0);
  return unit ? `${ms / unit[1]}${unit[0]}` : `${ms}ms`;
}

let token = "";

export function hasToken(): boolean {
  return token !== "";
}

/** Gives an order, or with `dry` only asks what would come of it. A token that works is kept for the next order. */
export async function give(host: string, order: Order, dry: boolean, shown = token): Promise<Receipt> {
  const path = `/api/v1/hosts/${encodeURIComponent(host)}/${order.word}${dry ? "?dry_run=true" : ""}`;
  const answer = await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${shown}` },
    body: JSON.stringify(order.body),
  }).catch(() => {
    throw new Refusal(0, "The sidecar does not answer. Nothing is known to have changed.");
  });
  if (answer.ok) {
    token = shown;
    return (await answer.json()) as Receipt;
  }
  const problem = (await answer.json().catch(() => ({}))) as { detail?: string };
  if (answer.status === 401) token = "";
  throw new Refusal(answer.status, inWords(answer.status, problem.detail ?? answer.statusText));
}

function inWords(status: number, detail: string): string {
  if (status === 401) return `Refused: ${detail}. Nothing was changed.`;
  if (status === 405) {
    return "This sidecar takes no commands from a page any more: its configuration names no `intake.token_file`.";
  }
  return `Refused: ${detail}.`;
}
