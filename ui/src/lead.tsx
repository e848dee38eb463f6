// The sentence: what is happening and why, in one line; and the few facts beside it.

import * as format from "./format.ts";
import { states } from "./states.tsx";
import { type Store, useStore } from "./store.ts";
import type { HostStatus, PoolStatus } from "./wire.ts";

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
  const text = format.sentence(pool.text);
  const held = pool.text.startsWith("Held: ");
  return `${name} is ${format.words(regime)}${held ? ":" : "."} ${text}`;
}

function byTrouble(pools: Record<string, PoolStatus>): [string, PoolStatus][] {
  const rank = (pool: PoolStatus) => ORDER.indexOf(pool.decision?.regime ?? "blind");
  const sized = Object.entries(pools).filter(([, pool]) => pool.knobs.workers);
  return sized.sort(([, left], [, right]) => rank(left) - rank(right));
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
  const deadline = Object.values(status.pools).find((pool) => pool.trial_expires_in_ms !== undefined);
  const ends =
    deadline?.trial_expires_in_ms === undefined
      ? ""
      : ` The host undoes the trial by itself in ${format.span(deadline.trial_expires_in_ms / 1000)}, unless it is kept.`;
  const open = counts.made - counts.kept - counts.rolled_back;
  const rest = open > 0 ? `, ${open} on trial` : "";
  return `Since the sidecar's start: ${counts.made} changes; ${counts.kept} kept, ${counts.rolled_back} rolled back${rest}.${ends}`;
}

function lease(status: HostStatus | undefined): string {
  if (!status || status.absent) return "unknown";
  if (status.mode !== "act") return "not asked for";
  if (status.lease_ours) return "held";
  return status.lease_holder ? `with ${status.lease_holder}` : "none";
}

function Facts() {
  const page = useStore();
  const { status, link, statusAt, history } = page;
  const age = (Date.now() - statusAt) / 1000 + (status?.age_ms ?? 0) / 1000;
  const live = link.state === "live" && status && !status.absent && age * 1000 < page.staleMs;
  // Nothing was ever read, what was read is old, or this page hears nothing: each has its own shape.
  const reading = live
    ? ({ dot: "dot", word: "live" } as const)
    : link.state === "lost"
      ? ({ dot: "dot off", word: "cut off" } as const)
      : history.lastRead === undefined
        ? ({ dot: "dot bad", word: "no host" } as const)
        : ({ dot: "dot warn", word: "old" } as const);
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
          {lease(status)}
          {status?.lease_ours && status.epoch !== undefined ? (
            <small>
              epoch {status.epoch}
              {status.lease_expires_in_ms === undefined
                ? ""
                : `, ${format.span(status.lease_expires_in_ms / 1000)} left`}
            </small>
          ) : null}
        </dd>
      </div>
      <div>
        <dt>Reading</dt>
        <dd>
          <span class={reading.dot} />
          {reading.word} <small>{status ? `${age.toFixed(1)} s ago` : ""}</small>
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
