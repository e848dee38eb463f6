// What an operator tells the sidecar. The token stays in this page's memory and nowhere else; a reload forgets it.

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
    return "This sidecar takes no commands from a page: its configuration names no `intake.token_file`. `trimtab freeze` and its like work on the machine itself.";
  }
  return `Refused: ${detail}.`;
}
