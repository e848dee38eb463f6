// The pools, a line each: what limits it now, its size, what it achieves.

import { useEffect, useRef } from "preact/hooks";
import * as deeds from "./deeds.ts";
import * as format from "./format.ts";
import { recentMean } from "./history.ts";
import { store, useStore } from "./store.ts";
import type { PoolSample, PoolStatus, Value } from "./wire.ts";

/** Over how long rates are shown, in milliseconds. */
const RECENT_MS = 10_000;

export function Pools() {
  const { status } = useStore();
  const all = Object.entries(status?.pools ?? {});
  const pools = all.filter(([, pool]) => pool.knobs.workers);
  const parts = all.filter(([, pool]) => !pool.knobs.workers);
  return (
    <section id="pools" aria-labelledby="h-pools">
      <h2 id="h-pools" class="vh">
        Pools
      </h2>
      {/* biome-ignore lint/a11y/useSemanticElements: on a phone each row becomes a block, which a table's elements cannot */}
      <div class="ptable" role="table" aria-label="Pools">
        <Head />
        {pools.map(([name, pool]) => (
          <Row key={name} name={name} pool={pool} sample={recent(name, status?.sample.pools[name])} />
        ))}
        {all.length === 0 ? <p class="empty">No pool is known yet.</p> : null}
      </div>
      <Parts parts={parts} />
    </section>
  );
}

/** What has knobs and no workers: nothing queues there, so its values are all there is to show. */
function Parts({ parts }: { parts: [string, PoolStatus][] }) {
  if (parts.length === 0) return null;
  return (
    <details class="parts">
      <summary>
        {parts.length} {parts.length === 1 ? "part" : "parts"} without workers{" "}
        <span class="dim">{parts.map(([name]) => name).join(", ")}</span>
      </summary>
      <table class="eff">
        <thead>
          <tr>
            <th scope="col">Part</th>
            <th scope="col">values</th>
            <th scope="col">what is so</th>
          </tr>
        </thead>
        <tbody>
          {parts.map(([name, pool]) => (
            <tr key={name}>
              <td>
                <button type="button" class="lnk" onClick={() => store.set({ hands: name })}>
                  {name}
                </button>
              </td>
              <td>
                {Object.entries(pool.knobs)
                  .map(([knob, { value }]) => `${knob} ${value}`)
                  .join(", ")}
              </td>
              <td>
                {limits(pool)} Profile {pool.profile}.
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}

/** The newest figures, with rates as means of the last seconds: a single tick of a slow pool is mostly chance. */
function recent(name: string, newest: PoolSample | undefined): PoolSample | undefined {
  if (!newest) return undefined;
  const samples = store.history.since((store.history.last?.at_ms ?? 0) - RECENT_MS);
  const mean = (read: (pool: PoolSample) => number | undefined) =>
    recentMean(samples, samples.length, (sample) => read(sample.pools[name] ?? {}));
  const last = (read: (pool: PoolSample) => number | undefined) =>
    samples.map((sample) => read(sample.pools[name] ?? {})).findLast((value) => value !== undefined);
  const figures: [keyof PoolSample, number | undefined][] = [
    ["goodput_per_s", mean((pool) => pool.goodput_per_s)],
    ["completions_per_s", mean((pool) => pool.completions_per_s)],
    ["failed_per_s", mean((pool) => pool.failed_per_s)],
    ["lost_per_s", mean((pool) => pool.lost_per_s)],
    ["busy", mean((pool) => pool.busy)],
    ["queued", mean((pool) => pool.queued)],
    ["p50_us", last((pool) => pool.p50_us)],
    ["p95_us", last((pool) => pool.p95_us)],
    ["p99_us", last((pool) => pool.p99_us)],
  ];
  const known = figures.filter(([key, value]) => value !== undefined && newest[key] !== undefined);
  return { ...newest, ...Object.fromEntries(known) };
}

/* biome-ignore-start lint/a11y/useSemanticElements: as above */
/* biome-ignore-start lint/a11y/useFocusableInteractive: cells are read, not operated */
function Head() {
  const cells: [string, string][] = [
    ["Pool, profile", ""],
    ["What limits it now", ""],
    ["Size", "p-head-size"],
    ["Goodput", "r"],
    ["p50, p95, p99", "r"],
    ["Queue", "r"],
    ["Errors", "r"],
  ];
  return (
    <div class="prow head" role="row">
      {cells.map(([text, name]) => (
        <span key={text} class={name} role="columnheader">
          {text}
          {text === "Size" ? <TrackLegend /> : null}
        </span>
      ))}
      <span role="columnheader">
        <span class="vh">Hands</span>
      </span>
    </div>
  );
}

/** What limits it, and who holds what. */
function limits(pool: PoolStatus): string {
  const pins = Object.entries(pool.knobs).flatMap(([knob, { pinned_for_ms, value }]) =>
    pinned_for_ms === undefined
      ? []
      : [` ${knob} pinned at ${value} until ${format.timeShort(Date.now() + pinned_for_ms)}.`],
  );
  return format.sentence(pool.text) + pins.join("");
}

function TrackLegend() {
  return (
    <span class="tl-leg">
      <svg width="12" height="8" aria-hidden="true">
        <rect y="2" width="12" height="5" fill="var(--s1)" />
      </svg>
      busy
      <svg width="4" height="12" aria-hidden="true">
        <path d="M2 0v12" stroke="var(--ink)" stroke-width="2" />
      </svg>
      size
      <svg width="8" height="8" aria-hidden="true">
        <path d="M4 1 8 8H0z" fill="var(--ink3)" />
      </svg>
      baseline
    </span>
  );
}

function Row({ name, pool, sample }: { name: string; pool: PoolStatus; sample: PoolSample | undefined }) {
  const decision = pool.decision;
  return (
    <div class="prow" role="row">
      <div class="p-name" role="cell">
        <button type="button" class="p-pick" onClick={() => store.set({ pool: name })}>
          <b>{name}</b> <i>{pool.profile}</i>
        </button>
        <span>
          level {decision?.level ?? "unknown"}, load{" "}
          {decision?.load === undefined ? format.DASH : decision.load.toFixed(2)}
        </span>
      </div>
      <div class="p-why" role="cell">
        <span class="reg">{decision ? format.words(decision.regime) : "no reading"}</span>
        {pool.text === "" ? null : <span class="rest">: {limits(pool)}</span>}
      </div>
      <Size pool={pool} sample={sample} />
      <div class="p-good num" role="cell">
        <span>
          <span class="k">Goodput</span>
          <span class="big">{format.rate(sample?.goodput_per_s)}</span>
          <span class="unit"> /s</span>
        </span>
        <Spark pool={name} />
      </div>
      <div class="p-lat num" role="cell">
        <span class="p50">{format.micros(sample?.p50_us)}</span>
        <span class="p95">{format.micros(sample?.p95_us)}</span>
        <span>
          <span class="k">p99</span>
          <span class="p99">{format.micros(sample?.p99_us)}</span>
        </span>
      </div>
      <div class="r num" role="cell">
        <span class="k">Queue</span>
        <span class="big">{format.rate(sample?.queued)}</span>
        <span class="unit"> of {format.number(sample?.queue_limit)}</span>
      </div>
      <Errors sample={sample} />
      <div class="p-menu" role="cell">
        <button
          type="button"
          class="btn quiet icon"
          aria-label={`Pin, switch the profile or reset: ${name}`}
          onClick={() => store.set({ hands: name })}
        >
          <svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true">
            <path
              d="M3 8h.01M8 8h.01M13 8h.01"
              stroke="currentColor"
              stroke-width="2.4"
              stroke-linecap="round"
            />
          </svg>
        </button>
      </div>
    </div>
  );
}

/** What an operator may do with one pool. */
export function HandsOfPool() {
  const { hands, status, effective } = useStore();
  const dialog = useRef<HTMLDialogElement>(null);
  const pool = hands === undefined ? undefined : status?.pools[hands];
  useEffect(() => {
    if (pool) dialog.current?.showModal();
  }, [hands]);
  if (hands === undefined || !pool) return null;
  const pinned = Object.entries(pool.knobs).filter(([, knob]) => knob.pinned_for_ms !== undefined);
  const choices: [string, string, deeds.Deed][] = [
    ["Pin a knob…", "Hold one value for a time.", deeds.pin(hands, pool)],
    ...pinned.map(([knob, { pinned_for_ms }]): [string, string, deeds.Deed] => [
      `Release ${knob}…`,
      `It is held for ${format.span((pinned_for_ms ?? 0) / 1000)} more.`,
      deeds.unpin(hands, knob),
    ]),
    ["Switch profile…", `It follows ${pool.profile}.`, deeds.profile(hands, pool, effective)],
    ["Reset to the baseline…", "Back to what the host was started with.", deeds.reset(hands)],
  ];
  return (
    <dialog
      class="dlg"
      ref={dialog}
      aria-labelledby="hands-t"
      onClose={() => store.set({ hands: undefined })}
    >
      <h3 id="hands-t">What to do with {hands}</h3>
      <ul class="hands-list">
        {choices.map(([text, about, deed]) => (
          <li key={text}>
            <button type="button" class="btn" onClick={() => store.set({ hands: undefined, deed })}>
              {text}
            </button>
            <span>{about}</span>
          </li>
        ))}
      </ul>
      <div class="row">
        <span class="dim">Each is shown before it is done.</span>
        <button class="btn" type="button" onClick={() => dialog.current?.close()}>
          Cancel
        </button>
      </div>
    </dialog>
  );
}

/** The share of what arrived that failed, was turned away or came too late. */
function Errors({ sample }: { sample: PoolSample | undefined }) {
  const wrong =
    sample?.failed_per_s === undefined && sample?.lost_per_s === undefined
      ? undefined
      : (sample.failed_per_s ?? 0) + (sample.lost_per_s ?? 0);
  const all = (sample?.completions_per_s ?? 0) + (wrong ?? 0);
  const part = wrong === undefined ? undefined : all > 0 ? wrong / all : 0;
  return (
    <div class="r num" role="cell">
      <span class="k">Errors</span>
      <span class={part !== undefined && part > 0.01 ? "loud" : ""}>{format.share(part)}</span>
    </div>
  );
}

/** The size between its bounds, what of it is busy, and where it began. */
function Size({ pool, sample }: { pool: PoolStatus; sample: PoolSample | undefined }) {
  const workers = pool.knobs.workers;
  const size = numeric(workers?.value);
  if (!workers || size === undefined) {
    return (
      <div class="p-size" role="cell">
        <b>{format.DASH}</b>
      </div>
    );
  }
  const top = Math.max(Math.min(workers.max, size * 3), size, numeric(workers.baseline) ?? 0, 1);
  const at = (value: number) => `${(Math.min(value, top) / top) * 100}%`;
  const baseline = numeric(workers.baseline);
  const trial = pool.phase === "trial";
  const text = `size ${size} of ${workers.min} to ${workers.max}, busy ${format.rate(sample?.busy)}, baseline ${workers.baseline}`;
  return (
    <div class="p-size num" role="cell">
      <b class={trial ? "w" : ""}>{size}</b>
      <svg class="track" role="img" aria-label={text}>
        <line x1="0" x2="100%" y1="13" y2="13" stroke="var(--edge)" />
        <rect x="0" y="9.5" height="7" width={at(sample?.busy ?? 0)} fill="var(--s1)" />
        <line
          x1={at(size)}
          x2={at(size)}
          y1="5"
          y2="21"
          stroke={trial ? "var(--mark)" : "var(--ink)"}
          stroke-width="2"
        />
        {baseline === undefined ? null : (
          <svg x={at(baseline)} y="18" overflow="visible" aria-hidden="true">
            <path d="M0 0 3.5 6h-7z" fill="var(--ink3)" />
          </svg>
        )}
      </svg>
    </div>
  );
}

function numeric(value: Value | undefined): number | undefined {
  return typeof value === "number" ? value : undefined;
}

/** Goodput over the time shown, with the number beside it as its scale. */
function Spark({ pool }: { pool: string }) {
  const samples = store.history.since(Date.now() - store.range.seconds * 1000);
  const step = Math.max(1, Math.ceil(samples.length / 72));
  const points: number[] = [];
  for (let end = samples.length; end > 0; end -= step) {
    const mean = recentMean(samples.slice(0, end), step, (sample) => sample.pools[pool]?.goodput_per_s);
    if (mean !== undefined) points.unshift(mean);
  }
  const top = Math.max(...points, 1e-9);
  const x = (index: number) => (72 - points.length + 1 + index).toFixed(1);
  const path = points.map(
    (value, index) => `${index === 0 ? "M" : "L"}${x(index)} ${(21 - (value / top) * 19).toFixed(1)}`,
  );
  return (
    <svg class="spark" viewBox="0 0 72 22" aria-hidden="true">
      <path d={path.join("")} fill="none" stroke="var(--s1)" stroke-width="1.3" />
    </svg>
  );
}
/* biome-ignore-end lint/a11y/useFocusableInteractive: as above */
/* biome-ignore-end lint/a11y/useSemanticElements: as above */
