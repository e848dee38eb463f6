// The eight charts, in two columns with one time, one cursor and one zoom.

import { useEffect, useRef, useState } from "preact/hooks";
import type { Fate } from "./changes.ts";
import { AXIS_WIDTH, Chart, type ChartSpec } from "./chart.tsx";
import * as format from "./format.ts";
import { Glyph } from "./glyph.tsx";
import type { Reading } from "./history.ts";
import { Lane } from "./lane.tsx";
import { Segments } from "./segments.tsx";
import { store, useMoves, useStore } from "./store.ts";

const ofPool = (pool: string) => pool;
const perSecond = (pool: string) => `${pool}, /s`;
const short = (value: number) => format.number(value);
const percent = (value: number | undefined): number | undefined =>
  value === undefined ? undefined : value * 100;
const ms = (value: number | undefined): number | undefined =>
  value === undefined ? undefined : Math.max(value / 1000, 0.01);

const memoryShare: Reading = (sample) =>
  sample.rss_bytes !== undefined && sample.memory_limit_bytes
    ? (sample.rss_bytes / sample.memory_limit_bytes) * 100
    : undefined;
const cpuShare: Reading = (sample) =>
  sample.cpu_cores !== undefined && sample.quota_cores
    ? (sample.cpu_cores / sample.quota_cores) * 100
    : undefined;

/** From where on nothing grows, as the pool's profile says. */
function noGrowth(pool: string): { at: number; means: string } | undefined {
  const profile = store.status?.pools[pool]?.profile;
  const key = `profile.${profile}.memory.no_growth`;
  const value = store.effective?.settings.find((setting) => setting.key === key)?.value;
  const at = Number.parseFloat(value?.replaceAll('"', "") ?? "");
  return Number.isFinite(at) ? { at, means: `no growth above ${at}` } : undefined;
}

const LEFT: ChartSpec[] = [
  {
    title: "Workers",
    unit: ofPool,
    scale: "zero",
    show: format.number,
    tick: short,
    lines: [
      { label: "busy", color: "--s1", look: "area", read: (_, pool) => pool?.busy },
      { label: "size", color: "--ink", look: "step", read: (_, pool) => pool?.workers },
    ],
  },
  {
    title: "Response time",
    unit: (pool) => `${pool}, ms, log`,
    scale: "log",
    show: format.rate,
    tick: short,
    lines: [
      { label: "p50", color: "--s1", look: "line", read: (_, pool) => ms(pool?.p50_us) },
      { label: "p95", color: "--s3", look: "dashed", read: (_, pool) => ms(pool?.p95_us) },
      { label: "p99", color: "--s2", look: "line", read: (_, pool) => ms(pool?.p99_us) },
    ],
  },
  {
    title: "CPU of quota",
    unit: () => "host, %",
    scale: "share",
    show: format.rate,
    tick: short,
    lines: [
      { label: "used", color: "--s1", look: "line", read: cpuShare },
      {
        label: "throttled",
        color: "--s2",
        look: "dashed",
        read: (sample) => percent(sample.throttled_share),
      },
    ],
  },
  {
    title: "Tasks and threads",
    unit: () => "host",
    scale: "zero",
    show: format.number,
    tick: short,
    lines: [
      { label: "tasks", color: "--s1", look: "line", read: (sample) => sample.tasks },
      { label: "threads", color: "--s3", look: "dashed", read: (sample) => sample.threads },
    ],
  },
];

const RIGHT: ChartSpec[] = [
  {
    title: "Requests",
    unit: perSecond,
    scale: "zero",
    show: format.rate,
    tick: short,
    lines: [
      { label: "goodput", color: "--s1", look: "line", read: (_, pool) => pool?.goodput_per_s },
      { label: "arriving", color: "--s2", look: "dashed", read: (_, pool) => pool?.arrivals_per_s },
    ],
  },
  {
    title: "Queue",
    unit: ofPool,
    scale: "zero",
    show: format.rate,
    tick: short,
    lines: [
      { label: "queued", color: "--s1", look: "area", read: (_, pool) => pool?.queued },
      { label: "limit", color: "--ink3", look: "dotted", read: (_, pool) => pool?.queue_limit },
    ],
  },
  {
    title: "Memory of limit",
    unit: () => "host, %",
    scale: "share",
    show: format.rate,
    tick: short,
    limit: noGrowth,
    lines: [{ label: "used", color: "--s1", look: "line", read: memoryShare }],
  },
  {
    title: "Errors",
    unit: perSecond,
    scale: "zero",
    show: format.rate,
    tick: short,
    lines: [
      { label: "failed", color: "--s2", look: "line", read: (_, pool) => pool?.failed_per_s },
      { label: "rejected or late", color: "--s1", look: "dashed", read: (_, pool) => pool?.lost_per_s },
    ],
  },
];

/** In the order of reading; two abreast, every second one stands on the right. */
const CHARTS = LEFT.flatMap((left, index) => [left, RIGHT[index]].filter((spec) => spec !== undefined));

const rateOf = (value: number | undefined | null) =>
  value === undefined || value === null ? format.DASH : `${format.bytes(value)}/s`;
const FOLDED: ChartSpec[] = [
  {
    title: "Time in the queue",
    unit: (pool) => `${pool}, ms, log`,
    scale: "log",
    show: format.rate,
    tick: short,
    lines: [{ label: "p95", color: "--s3", look: "dashed", read: (_, pool) => ms(pool?.wait_p95_us) }],
  },
  {
    title: "Disk",
    unit: () => "host, bytes/s",
    scale: "zero",
    show: rateOf,
    tick: format.bytes,
    lines: [
      { label: "read", color: "--s1", look: "line", read: (sample) => sample.read_bytes_per_s },
      { label: "written", color: "--s2", look: "dashed", read: (sample) => sample.written_bytes_per_s },
    ],
  },
  {
    title: "Network",
    unit: () => "host, bytes/s",
    scale: "zero",
    show: rateOf,
    tick: format.bytes,
    lines: [
      { label: "received", color: "--s1", look: "line", read: (sample) => sample.received_bytes_per_s },
      { label: "sent", color: "--s2", look: "dashed", read: (sample) => sample.sent_bytes_per_s },
    ],
  },
];

const SPANS: [string, number][] = [
  ["1 min", 60],
  ["5 min", 300],
  ["15 min", 900],
  ["1 h", 3600],
  ["8 h", 28_800],
];

export function Charts() {
  const { status, pool, range } = useStore();
  const all = Object.entries(status?.pools ?? {});
  const pools = all.filter(([, of]) => of.knobs.workers).map(([name]) => name);
  const chosen = range.zoom ? "" : String(range.seconds);
  return (
    <section class="charts" id="charts" aria-labelledby="h-charts">
      <div class="sec-head">
        <h2 id="h-charts">Charts</h2>
        <Segments
          label="Pool shown"
          options={pools.map((name) => [name, name])}
          value={pool}
          choose={(name) => store.set({ pool: name })}
        />
        <Segments
          label="Time shown"
          options={SPANS.map(([name, seconds]) => [name, String(seconds)])}
          value={chosen}
          choose={(seconds) => store.show(Number(seconds))}
        />
        {range.zoom ? (
          <button
            class="btn small"
            type="button"
            onClick={() => store.set({ range: { ...range, zoom: undefined } })}
          >
            Show all
          </button>
        ) : null}
        <span class="readout" aria-live="off">
          <b id="cursor-at" />
          {range.zoom ? <Chosen /> : <Key />}
        </span>
      </div>
      <Grid pool={pool} specs={CHARTS} lane={true} />
      <Fold pool={pool} />
    </section>
  );
}

/** The time that was chosen. */
function Chosen() {
  const { zoom } = useMoves().range;
  if (!zoom) return null;
  return (
    <span>
      <b>{format.time(zoom.from * 1000)}</b> to <b>{format.time(zoom.to * 1000)}</b>
    </span>
  );
}

/** What the marks' shapes mean. */
function Key() {
  const fates: Fate[] = ["kept", "rolled back", "trial"];
  return (
    <span class="keys">
      {fates.map((fate) => (
        <span class="key" key={fate}>
          <Glyph fate={fate} /> {fate === "trial" ? "on trial" : fate}
        </span>
      ))}
      <span class="key">
        <Glyph fate="advised" /> not done
      </span>
      <span class="key">
        <Glyph fate="operator" /> operator
      </span>
      <span class="key">
        <i /> other pool
      </span>
    </span>
  );
}

/** From this width on, charts stand two abreast. */
const TWO_ABREAST = 740;

function Grid({ pool, specs, lane }: { pool: string; specs: ChartSpec[]; lane: boolean }) {
  const grid = useRef<HTMLElement>(null);
  const [room, setRoom] = useState(0);
  useEffect(() => {
    const element = grid.current;
    if (!element) return undefined;
    const measure = () => setRoom(Math.floor(element.getBoundingClientRect().width));
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    measure();
    return () => watch.disconnect();
  }, []);
  const count = room > TWO_ABREAST ? 2 : 1;
  const width = Math.floor((room - 24 * (count - 1)) / count);
  const columns = Array.from({ length: count }, (_, column) =>
    specs.filter((_spec, index) => index % count === column),
  );
  return (
    <fieldset
      class="chartgrid"
      ref={grid as never}
      aria-label="Time charts with one shared cursor; drag to choose a time, scroll sideways to move it"
      onWheel={(event) => {
        if (!store.range.zoom || Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
        event.preventDefault();
        store.pan(event.deltaX / Math.max(1, width));
      }}
    >
      {columns.map((own, column) => (
        <div class={width < 440 ? "ccol tight" : "ccol"} key={`${count}-${column === 0 ? "left" : "right"}`}>
          {lane ? <Lane offset={AXIS_WIDTH} width={width} /> : null}
          {own.map((spec) => (
            <Chart
              key={spec.title}
              spec={spec}
              pool={pool}
              width={width}
              lowest={spec === own[own.length - 1]}
            />
          ))}
        </div>
      ))}
    </fieldset>
  );
}

/** What is looked at seldom: drawn only while it is open. */
function Fold({ pool }: { pool: string }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="more" onToggle={(event) => setOpen((event.currentTarget as HTMLDetailsElement).open)}>
      <summary>
        Time in the queue, disk and network <span class="dim">3 more charts</span>
      </summary>
      {open ? <Grid pool={pool} specs={FOLDED} lane={false} /> : null}
    </details>
  );
}
