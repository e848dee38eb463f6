// Everything that the page knows, in one place. Views read it and are drawn again when it tells them to.

import { useEffect, useReducer } from "preact/hooks";
import { Ledger } from "./changes.ts";
import { History } from "./history.ts";
import { listen } from "./live.ts";
import type { Entry, HostStatus, Readiness, Sample } from "./wire.ts";

export type Link =
  | { state: "starting" }
  | { state: "live" }
  | { state: "lost"; since: number; nextTry: number };

/** How much the charts show, in seconds; `zoom` is a time that was chosen on them. */
export interface Range {
  seconds: number;
  zoom: { from: number; to: number } | undefined;
}

const HISTORY_SAMPLES = 10_000;

export class Store {
  host: string | undefined;
  hosts: string[] = [];
  status: HostStatus | undefined;
  /** When the newest status came, by this machine's clock. */
  statusAt = 0;
  readiness: Readiness | undefined;
  link: Link = { state: "starting" };
  pool = "";
  range: Range = { seconds: 300, zoom: undefined };
  openChange: string | undefined;
  kind: "all" | "kept" | "rolled back" = "all";
  onlyPool: string | undefined;
  readonly history = new History();
  readonly ledger = new Ledger();
  private readonly views = new Set<() => void>();
  private drawing = false;
  private retryStream: () => void = () => {};

  start(): void {
    const stream = listen({
      event: (name, data) => this.event(name, data),
      open: () => this.opened(),
      lost: (retry) => this.broke(retry),
    });
    this.retryStream = () => stream.retry();
    void this.load();
    setInterval(() => void this.checkReadiness(), 5000);
    setInterval(() => this.changed(), 1000);
  }

  retry(): void {
    this.retryStream();
    void this.load();
  }

  /** Draws again what shows this, at most once a frame. */
  changed(): void {
    if (this.drawing) return;
    this.drawing = true;
    requestAnimationFrame(() => {
      this.drawing = false;
      for (const view of this.views) view();
    });
  }

  set(change: Partial<Pick<Store, "pool" | "range" | "openChange" | "kind" | "onlyPool">>): void {
    Object.assign(this, change);
    this.changed();
  }

  subscribe(view: () => void): () => void {
    this.views.add(view);
    return () => this.views.delete(view);
  }

  private async load(): Promise<void> {
    try {
      const { hosts } = await get<{ hosts: { host: string }[] }>("/api/v1/hosts");
      this.hosts = hosts.map((host) => host.host);
      this.host ??= new URLSearchParams(location.search).get("host") ?? this.hosts[0];
      if (this.host === undefined) return;
      const base = `/api/v1/hosts/${encodeURIComponent(this.host)}`;
      const [status, samples, decisions, deeds] = await Promise.all([
        get<HostStatus>(`${base}/status`),
        get<{ samples: Sample[] }>(`${base}/samples?limit=${HISTORY_SAMPLES}`),
        get<{ entries: Entry[] }>(`${base}/decisions?limit=2000`),
        Promise.all(
          ["try", "confirm", "roll_back"].map((action) =>
            get<{ entries: Entry[] }>(`${base}/decisions?limit=400&action=${action}`),
          ),
        ),
      ]);
      this.history.merge(samples.samples);
      const entries = [...decisions.entries, ...deeds.flatMap((deed) => deed.entries)];
      entries.sort((left, right) => sequence(left) - sequence(right));
      this.ledger.add(entries);
      this.takeStatus(status);
      this.link = { state: "live" };
      await this.checkReadiness();
    } catch {
      this.broke(2);
    }
    this.changed();
  }

  private takeStatus(status: HostStatus): void {
    this.status = status;
    this.statusAt = Date.now();
    const pools = Object.keys(status.pools);
    if (!pools.includes(this.pool)) this.pool = busiest(status) ?? pools[0] ?? "";
  }

  private event(name: string, data: string): void {
    if (name === "resync") {
      void this.load();
      return;
    }
    const message: unknown = JSON.parse(data);
    if (name === "status") {
      const status = message as HostStatus;
      if (status.host !== this.host) return;
      this.takeStatus(status);
      if (status.sample.at_ms > 0) this.history.add([status.sample]);
    } else {
      const entry = message as Entry;
      if (entry.host === this.host) this.ledger.add([entry]);
    }
    this.changed();
  }

  private opened(): void {
    const wasLost = this.link.state === "lost";
    this.link = { state: "live" };
    // What was missed meanwhile: the stream brings entries after its last one, samples are fetched.
    if (wasLost) void this.load();
    this.changed();
  }

  private broke(retrySeconds: number): void {
    const since = this.link.state === "lost" ? this.link.since : Date.now();
    this.link = { state: "lost", since, nextTry: Date.now() + retrySeconds * 1000 };
    this.changed();
  }

  private async checkReadiness(): Promise<void> {
    try {
      const answer = await fetch("/readyz?verbose", { headers: { accept: "application/json" } });
      this.readiness = (await answer.json()) as Readiness;
    } catch {
      this.readiness = undefined;
    }
    this.changed();
  }
}

/** The pool that a visitor most likely came for: the one with most work lost or waiting. */
function busiest(status: HostStatus): string | undefined {
  const trouble = (name: string) => {
    const sample = status.sample.pools[name];
    return (sample?.lost_per_s ?? 0) * 100 + (sample?.queued ?? 0) + (sample?.busy ?? 0) / 1000;
  };
  return Object.keys(status.pools).sort((left, right) => trouble(right) - trouble(left))[0];
}

function sequence(entry: Entry): number {
  return Number(entry.id.slice(entry.id.lastIndexOf("-") + 1));
}

export async function get<T>(path: string): Promise<T> {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return (await answer.json()) as T;
}

export const store = new Store();

/** Draws the calling view again whenever the store changed. */
export function useStore(): Store {
  const [, draw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => store.subscribe(() => draw(undefined)), []);
  return store;
}
