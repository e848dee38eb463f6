// The shape of what became of a change: it says so without its colour.

import type { Fate } from "./changes.ts";

/** What became of a change; or that an operator did it. */
export type Sign = Fate | "operator";

export function Glyph({ fate }: { fate: Sign }) {
  return (
    <svg viewBox="0 0 10 10" width="9" height="9" aria-hidden="true">
      <Shape fate={fate} />
    </svg>
  );
}

function Shape({ fate }: { fate: Sign }) {
  switch (fate) {
    case "kept":
      return <circle cx="5" cy="5" r="4" fill="currentColor" />;
    case "rolled back":
      return <path d="M8.4 1.2v7.6L1.6 5z" fill="none" stroke="currentColor" stroke-width="1.3" />;
    case "trial":
      return (
        <>
          <circle cx="5" cy="5" r="3.8" fill="none" stroke="currentColor" stroke-width="1.3" />
          <path d="M5 1.2a3.8 3.8 0 0 0 0 7.6z" fill="currentColor" />
        </>
      );
    case "operator":
      return <path d="M1.4 1.4h7.2v7.2H1.4z" fill="currentColor" />;
    default:
      return <path d="M5 .9 9.1 5 5 9.1.9 5z" fill="none" stroke="currentColor" stroke-width="1.3" />;
  }
}
