// One time chart: a title row with the values under the cursor, the plot, and the changes as bands and lines through it.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { concerns } from "./acts.ts";
import type { Change } from "./changes.ts";
import { time } from "./format.ts";
import { columns, gaps, type Reading } from "./history.ts";
import { store } from "./store.ts";
import type { Sample } from "./wire.ts";

export interface Line {
  label: string;
  /** A colour of the style sheet, such as `--s1`. */
  color: string;
  look: "line" | "dashed" | "dotted" | "area" | "step";
  read: Reading;
}

export interface ChartSpec {
  title: string;
  /** Whose, and in which unit. */
  unit: (pool: string) => string;
  lines: Line[];
  /** `share` is 0 to 100, `log` has decades. */
  scale: "zero" | "share" | "log";
  /** How a value stands in the title row. */
  show: (value: number | undefined | null) => string;
  /** How a value stands at the axis. */
  tick: (value: number) => string;
  /** A limit that matters, with what it means. */
  limit?: (pool: string) => { at: number; means: string } | undefined;
}

const SYNC = "trimtab";
const TIMES_HEIGHT = 18;
export const AXIS_WIDTH = 46;

/** How high a plot is: less on a phone, more on a wall. */
function height(): number {
  return innerWidth < 641 ? 98 : innerWidth > 2199 ? 164 : 124;
}

export interface ChartProperties {
  spec: ChartSpec;
  pool: string;
  width: number;
  /** Whether it is the lowest of its column, which bears the times. */
  lowest: boolean;
}

export function Chart({ spec, pool, width, lowest }: ChartProperties) {
  const place = useRef<HTMLDivElement>(null);
  const values = useRef<HTMLSpanElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);
  const theme = document.documentElement.dataset.theme ?? "";

  useEffect(() => {
    if (!place.current || width < 80) return undefined;
    const made = new uPlot(
      options(spec, pool, [width, lowest], () => showValues(made, spec, spec.unit(pool), values.current)),
      data(spec, pool),
      place.current,
    );
    plot.current = made;
    showValues(made, spec, spec.unit(pool), values.current);
    let drawn = "";
    let samples: Sample[] | undefined;
    const update = () => {
      const [from, to] = shown();
      const now = `${store.history.version} ${store.ledger.version} ${store.commands[store.commands.length - 1]?.id} ${store.detail.version} ${store.openChange} ${store.hot}`;
      // A time that was chosen and is past stays as it is.
      if (store.range.zoom && drawn === `${now} ${from} ${to}`) return;
      drawn = `${now} ${from} ${to}`;
      const known = samples;
      samples = store.samplesOf(pool, from, to);
      // A step along a chosen time moves the same readings.
      if (known === samples && store.range.zoom) made.setScale("x", { min: from, max: to });
      else made.setData(data(spec, pool));
      showValues(made, spec, spec.unit(pool), values.current);
    };
    const unsubscribe = store.subscribeMoves(update);
    return () => {
      unsubscribe();
      made.destroy();
      plot.current = undefined;
    };
  }, [spec, pool, width, lowest, theme]);

  return (
    <div class="ch">
      <div class="ch-h">
        <span class="ch-t">
          {spec.title} <small>{spec.unit(pool)}</small>
        </span>
        <span class="ch-l" ref={values}>
          {spec.lines.map((line) => (
            <span key={line.label}>
              <LineSample line={line} />
              {line.label} <b />
            </span>
          ))}
        </span>
      </div>
      <div class="plot" ref={place} role="img" aria-label={`${spec.title}, ${spec.unit(pool)}`} />
    </div>
  );
}

function LineSample({ line }: { line: Line }) {
  const dash = { line: "", step: "", area: "", dashed: "4 2", dotted: "1.5 2.5" }[line.look];
  return (
    <svg width="16" height="8" aria-hidden="true">
      {line.look === "area" ? (
        <rect y="1" width="16" height="7" fill={`var(${line.color})`} opacity="0.3" />
      ) : null}
      <path
        d="M0 4H16"
        stroke={`var(${line.color})`}
        stroke-width="1.6"
        stroke-dasharray={dash}
        fill="none"
        transform={line.look === "area" ? "translate(0 -3)" : ""}
      />
    </svg>
  );
}

function data(spec: ChartSpec, pool: string): uPlot.AlignedData {
  const [from, to] = shown();
  return columns(
    store.samplesOf(pool, from, to),
    pool,
    spec.lines.map((line) => line.read),
  ) as uPlot.AlignedData;
}

/** The time that all charts show, in seconds since 1970. */
export function shown(): [number, number] {
  const { zoom, seconds } = store.range;
  if (zoom) return [zoom.from, zoom.to];
  const last = Math.max(store.history.last?.at_ms ?? 0, store.statusAt || Date.now());
  return [last / 1000 - seconds, last / 1000];
}

function options(
  spec: ChartSpec,
  pool: string,
  [width, lowest]: [number, boolean],
  moved: () => void,
): uPlot.Options {
  const style = getComputedStyle(document.documentElement);
  const color = (name: string) => style.getPropertyValue(name).trim();
  // Read once: asking the style at each drawing costs more than the drawing.
  const [mark, grey, edge, paper] = ["--mark", "--ink3", "--edge", "--paper"].map(color) as [
    string,
    string,
    string,
    string,
  ];
  const font = `11px ${style.getPropertyValue("--sans")}`;
  return {
    width,
    height: height() + (lowest ? TIMES_HEIGHT : 0),
    padding: [6, 1, lowest ? 0 : 7, 0],
    legend: { show: false },
    cursor: {
      sync: { key: SYNC, scales: ["x", null] },
      drag: { x: true, y: false, setScale: false, dist: 6 },
      points: { show: false },
      y: false,
    },
    select: { show: true, left: 0, top: 0, width: 0, height: 0 },
    scales: {
      x: { time: true, range: () => shown() },
      y: { distr: spec.scale === "log" ? 3 : 1, range: (_, low, high) => yRange(spec, low, high) },
    },
    axes: [
      {
        size: lowest ? TIMES_HEIGHT : 0,
        font,
        stroke: color("--ink3"),
        grid: { stroke: color("--line"), width: 1 },
        ticks: { show: false },
        gap: 2,
        space: 70,
        values: (_, ticks) => ticks.map((tick) => (lowest ? axisTime(tick) : "")),
      },
      {
        size: AXIS_WIDTH,
        font,
        stroke: color("--ink3"),
        grid: { stroke: color("--line"), width: 1 },
        ticks: { show: false },
        gap: 4,
        splits: spec.scale === "log" ? decades : thirds,
        values: (_, ticks) => ticks.map((tick) => spec.tick(tick)),
      },
    ],
    series: [{}, ...spec.lines.map((line) => series(line, color))],
    hooks: {
      drawClear: [(plot) => drawGaps(plot, pool, edge), (plot) => drawChanges(plot, mark, grey)],
      drawAxes: [(plot) => drawFloor(plot, edge)],
      draw: [(plot) => drawLimit(plot, spec, pool, [grey, paper, font])],
      setCursor: [moved],
      setSelect: [chosen],
    },
  };
}

function series(line: Line, color: (name: string) => string): uPlot.Series {
  const stroke = color(line.color);
  const stepped = uPlot.paths.stepped?.({ align: 1 });
  return {
    stroke,
    width: 1.5,
    spanGaps: false,
    points: { show: false },
    ...(line.look === "dashed" ? { dash: [5, 3] } : {}),
    ...(line.look === "dotted" ? { dash: [2, 3], width: 1 } : {}),
    ...(line.look === "area" ? { fill: `${stroke}26` } : {}),
    ...(stepped && (line.look === "step" || line.look === "dotted") ? { paths: stepped } : {}),
  };
}

function yRange(spec: ChartSpec, low: number | null, high: number | null): [number, number] {
  if (spec.scale === "share") return [0, 100];
  if (spec.scale === "log") {
    const floor = 10 ** Math.floor(Math.log10(Math.max(low ?? 1, 0.01)));
    const top = 10 ** Math.ceil(Math.log10(Math.max(high ?? 10, floor * 10) * 1.001));
    return [floor, top];
  }
  return [0, roundTop(high ?? 1)];
}

/** The next of 1, 2, 3, 4, 5, 6, 8 times a power of ten. */
function roundTop(value: number): number {
  if (!(value > 0)) return 1;
  const decade = 10 ** Math.floor(Math.log10(value));
  const step = [1, 2, 3, 4, 5, 6, 8, 10].find((factor) => factor * decade >= value * 1.02) ?? 20;
  return step * decade;
}

function thirds(_: uPlot, __: number, low: number, high: number): number[] {
  return [low, (low + high) / 2, high];
}

function decades(_: uPlot, __: number, low: number, high: number): number[] {
  const ticks: number[] = [];
  for (let tick = low; tick <= high * 1.001; tick *= 10) ticks.push(tick);
  return ticks;
}

const axisClock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const axisSeconds = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});

function axisTime(at: number): string {
  return at % 60 === 0 ? axisClock.format(at * 1000) : axisSeconds.format(at * 1000);
}

/** Hatches the times without a reading: missing is not zero. */
function drawGaps(plot: uPlot, pool: string, edge: string): void {
  const [from, to] = shown();
  const { ctx, bbox } = plot;
  for (const [start, end] of gaps(store.samplesOf(pool, from, to), pool, to)) {
    const left = Math.max(bbox.left, plot.valToPos(start, "x", true));
    const right = Math.min(bbox.left + bbox.width, plot.valToPos(end, "x", true));
    if (right - left < 1) continue;
    ctx.save();
    ctx.beginPath();
    ctx.rect(left, bbox.top, right - left, bbox.height);
    ctx.clip();
    ctx.strokeStyle = edge;
    ctx.globalAlpha = 0.6;
    ctx.lineWidth = devicePixelRatio;
    ctx.beginPath();
    for (let at = left - bbox.height; at < right; at += 6 * devicePixelRatio) {
      ctx.moveTo(at, bbox.top + bbox.height);
      ctx.lineTo(at + bbox.height, bbox.top);
    }
    ctx.stroke();
    ctx.restore();
  }
}

/** The line at the bottom, which is nought or the least decade. */
function drawFloor(plot: uPlot, edge: string): void {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = edge;
  ctx.globalAlpha = 0.6;
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(bbox.left, bbox.top + bbox.height);
  ctx.lineTo(bbox.left + bbox.width, bbox.top + bbox.height);
  ctx.stroke();
  ctx.restore();
}

function drawLimit(plot: uPlot, spec: ChartSpec, pool: string, look: [string, string, string]): void {
  const limit = spec.limit?.(pool);
  if (!limit) return;
  const [ink, paper, font] = look;
  const { ctx, bbox } = plot;
  const y = plot.valToPos(limit.at, "y", true);
  ctx.save();
  ctx.strokeStyle = ink;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.setLineDash([]);
  ctx.font = font.replace("11px", `${11 * devicePixelRatio}px`);
  ctx.textBaseline = "bottom";
  ctx.textAlign = "left";
  ctx.lineWidth = 4 * devicePixelRatio;
  ctx.strokeStyle = paper;
  const [x, top] = [bbox.left + 4 * devicePixelRatio, y - 2 * devicePixelRatio];
  ctx.strokeText(limit.means, x, top);
  ctx.fillStyle = ink;
  ctx.fillText(limit.means, x, top);
  ctx.restore();
}

/** Bands from a change's beginning to its verdict, and a line where it began. Changes of other pools are grey. */
function drawChanges(plot: uPlot, mark: string, grey: string): void {
  const { ctx, bbox } = plot;
  const now = shown()[1];
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  for (const change of store.ledger.changes.values()) {
    const own = change.pool === store.pool;
    const open = store.openChange === change.key || store.hot === change.key;
    const [from, to] = interval(change, now);
    const left = plot.valToPos(from, "x", true);
    const right = plot.valToPos(to, "x", true);
    if (right < bbox.left || left > bbox.left + bbox.width) continue;
    ctx.fillStyle = own ? mark : grey;
    // What was only planned has no time on trial.
    const planned = change.generation === undefined;
    ctx.globalAlpha = open ? 0.2 : own ? 0.09 : 0.08;
    if (!planned) ctx.fillRect(left, bbox.top, Math.max(right - left, 1), bbox.height);
    ctx.globalAlpha = open ? 1 : own ? 0.75 : 0.35;
    ctx.strokeStyle = own ? mark : grey;
    ctx.lineWidth = (open ? 2 : 1) * devicePixelRatio;
    ctx.setLineDash(
      planned || change.fate === "rolled back" ? [3 * devicePixelRatio, 3 * devicePixelRatio] : [],
    );
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
  }
  drawActs(plot, mark, grey);
  ctx.restore();
}

/** A dotted line where an operator did something. */
function drawActs(plot: uPlot, mark: string, grey: string): void {
  const { ctx, bbox } = plot;
  ctx.setLineDash([devicePixelRatio, 3 * devicePixelRatio]);
  for (const act of store.acts) {
    const left = plot.valToPos(act.begun.at_ms / 1000, "x", true);
    if (left < bbox.left || left > bbox.left + bbox.width) continue;
    const open = store.openChange === act.key || store.hot === act.key;
    ctx.strokeStyle = concerns(act, store.pool) ? mark : grey;
    ctx.globalAlpha = open ? 1 : 0.75;
    ctx.lineWidth = (open ? 2 : 1) * devicePixelRatio;
    ctx.beginPath();
    ctx.moveTo(left, bbox.top);
    ctx.lineTo(left, bbox.top + bbox.height);
    ctx.stroke();
  }
}

/** From when to when a change was on trial, in seconds. */
export function interval(change: Change, now: number): [number, number] {
  const from = change.begun.at_ms / 1000;
  return [from, change.judged ? change.judged.at_ms / 1000 : change.fate === "trial" ? now : from];
}

function showValues(plot: uPlot, spec: ChartSpec, unit: string, place: HTMLSpanElement | null): void {
  if (!place) return;
  const figures = place.querySelectorAll("b");
  const told: string[] = [];
  const index = plot.cursor.idx;
  const at = index === null || index === undefined ? undefined : plot.data[0][index];
  const readout = document.getElementById("cursor-at");
  if (readout) readout.textContent = at === undefined ? "" : `at ${time(at * 1000)}`;
  spec.lines.forEach(({ label }, line) => {
    const column = plot.data[line + 1];
    const value = index === null || index === undefined ? lastOf(column) : column?.[index];
    const figure = figures[line];
    const text = spec.show(value);
    if (figure) figure.textContent = text;
    told.push(`${label} ${text}`);
  });
  // The picture in words, for those who do not see it.
  const when = at === undefined ? "now" : `at ${time(at * 1000)}`;
  plot.root.parentElement?.setAttribute("aria-label", `${spec.title}, ${unit}: ${told.join(", ")} ${when}`);
}

function lastOf(column: ArrayLike<number | null | undefined> | undefined) {
  return column?.[column.length - 1];
}

/** Moves the cursor of all charts by so many readings; the first chart leads. */
export function moveCursor(steps: number): void {
  const [plot] = uPlot.sync(SYNC).plots;
  if (!plot) return;
  const last = plot.data[0].length - 1;
  const next = Math.min(last, Math.max(0, (plot.cursor.idx ?? last) + steps));
  const at = plot.data[0][next];
  if (at === undefined) return;
  for (const each of uPlot.sync(SYNC).plots) each.setCursor({ left: each.valToPos(at, "x"), top: 10 });
}

/** Lets go of the cursor, so that the newest values are shown again. */
export function dropCursor(): void {
  for (const plot of uPlot.sync(SYNC).plots) plot.setCursor({ left: -10, top: -10 });
}

/** A time was chosen by dragging. */
function chosen(plot: uPlot): void {
  const { left, width } = plot.select;
  if (width < 6) return;
  const from = plot.posToVal(left, "x");
  const to = plot.posToVal(left + width, "x");
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  if (to - from >= 1) store.set({ range: { ...store.range, zoom: { from, to } } });
}
