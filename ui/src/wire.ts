// What the sidecar's API answers, as far as this page reads it. The full description is /openapi in the documentation.

export type Value = number | string;
export type Mode = "observe" | "advise" | "act";
export type Action = "hold" | "try" | "confirm" | "roll_back" | "advise";

export interface Citation {
  key: string;
  file: string;
  line: number;
  column: number;
}

export interface Figures {
  seconds: number;
  workers?: number;
  completed: number;
  good: number;
  arrivals_per_s: number;
  goodput_per_s: number;
  busy?: number;
  queued?: number;
  lost_per_s?: number;
  failed_per_s?: number;
  p50_us?: number;
  p99_us?: number;
  wait_p95_us?: number;
}

export interface Verdict {
  kind: string;
  gain_per_s?: number;
  loss_per_s?: number;
  error_per_s?: number;
  before_us?: number;
  now_us?: number;
  before_per_s?: number;
  now_per_s?: number;
}

export interface Reason {
  kind: string;
  verdict?: Verdict;
  holder?: string;
  expires_in_ms?: number;
  [figure: string]: unknown;
}

export interface Evidence {
  now?: Figures;
  before?: Figures;
  cpu_share?: number;
  memory_share?: number;
}

export interface ChangeSummary {
  generation: number;
  set: Record<string, { from: Value; to: Value }>;
}

export interface Decision {
  action: Action;
  reason: Reason;
  regime: string;
  level: string;
  load?: number;
  profile: string;
  evidence: Evidence;
  expectation?: { goodput_per_s?: number; least_gain_per_s?: number };
  change?: ChangeSummary;
  bound_by?: Citation[];
}

interface EntryHead {
  id: string;
  at_ms: number;
  moment_ns: number;
  host: string;
  instance?: string;
  pool?: string;
  text: string;
}

export type DecisionEntry = EntryHead & Decision & { entry: "decision" };
export type OutcomeEntry = EntryHead & {
  entry: "outcome";
  action: Action;
  generation: number;
  reason?: Reason;
  took_us: number;
};
export type IntentEntry = EntryHead & { entry: "intent" };
export type Entry = DecisionEntry | OutcomeEntry | IntentEntry | CommandEntry | ReloadEntry;

export interface PoolSample {
  workers?: number;
  timeout_ms?: number;
  queue_limit?: number;
  busy?: number;
  queued?: number;
  arrivals_per_s?: number;
  completions_per_s?: number;
  goodput_per_s?: number;
  lost_per_s?: number;
  failed_per_s?: number;
  p50_us?: number;
  p95_us?: number;
  p99_us?: number;
  wait_p95_us?: number;
}

export interface Sample {
  at_ms: number;
  moment_ns: number;
  cpu_cores?: number;
  quota_cores?: number;
  throttled_share?: number;
  rss_bytes?: number;
  memory_limit_bytes?: number;
  threads?: number;
  tasks?: number;
  read_bytes_per_s?: number;
  written_bytes_per_s?: number;
  received_bytes_per_s?: number;
  sent_bytes_per_s?: number;
  pools: Record<string, PoolSample>;
}

export interface KnobStatus {
  value: Value;
  effective: Value;
  baseline: Value;
  min: number;
  max: number;
  pinned_for_ms?: number;
}

export interface PoolStatus {
  profile: string;
  phase: "baseline" | "trial" | "confirmed";
  generation: number;
  trial_expires_in_ms?: number;
  knobs: Record<string, KnobStatus>;
  inert?: string[];
  decision?: Decision;
  text: string;
  changes: { made: number; kept: number; rolled_back: number; refused: number };
}

export interface HostStatus {
  host: string;
  mode: Mode;
  absent?: string;
  summary: string;
  app: string;
  version: string;
  instance?: string;
  pid?: number;
  frozen: boolean;
  lease_holder?: string;
  lease_ours: boolean;
  lease_expires_in_ms?: number;
  epoch?: number;
  uptime_ms?: number;
  held?: Record<string, number>;
  age_ms?: number;
  conformance: number;
  sample: Sample;
  pools: Record<string, PoolStatus>;
}

export interface Readiness {
  ready: boolean;
  checks: Record<string, { ok: boolean; text: string }>;
}

export interface SettingChange {
  key: string;
  from?: string;
  to?: string;
  set_by?: Citation;
  needs_restart: boolean;
  drastic: boolean;
}

export interface SettingProblem {
  file: string;
  line?: number;
  column?: number;
  message: string;
  notes?: string[];
}

export interface ConfigurationStatus {
  files: string[];
  in_force_since_ms: number;
  applied: number;
  refused: number;
  problems?: SettingProblem[];
  waiting?: SettingChange[];
  needs_restart?: string[];
}

export interface SettingInForce {
  key: string;
  value: string;
  origin?: Citation;
  live: boolean;
}

export interface ProfileText {
  name: string;
  file: string;
  text: string;
}

export interface EffectiveConfiguration {
  settings: SettingInForce[];
  profiles: ProfileText[];
}

export interface DraftVerdict {
  problems: SettingProblem[];
  changes: SettingChange[];
  needs_approval: boolean;
}

export type CommandEntry = EntryHead & {
  entry: "command";
  asked: {
    command: string;
    with?: {
      reason?: string;
      pool?: string;
      knob?: string;
      value?: Value;
      profile?: string;
      for_ms?: number;
    };
  };
  operator: { by: "socket"; uid: number; pid?: number } | { by: "token"; name: string; from?: string };
  dry_run: boolean;
  outcome: { result: "done" | "partly" | "refused"; text?: string; missing?: string; detail?: string };
};

export type ReloadEntry = EntryHead & {
  entry: "reload";
  result: "applied" | "refused" | "waiting" | "approved" | "rejected" | "withdrawn";
  changes: SettingChange[];
  problems?: SettingProblem[];
};

/** The answer to a command, dry or not. */
export interface Receipt {
  dry_run: boolean;
  recorded: boolean;
  frozen: boolean;
  text: string;
  missing?: string;
  values?: Record<string, Record<string, { from: Value; to: Value }>>;
}

export interface Range {
  least: (number | null)[];
  most: (number | null)[];
}

export interface Overview {
  pool?: string;
  from_ms: number;
  until_ms: number;
  columns: number;
  oldest_ms?: number;
  host_figures: Record<string, Range>;
  pool_figures: Record<string, Range>;
}
