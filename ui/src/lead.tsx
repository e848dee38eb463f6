// The sentence: what is happening and why, in one line; and the few facts beside it.

import * as format from "./format.ts";
import { states } from "./states.tsx";
import { type Store, useStore } from "./store.ts";
import type { PoolStatus } from "./wire.ts";

/** From what one reads about first to what needs no word. */
const ORDER = ["stuck", "memory_risk", "starved", "cpu_bound", "downstream_bound", "blind", "ample", "idle"];

export function Lead() {
  const page = useStore();
  return (
    <section class="lead" aria-label="What is happening">
      <div>
        <p class="say-1">{first(page)}</p>
        <p class="say-2">{second(page)}</p>
      </div>
      <Facts />
    </section>
  );
}

function first({ status, ledger }: Store) {
  if (!status) return "Looking for the sidecar.";
  const trial = ledger
    .newest()
    .find((change) => change.fate === "trial" && status.pools[change.pool]?.phase === "trial");
  if (trial && !status.absent) {
    const what = trial.set.map(({ knob, to }) => `${to} ${knob}`).join(", ");
    const why = trial.begun.text.replace(/^[^:]*: /, "").replace(/; [^;]*$/, "");
    return (
      <>
        {trial.pool} runs <span class="w">{what} on trial</span>: {why}.
      </>
    );
  }
  const worst = byTrouble(status.pools)[0];
  if (!worst || status.absent) return status.summary;
  const [name, pool] = worst;
  const regime = pool.decision?.regime ?? "blind";
  if (regime === "ample" || regime === "idle") return "All pools have what they need.";
  return `${name} is ${format.words(regime)}. ${pool.text}`;
}

function byTrouble(pools: Record<string, PoolStatus>): [string, PoolStatus][] {
  const rank = (pool: PoolStatus) => ORDER.indexOf(pool.decision?.regime ?? "blind");
  return Object.entries(pools).sort(([, left], [, right]) => rank(left) - rank(right));
}

function second({ status }: Store): string {
  if (!status) return "";
  const counts = { made: 0, kept: 0, rolled_back: 0 };
  for (const pool of Object.values(status.pools)) {
    counts.made += pool.changes.made;
    counts.kept += pool.changes.kept;
    counts.rolled_back += pool.changes.rolled_back;
  }
  if (counts.made === 0) return "No change was made since the sidecar's start.";
  const open = counts.made - counts.kept - counts.rolled_back;
  const rest = open > 0 ? `, ${open} on trial` : "";
  return `Since the sidecar's start: ${counts.made} changes; ${counts.kept} kept, ${counts.rolled_back} rolled back${rest}.`;
}

function Facts() {
  const page = useStore();
  const { status, link, statusAt } = page;
  const age = (Date.now() - statusAt) / 1000 + (status?.age_ms ?? 0) / 1000;
  const live = link.state === "live" && status && !status.absent && age < 5;
  const troubles = states(page).filter((state) => state.tone !== "info").length;
  const pools = Object.values(status?.pools ?? {});
  const read = pools.filter((pool) => pool.decision && pool.decision.regime !== "blind").length;
  return (
    <dl class="facts">
      <div>
        <dt>Mode</dt>
        <dd>{status?.mode ?? format.DASH}</dd>
      </div>
      <div>
        <dt>Lease</dt>
        <dd>
          {status?.lease_ours ? "held" : status?.lease_holder ? "with another" : "none"}
          {status?.lease_holder ? <small>{status.lease_holder}</small> : null}
        </dd>
      </div>
      <div>
        <dt>Reading</dt>
        <dd>
          <span class={live ? "dot" : "dot warn"} />
          {live ? "live" : "not live"} <small>{status ? `${age.toFixed(1)} s ago` : ""}</small>
        </dd>
      </div>
      <div>
        <dt>Health</dt>
        <dd>
          <span class={troubles === 0 ? "dot" : "dot warn"} />
          {troubles === 0 ? "healthy" : `${troubles} to look at`}{" "}
          <small>{`${read} of ${pools.length} pools read`}</small>
        </dd>
      </div>
    </dl>
  );
}
