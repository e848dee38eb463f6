// What was read, as columns that a chart can draw. A gap in the readings stays a gap.

import type { PoolSample, Sample } from "./wire.ts";

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

  get last(): Sample | undefined {
    return this.samples[this.samples.length - 1];
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

  /** The samples at or after a time, in milliseconds since 1970. */
  since(fromMs: number): Sample[] {
    let low = 0;
    let high = this.samples.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.samples[middle]?.at_ms ?? 0) < fromMs) low = middle + 1;
      else high = middle;
    }
    return this.samples.slice(low);
  }
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
