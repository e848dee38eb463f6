// The state bar: what is so, since when, what it means for the host, what to do. One at a time, the worst.

import type { Change } from "./changes.ts";
import { lift } from "./deeds.ts";
import * as format from "./format.ts";
import { type Store, store, useStore } from "./store.ts";

type Tone = "info" | "warn" | "bad";

export interface State {
  tone: Tone;
  what: string;
  means: string;
  hand?: { name: string; press: () => void };
}

const ABSENCES: Record<string, string> = {
  not_yet: "It was not asked yet.",
  unreachable:
    "Nothing listens on its socket. Start the service, or point the configuration's `socket` elsewhere.",
  timed_out: "Its last answer did not come in time.",
  too_large: "Its answer was longer than is read.",
  garbage: "What answers there is not a host: another program, or broken JSON.",
  redirected: "It answered with a redirect, which is never followed.",
  wrong_version: "It speaks another version of the control API.",
  gone: "Its process is gone.",
  not_trusted: "It runs as a user that this sidecar does not trust.",
  not_offered: "It does not offer this figure.",
  impossible: "A figure went backwards or was impossible.",
};

/** Every state that is so now, the worst first. */
export function states(page: Store): State[] {
  const all: (State | undefined)[] = [
    lost(page),
    absent(page),
    frozen(page),
    refused(page),
    failed(page),
    waiting(page),
    blindPools(page),
    damaged(page),
    stale(page),
  ];
  return [...all, standby(page), mode(page)].filter((state) => state !== undefined);
}

function lost({ link }: Store): State | undefined {
  if (link.state !== "lost") return undefined;
  const ago = format.span((Date.now() - link.since) / 1000);
  const next = Math.max(0, Math.ceil((link.nextTry - Date.now()) / 1000));
  return {
    tone: "warn",
    what: `This page lost the sidecar ${ago} ago; it tries again in ${next} s.`,
    means: `Trimtab may well be working. What you see is from ${format.time(link.since)}, and what was read meanwhile is fetched once it answers. If it was dead itself, that time stays a gap: missing, not zero.`,
    hand: { name: "Try now", press: () => store.retry() },
  };
}

function absent(page: Store): State | undefined {
  const { status, history } = page;
  if (!status?.absent) return undefined;
  const why = ABSENCES[status.absent] ?? status.summary;
  const last = history.lastRead;
  if (last === undefined) {
    const what = `No host yet: ${status.host}${socket()}.`;
    return { tone: "bad", what, means: `${tries(page)} ${why}`, hand: checks };
  }
  return {
    tone: "warn",
    what: `No reading for ${format.span((Date.now() - last) / 1000)}. What you see is from ${format.time(last)}.`,
    means: `${why} ${tries(page)} The host keeps its values. ${undoes(page)} Nothing else changes until fresh readings arrive.`,
    hand: checks,
  };
}

/** How often it was asked in vain, since when, and when it is asked again. */
function tries({ history, intervalMs, complete }: Store): string {
  const { count, since } = history.unread;
  const next = `again every ${format.millis(intervalMs)}`;
  if (since === undefined) return `It is asked ${next}.`;
  // What was read at first may begin in the middle of it.
  const least = complete || history.lastRead !== undefined ? "" : "at least ";
  const times = count === 1 ? "once" : `${least}${format.number(count)} times`;
  return `Asked in vain ${times} since ${format.time(since)}, ${next}.`;
}

/** When the host undoes by itself what nobody confirms. */
function undoes({ trial }: Store): string {
  if (!trial) return "It undoes an open trial by itself.";
  const { pool, generation, endsAt } = trial;
  const when = format.time(endsAt);
  return endsAt > Date.now()
    ? `It undoes trial ${generation} of ${pool} by itself at ${when} at the latest.`
    : `Trial ${generation} of ${pool} ran out at ${when}; a host that lives has undone it by itself.`;
}

function socket(): string {
  const path = store.effective?.settings.find(({ key }) => key === "hosts.socket")?.value;
  return path ? ` at ${path.replaceAll('"', "")}` : "";
}

const checks = { name: "Run checks", press: () => store.set({ checks: true }) };

function frozen({ status, commands }: Store): State | undefined {
  if (!status?.frozen) return undefined;
  const last = commands.findLast(
    ({ asked, dry_run, outcome }) => asked.command === "freeze" && !dry_run && outcome.result !== "refused",
  );
  const who = last
    ? ` by ${last.operator.by === "token" ? last.operator.name : `user ${last.operator.uid}`} since ${format.time(last.at_ms)}`
    : " by an operator";
  const reason = last?.asked.with?.reason;
  const why = reason ? `: “${reason}”` : "";
  return {
    tone: "warn",
    what: `Frozen${who}${why}.`,
    means: "Nothing changes until you lift it. Open trials were rolled back first. Reading goes on.",
    hand: { name: "Lift the freeze", press: () => store.set({ deed: lift() }) },
  };
}

function refused({ configuration }: Store): State | undefined {
  const [first, ...more] = configuration?.problems ?? [];
  if (!first || !configuration) return undefined;
  const file = first.file.split("/").pop() || "The configuration";
  const place = first.line === undefined ? "" : `: line ${first.line}, column ${first.column}`;
  const others = more.length > 0 ? ` ${more.length} more mistakes are listed with it.` : "";
  return {
    tone: "warn",
    what: `${file} is not in force${place}.`,
    means: `${format.period(first.message)} The version of ${format.time(configuration.in_force_since_ms)} goes on working, so nothing changed for the host.${others}`,
    hand: { name: "Show the line", press: () => showLine(first.file) },
  };
}

function showLine(file: string): void {
  const profile = store.effective?.profiles.find((it) => it.file === file);
  store.set({ profile: profile?.name ?? "sidecar" });
  document.getElementById("profiles")?.scrollIntoView();
}

function waiting({ configuration, reloads }: Store): State | undefined {
  const count = configuration?.waiting?.length ?? 0;
  if (count === 0) return undefined;
  const asked = reloads.findLast(({ result }) => result === "waiting");
  const since = asked ? ` since ${format.time(asked.at_ms)}` : "";
  return {
    tone: "warn",
    what: `${count === 1 ? "1 change" : `${count} changes`} of the configuration ${count === 1 ? "waits" : "wait"} for you${since}.`,
    means: "A limit would move far. What was in force before stays so until somebody approves or rejects it.",
    hand: { name: "Look at it", press: () => document.getElementById("waiting")?.scrollIntoView() },
  };
}

/** What of the ledger of earlier starts could not be read. */
function damaged({ readiness }: Store): State | undefined {
  const found = readiness?.checks.history;
  if (!found) return undefined;
  return {
    tone: "warn",
    what: "A part of the history before this start is gone.",
    means: `${format.period(found.text)} Decisions go on after a warm-up; the lost time is a gap and not a flat line.`,
    hand: checks,
  };
}

/** A check that fails and has no state of its own: the ledger, above all. */
function failed({ readiness }: Store): State | undefined {
  const broken = Object.entries(readiness?.checks ?? {}).find(
    ([name, check]) => !check.ok && !name.startsWith("host ") && name !== "configuration",
  );
  if (!broken) return undefined;
  return {
    tone: "warn",
    what: `The check “${broken[0]}” fails.`,
    means: format.period(broken[1].text),
    hand: checks,
  };
}

function blindPools({ status, history }: Store): State | undefined {
  const all = Object.entries(status?.pools ?? {});
  const blind = all.filter(([, pool]) => pool.decision?.reason.kind === "blind");
  const [first] = blind;
  if (!first || status?.absent) return undefined;
  const since = history.lastOf(first[0]);
  const from = since === undefined ? "" : ` since ${format.time(since)}`;
  const size = first[1].knobs.workers?.value;
  const keeps = size === undefined ? "It keeps its size" : `It keeps ${size} workers`;
  return {
    tone: "warn",
    what:
      blind.length === 1
        ? `${first[0]} cannot be read${from}.`
        : `${blind.length} of ${all.length} pools cannot be read.`,
    means: `${format.period(format.sentence(first[1].text))} ${keeps}${blind.length < all.length ? "; the other pools go on." : "."}`,
    hand: checks,
  };
}

function stale({ status, statusAt, staleMs, link }: Store): State | undefined {
  if (!status || link.state !== "live" || Date.now() - statusAt < staleMs) return undefined;
  return {
    tone: "warn",
    what: `The newest figures are ${format.span((Date.now() - statusAt) / 1000)} old, from ${format.time(statusAt)}.`,
    means: "The sidecar answers, and its tick is late. The host goes on by itself.",
  };
}

function standby({ status }: Store): State | undefined {
  if (status?.mode !== "act" || status.absent || !status.lease_holder || status.lease_ours) return undefined;
  const epoch = status.epoch === undefined ? "" : `, epoch ${status.epoch}`;
  const ends =
    status.lease_expires_in_ms === undefined
      ? ""
      : ` (runs out in ${format.span(status.lease_expires_in_ms / 1000)} unless it is renewed)`;
  return {
    tone: "info",
    what: `Standby: ${status.lease_holder} holds the lease${epoch}.`,
    means: `This one reads, and takes over when that lease ends${ends}.`,
  };
}

/** Since when the mode is what it is, as far as that is known: the sidecar's start, or the reading that changed it. */
function modeSince({ configuration, reloads }: Store): string {
  const changed = reloads.findLast(
    ({ result, changes }) =>
      (result === "applied" || result === "approved") && changes.some(({ key }) => key === "mode"),
  );
  const start = configuration?.applied === 0 ? configuration.in_force_since_ms : undefined;
  const since = start ?? changed?.at_ms;
  return since === undefined ? "" : ` since ${format.time(since)}`;
}

function mode(page: Store): State | undefined {
  const { status, ledger } = page;
  const fate = { observe: "observed", advise: "advised", act: undefined }[status?.mode ?? "act"];
  if (!fate) return undefined;
  const plans = ledger.newest().filter((change) => change.fate === fate);
  const [last] = plans;
  const newest = last
    ? ` The newest: ${last.pool} ${last.set.map(({ knob, from, to }) => `${knob} from ${from} to ${to}`).join(", ")}${hoped(last)}.`
    : "";
  const changes = plans.length === 1 ? "1 change" : `${plans.length} changes`;
  const look = last && {
    name: fate === "observed" ? "See what it would do" : "Look at it",
    press: () => store.set({ openChange: last.key, kind: "all", onlyPool: undefined }),
  };
  const since = modeSince(page);
  const what =
    fate === "observed"
      ? `Observe${since}: Trimtab reads and changes nothing.`
      : `Advise${since}: Trimtab says what it would try, and changes nothing.`;
  const means =
    fate === "observed"
      ? `No lease is taken. Since its start it would have made ${changes}.${newest}`
      : `So far ${changes}; set mode = "act" to let it.${newest}`;
  return { tone: "info", what, means, ...(look ? { hand: look } : {}) };
}

function hoped({ begun }: Change): string {
  const [now, then] = [begun.evidence.now?.goodput_per_s, begun.expectation?.goodput_per_s];
  if (!now || then === undefined) return "";
  return `; expected ${format.signed(((then - now) / now) * 100)} % goodput`;
}

export function StateBar() {
  const page = useStore();
  const [worst, ...others] = states(page);
  return (
    <div role="status" aria-live="polite">
      {worst ? (
        <div class={`banner ${worst.tone}`}>
          <div class="banner-in">
            <Icon tone={worst.tone} />
            <p>
              <b>{worst.what}</b> <span class="b-do">{worst.means}</span>
              {others.length > 0 ? (
                <span class="dim"> And: {others.map((state) => state.what).join(" ")}</span>
              ) : null}
            </p>
            {worst.hand ? (
              <button type="button" class="btn" onClick={worst.hand.press}>
                {worst.hand.name}
              </button>
            ) : null}
          </div>
        </div>
      ) : null}
    </div>
  );
}

function Icon({ tone }: { tone: Tone }) {
  const shape = {
    info: <circle cx="8" cy="8" r="6.3" />,
    warn: <path d="M8 1.8 14.6 13.6H1.4z" />,
    bad: <path d="M5.2 1.5h5.6l3.7 3.7v5.6l-3.7 3.7H5.2l-3.7-3.7V5.2z" />,
  }[tone];
  return (
    <svg
      class="b-ico"
      viewBox="0 0 16 16"
      width="16"
      height="16"
      fill="none"
      stroke="currentColor"
      stroke-width="1.4"
      aria-hidden="true"
    >
      {shape}
      <path d={tone === "info" ? "M8 7v4M8 4.6v.8" : "M8 5.6v4M8 11.2v.8"} />
    </svg>
  );
}
