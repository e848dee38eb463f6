// Everything that the page knows, in one place. Views read it and are drawn again when it tells them to.

import { useEffect, useReducer } from "preact/hooks";
import { type Act, acts } from "./acts.ts";
import { Ledger } from "./changes.ts";
import type { Deed } from "./deeds.ts";
import * as format from "./format.ts";
import { History, unfold } from "./history.ts";
import { listen } from "./live.ts";
import type {
  CommandEntry,
  ConfigurationStatus,
  EffectiveConfiguration,
  Entry,
  HostStatus,
  Overview,
  Readiness,
  ReloadEntry,
  Sample,
} from "./wire.ts";

export type Link =
  | { state: "starting" }
  | { state: "live" }
  | { state: "lost"; since: number; nextTry: number };

/** How much the charts show, in seconds; `zoom` is a time that was chosen on them. */
export interface Range {
  seconds: number;
  zoom: { from: number; to: number } | undefined;
}

/** What an operator did on this page last. */
export interface Done {
  text: string;
  missing: string[];
  at: number;
  undo: Deed | undefined;
}

/** What the flamegraph shows; times in seconds since 1970. */
export type Looked = { at: number } & (
  | { what: "change"; generation: number; instance: string | undefined }
  | { what: "window" | "compare"; from: number; until: number }
  | { what: "now" }
);
type Look = Looked extends infer L ? (L extends unknown ? Omit<L, "at"> : never) : never;

/** How many samples are read at first: some minutes. What is older comes as least and most of each pixel. */
const HISTORY_SAMPLES = 1_200;
/** How many commands are read at first, dry runs among them, and how many of the others are kept. */
const COMMANDS_READ = 400;
const COMMANDS_MAX = 200;
/** How many columns of pixels an overview has. */
const COLUMNS = 600;
/** How long nothing moved before an overview is asked for, in milliseconds. */
const PAUSE_MS = 120;

/** What a reading is old after: so many milliseconds, or so many intervals where those are longer. */
const STALE_MS = 5000;
const STALE_INTERVALS = 3;

/** How long a moved time must stand still before the whole page is drawn anew, in milliseconds. */
const SETTLE_MS = 300;

/** A time that is shown and lies, in part, before what was read in full. */
class Detail {
  version = 0;
  pool = "";
  from = 0;
  to = 0;
  samples: Sample[] = [];
  asked = "";
  timer = 0;

  covers(pool: string, from: number, to: number): boolean {
    return this.pool === pool && this.from <= from && to <= this.to;
  }
}

type Choices = Pick<
  Store,
  | "pool"
  | "range"
  | "openChange"
  | "hot"
  | "kind"
  | "onlyPool"
  | "deed"
  | "done"
  | "hands"
  | "help"
  | "profile"
  | "checks"
>;

export class Store {
  host: string | undefined;
  hosts: string[] = [];
  status: HostStatus | undefined;
  /** When the newest status came, by this machine's clock. */
  statusAt = 0;
  readiness: Readiness | undefined;
  configuration: ConfigurationStatus | undefined;
  effective: EffectiveConfiguration | undefined;
  /** The hand whose dialog is open. */
  deed: Deed | undefined;
  done: Done | undefined;
  /** What the flamegraph shows, since when. */
  looked: Looked | undefined;
  /** The pool whose hands are asked for. */
  hands: string | undefined;
  /** Whether the list of checks is open. */
  checks = false;
  /** Of the sidecar; nothing until its metrics told. */
  sidecarVersion: string | undefined;
  /** The trial that was open at the last good reading, and when the host undoes it by itself. */
  trial: { pool: string; generation: number; endsAt: number } | undefined;
  /** Whether the help is open. */
  help = false;
  /** The newest commands that were no dry runs, and readings of the configuration, oldest first. */
  commands: CommandEntry[] = [];
  reloads: ReloadEntry[] = [];
  /** The profile that is shown. */
  profile: string | undefined;
  link: Link = { state: "starting" };
  pool = "";
  range: Range = { seconds: 300, zoom: undefined };
  openChange: string | undefined;
  /** The change whose card is under the pointer. */
  hot: string | undefined;
  kind: "all" | "kept" | "rolled back" | "planned" | "operator" = "all";
  onlyPool: string | undefined;
  /** Whether the sidecar has nothing that is older than what was read in full. */
  complete = true;
  /** Whether a person chose how much the charts show. */
  rangeChosen = false;
  readonly detail = new Detail();
  private last: { asked: string; samples: Sample[] } = { asked: "", samples: [] };
  readonly history = new History();
  readonly ledger = new Ledger();
  private readonly views = new Set<() => void>();
  /** Those who show the time that is moved over; the rest of the page stands still meanwhile. */
  private readonly movers = new Set<() => void>();
  private drawing = false;
  private moving = false;
  private settled = 0;
  private retryStream: () => void = () => {};

  start(): void {
    const stream = listen({
      event: (name, data) => this.event(name, data),
      open: () => this.opened(),
      lost: (retry) => this.broke(retry),
    });
    this.retryStream = () => stream.retry();
    void this.load();
    void this.readVersion();
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

  set(change: Partial<Choices>): void {
    Object.assign(this, change);
    this.changed();
  }

  /** Lets the charts show the last so many seconds. */
  show(seconds: number): void {
    this.rangeChosen = true;
    this.set({ range: { seconds, zoom: undefined } });
  }

  /** Moves the chosen time by a share of its width. */
  pan(share: number): void {
    const { zoom } = this.range;
    if (!zoom) return;
    const by = Math.min(share * (zoom.to - zoom.from), Date.now() / 1000 - zoom.to);
    this.range = { ...this.range, zoom: { from: zoom.from + by, to: zoom.to + by } };
    clearTimeout(this.settled);
    this.settled = setTimeout(() => this.changed(), SETTLE_MS);
    if (this.moving) return;
    this.moving = true;
    requestAnimationFrame(() => {
      this.moving = false;
      for (const view of this.movers) view();
    });
  }

  /** What is known of a time, in seconds: in full as far as it was read in full, else the least and most of each pixel. */
  samplesOf(pool: string, from: number, to: number): Sample[] {
    const first = this.history.first;
    const inFull = first !== undefined && first <= from * 1000;
    if (!inFull && !this.complete && first !== undefined) this.wantDetail(pool, from, to);
    // A chosen time is taken with room around it, so that a step of a move needs nothing new.
    const width = to - from;
    const slot = Math.floor(from / width);
    const [low, high] = this.range.zoom ? [slot * width, (slot + 2) * width] : [from, to];
    // All charts ask for the same time in a row.
    const asked = `${pool} ${inFull} ${low} ${high} ${this.history.version} ${this.detail.version}`;
    if (this.last.asked !== asked) {
      const samples = inFull
        ? this.history.since((low - 5) * 1000, (high + 5) * 1000)
        : this.joined(pool, width);
      this.last = { asked, samples };
    }
    return this.last.samples;
  }

  /** What is known as least and most of each pixel, and behind it what was read in full. */
  private joined(pool: string, width: number): Sample[] {
    const { detail } = this;
    const older = detail.pool === pool ? detail.samples : [];
    const joint = this.history.first ?? Number.POSITIVE_INFINITY;
    // Where the full readings begin, they are denser than pixels only in a short time.
    if (width <= COLUMNS) {
      return [...older.filter(({ at_ms }) => at_ms < joint), ...this.history.since(joint)];
    }
    const end = older[older.length - 1]?.at_ms ?? 0;
    return [...older, ...this.history.since(end + 1)];
  }

  private wantDetail(pool: string, from: number, to: number): void {
    const { detail } = this;
    // A live end moves all the time; asking anew is worth it once it moved by some pixels.
    const step = Math.max(1, ((to - from) / COLUMNS) * 4);
    const wanted = `${pool} ${Math.floor(from / step)} ${Math.floor(to / step)}`;
    if (detail.asked === wanted) return;
    detail.asked = wanted;
    clearTimeout(detail.timer);
    detail.timer = setTimeout(() => void this.loadDetail(pool, from, to), PAUSE_MS);
  }

  private async loadDetail(pool: string, from: number, to: number): Promise<void> {
    const base = `/api/v1/hosts/${encodeURIComponent(this.host ?? "")}/history`;
    const time = `from=${Math.floor(from * 1000)}&until=${Math.ceil(to * 1000) + 1}`;
    try {
      const overview = await get<Overview>(
        `${base}?pool=${encodeURIComponent(pool)}&${time}&columns=${COLUMNS}`,
      );
      Object.assign(this.detail, { pool, from, to, samples: unfold(overview) });
      this.detail.version += 1;
      this.changed();
    } catch {
      this.detail.asked = "";
    }
  }

  /** Lets the flamegraph show this. */
  look(what: Look): void {
    this.looked = { ...what, at: Date.now() } as Looked;
    this.changed();
  }

  /** Asks at once for what is else asked for now and then. */
  async refresh(): Promise<void> {
    await Promise.all([this.checkReadiness(), this.loadConfiguration()]);
  }

  /** Draws this also for each step of a move, and not only when something changed. */
  subscribeMoves(view: () => void): () => void {
    this.movers.add(view);
    const leave = this.subscribe(view);
    return () => {
      this.movers.delete(view);
      leave();
    };
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
      const [status, samples, decisions, deeds, commands, reloads] = await Promise.all([
        get<HostStatus>(`${base}/status`),
        get<{ samples: Sample[] }>(`${base}/samples?limit=${HISTORY_SAMPLES}`),
        get<{ entries: Entry[] }>(`${base}/decisions?limit=2000`),
        Promise.all(
          ["try", "confirm", "roll_back"].map((action) =>
            get<{ entries: Entry[] }>(`${base}/decisions?limit=400&action=${action}`),
          ),
        ),
        get<{ entries: CommandEntry[] }>(`${base}/decisions?limit=${COMMANDS_READ}&entry=command`),
        get<{ entries: ReloadEntry[] }>(`${base}/decisions?limit=20&entry=reload`),
      ]);
      for (const entry of commands.entries) this.command(entry);
      this.reloads = reloads.entries;
      this.history.merge(samples.samples);
      this.complete = samples.samples.length < HISTORY_SAMPLES;
      const entries = [...decisions.entries, ...deeds.flatMap((deed) => deed.entries)];
      entries.sort((left, right) => sequence(left) - sequence(right));
      this.ledger.add(entries);
      await this.chooseRange();
      this.takeStatus(status);
      this.link = { state: "live" };
      await this.refresh();
    } catch {
      this.broke(2);
    }
    this.changed();
  }

  /** At first the charts show what there is: a quarter of an hour, or less of a young sidecar. */
  private async chooseRange(): Promise<void> {
    const first = this.history.first;
    if (this.rangeChosen || first === undefined) return;
    this.rangeChosen = true;
    const age = (Date.now() - first) / 1000;
    const read = this.history.length >= HISTORY_SAMPLES ? 900 : age;
    this.range = { seconds: read <= 90 ? 60 : read <= 450 ? 300 : 900, zoom: undefined };
  }

  /** The sidecar's time between two looks at the host, in milliseconds. */
  get intervalMs(): number {
    const set = this.effective?.settings.find(({ key }) => key === "interval")?.value;
    return (set && format.duration(format.unquoted(set))) || 1000;
  }

  /** A reading that is older than this, in milliseconds, is not live any more: three looks were missed, or five seconds. */
  get staleMs(): number {
    return Math.max(STALE_MS, STALE_INTERVALS * this.intervalMs);
  }

  private takeStatus(status: HostStatus): void {
    this.status = status;
    this.statusAt = Date.now();
    if (!status.absent) this.trial = openTrial(status);
    const pools = Object.keys(status.pools).filter((name) => status.pools[name]?.knobs.workers);
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
      if (entry.host === this.host) this.enter(entry);
    }
    this.changed();
  }

  private enter(entry: Entry): void {
    if (isCommand(entry)) this.command(entry);
    else if (isReload(entry)) {
      this.reloads = [...this.reloads.slice(-19), entry];
      void this.loadConfiguration();
    } else this.ledger.add([entry]);
  }

  private command(entry: CommandEntry): void {
    if (entry.dry_run || this.commands.some(({ id }) => id === entry.id)) return;
    const all = [...this.commands, entry].sort((left, right) => left.at_ms - right.at_ms);
    this.commands = all.slice(-COMMANDS_MAX);
  }

  /** What operators did, newest first. */
  get acts(): Act[] {
    return acts(this.commands);
  }

  private opened(): void {
    const wasLost = this.link.state === "lost";
    this.link = { state: "live" };
    // It may be another program that answers now.
    if (wasLost) void this.readVersion();
    // What was missed meanwhile: the stream brings entries after its last one, samples are fetched.
    if (wasLost) void this.load();
    this.changed();
  }

  private broke(retrySeconds: number): void {
    const since = this.link.state === "lost" ? this.link.since : Date.now();
    this.link = { state: "lost", since, nextTry: Date.now() + retrySeconds * 1000 };
    this.changed();
  }

  private async loadConfiguration(): Promise<void> {
    try {
      [this.configuration, this.effective] = await Promise.all([
        get<ConfigurationStatus>("/api/v1/configuration"),
        get<EffectiveConfiguration>("/api/v1/configuration/effective"),
      ]);
    } catch {
      // What is known stays; the state bar tells when the sidecar is gone.
    }
    this.changed();
  }

  private async readVersion(): Promise<void> {
    try {
      const text = await (await fetch("/metrics")).text();
      this.sidecarVersion = /^trimtab_build_info\{version="([^"]*)"\}/m.exec(text)?.[1];
    } catch {
      // The footer goes without it.
    }
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

/** The host undoes a trial when its time is over, and sooner when the lease under which it was begun runs out. */
function openTrial({ pools, sample, age_ms, lease_expires_in_ms }: HostStatus): Store["trial"] {
  const found = Object.entries(pools).find(
    ([, { trial_expires_in_ms }]) => trial_expires_in_ms !== undefined,
  );
  if (!found) return undefined;
  const [pool, { generation, trial_expires_in_ms }] = found;
  const left = Math.min(trial_expires_in_ms ?? 0, lease_expires_in_ms ?? Number.POSITIVE_INFINITY);
  return { pool, generation, endsAt: sample.at_ms - (age_ms ?? 0) + left };
}

function isCommand(entry: Entry): entry is CommandEntry {
  return entry.entry === "command";
}

function isReload(entry: Entry): entry is ReloadEntry {
  return entry.entry === "reload";
}

/** The pool that a visitor most likely came for: the one with most work lost or waiting. */
function busiest(status: HostStatus): string | undefined {
  const trouble = (name: string) => {
    const sample = status.sample.pools[name];
    return (sample?.lost_per_s ?? 0) * 100 + (sample?.queued ?? 0) + (sample?.busy ?? 0) / 1000;
  };
  const sized = Object.keys(status.pools).filter((name) => status.pools[name]?.knobs.workers);
  return sized.sort((left, right) => trouble(right) - trouble(left))[0];
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

/** The same also for each step of a move along the time. */
export function useMoves(): Store {
  const [, draw] = useReducer((count: number) => count + 1, 0);
  useEffect(() => store.subscribeMoves(() => draw(undefined)), []);
  return store;
}
