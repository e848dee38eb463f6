// What was read, as columns that a chart can draw. A gap in the readings stays a gap.

import type { Overview, PoolSample, Sample } from "./wire.ts";

/** The most samples that are kept: an hour at four a second, or four hours at one. */
const SAMPLES_MAX = 14_400;
/** A pause of more than this many usual steps between two samples is a gap. */
const GAP_STEPS = 4;

export type Column = (number | null)[];

export class History {
  private samples: Sample[] = [];
  /** Rises with each change, so that what was computed from it can be kept until then. */
  version = 0;

  get length(): number {
    return this.samples.length;
  }

  /** When the oldest sample was read, in milliseconds since 1970. */
  get first(): number | undefined {
    return this.samples[0]?.at_ms;
  }

  get last(): Sample | undefined {
    return this.samples[this.samples.length - 1];
  }

  /** When anything of the host was read last, in milliseconds since 1970. */
  get lastRead(): number | undefined {
    return this.samples.findLast(isRead)?.at_ms;
  }

  /** How often nothing was read since then, and when that was first. */
  get unread(): { count: number; since: number | undefined } {
    const missed = this.samples.slice(this.samples.findLastIndex(isRead) + 1);
    return { count: missed.length, since: missed[0]?.at_ms };
  }

  /** When a pool's work was measured last. */
  lastOf(pool: string): number | undefined {
    return this.samples.findLast(({ pools }) => pools[pool]?.goodput_per_s !== undefined)?.at_ms;
  }

  /** Takes in what the sidecar holds. After its restart it holds less than this page, and what is older stays. */
  merge(samples: Sample[]): void {
    const first = samples[0]?.at_ms;
    if (first === undefined) return;
    const older = this.samples.filter((sample) => sample.at_ms < first);
    this.samples = [...older, ...samples].slice(-SAMPLES_MAX);
    this.version += 1;
  }

  /** Takes in newer samples; what is known already is left out. */
  add(newer: Sample[]): void {
    for (const sample of newer) {
      if (this.last && sample.moment_ns <= this.last.moment_ns && sample.at_ms <= this.last.at_ms) continue;
      this.samples.push(sample);
    }
    if (this.samples.length > SAMPLES_MAX) this.samples.splice(0, this.samples.length - SAMPLES_MAX);
    this.version += 1;
  }

  /** A time in seconds since 1970 as nanoseconds of the host's boot-time clock, by the sample that is nearest. */
  momentOf(at: number): number | undefined {
    const [after] = this.since(at * 1000);
    const near = after ?? this.last;
    return near && Math.round(near.moment_ns + (at * 1000 - near.at_ms) * 1e6);
  }

  /** The samples at or after a time and before another, in milliseconds since 1970. */
  since(fromMs: number, untilMs = Number.POSITIVE_INFINITY): Sample[] {
    const from = this.place(fromMs);
    return this.samples.slice(from, untilMs === Number.POSITIVE_INFINITY ? undefined : this.place(untilMs));
  }

  /** Where the first sample at or after a time stands. */
  private place(atMs: number): number {
    let low = 0;
    let high = this.samples.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.samples[middle]?.at_ms ?? 0) < atMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function isRead({ pools }: Sample): boolean {
  return Object.keys(pools).length > 0;
}

/**
 * A long time as samples: two a column, the least and the most, so that a line through them covers what was between. A column
 * without a reading has neither.
 */
export function unfold(overview: Overview): Sample[] {
  const { from_ms, until_ms, columns: count, host_figures, pool_figures } = overview;
  const width = (until_ms - from_ms) / count;
  const samples: Sample[] = [];
  for (let column = 0; column < count; column += 1) {
    for (const [side, place] of [
      ["least", 0.25],
      ["most", 0.75],
    ] as const) {
      const take = (figures: Overview["host_figures"]) =>
        Object.fromEntries(
          Object.entries(figures).flatMap(([name, range]) => {
            const value = range[side][column];
            return value === null || value === undefined ? [] : [[name, value]];
          }),
        );
      const [host, pool] = [take(host_figures), take(pool_figures)];
      if (Object.keys(host).length + Object.keys(pool).length === 0) continue;
      const at_ms = from_ms + (column + place) * width;
      samples.push({ at_ms, moment_ns: 0, ...host, pools: { [overview.pool ?? ""]: pool } });
    }
  }
  return samples;
}

/** The times without a reading of a pool, in seconds: pauses between samples, samples without it, and the end until `now`. */
export function gaps(samples: Sample[], pool: string, now: number): [number, number][] {
  // Eight charts ask in a row.
  const same = lastGaps && lastGaps.samples === samples && lastGaps.pool === pool && lastGaps.now === now;
  if (!same) lastGaps = { samples, pool, now, found: findGaps(samples, pool, now) };
  return lastGaps?.found ?? [];
}

let lastGaps: { samples: Sample[]; pool: string; now: number; found: [number, number][] } | undefined;

function findGaps(samples: Sample[], pool: string, now: number): [number, number][] {
  const step = usualStep(samples);
  const found: [number, number][] = [];
  let last: number | undefined;
  for (const sample of samples) {
    if (sample.pools[pool] === undefined) continue;
    const at = sample.at_ms / 1000;
    if (last !== undefined && at - last > step * GAP_STEPS) found.push([last + step / 2, at - step / 2]);
    last = at;
  }
  if (last !== undefined && now - last > Math.max(step * GAP_STEPS, 3)) found.push([last + step / 2, now]);
  return found;
}

/** A reading of one sample: a figure, or nothing. */
export type Reading = (sample: Sample, pool: PoolSample | undefined) => number | undefined;

/** The times, in seconds, and one column a reading. */
export function columns(samples: Sample[], pool: string, readings: Reading[]): [number[], ...Column[]] {
  const step = usualStep(samples);
  const times: number[] = [];
  const values: Column[] = readings.map(() => []);
  let before: number | undefined;
  for (const sample of samples) {
    const at = sample.at_ms / 1000;
    if (before !== undefined && at - before > step * GAP_STEPS) {
      times.push(before + step);
      for (const column of values) column.push(null);
    }
    before = at;
    times.push(at);
    const ofPool = sample.pools[pool];
    readings.forEach((reading, index) => {
      values[index]?.push(reading(sample, ofPool) ?? null);
    });
  }
  return [times, ...values];
}

function usualStep(samples: Sample[]): number {
  const steps: number[] = [];
  for (let at = Math.max(1, samples.length - 50); at < samples.length; at += 1) {
    const [older, newer] = [samples[at - 1], samples[at]];
    if (older && newer) steps.push((newer.at_ms - older.at_ms) / 1000);
  }
  steps.sort((left, right) => left - right);
  return Math.max(0.05, steps[steps.length >> 1] ?? 1);
}

/** The mean of a figure over the last so many samples that have it. */
export function recentMean(samples: Sample[], count: number, read: (sample: Sample) => number | undefined) {
  const figures = samples
    .slice(-count)
    .map(read)
    .filter((figure) => figure !== undefined);
  if (figures.length === 0) return undefined;
  return figures.reduce((sum, figure) => sum + figure, 0) / figures.length;
}
