// The state bar: what is so, since when, what it means for the host, what to do. One at a time, the worst.

import * as format from "./format.ts";
import { type Store, store, useStore } from "./store.ts";

type Tone = "info" | "warn" | "bad";

export interface State {
  tone: Tone;
  what: string;
  means: string;
  hand?: { name: string; press: () => void };
}

/** A reading that is older than this, in milliseconds, is not live any more. */
const STALE_MS = 5000;

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
    config(page),
    blindPools(page),
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
    means: `Trimtab may well be working. What you see is from ${format.time(link.since)}, and no gap will remain once it answers.`,
    hand: { name: "Try now", press: () => store.retry() },
  };
}

function absent({ status }: Store): State | undefined {
  if (!status?.absent) return undefined;
  const why = ABSENCES[status.absent] ?? status.summary;
  if (status.age_ms === undefined) {
    return { tone: "bad", what: `No host yet: ${status.host}.`, means: why };
  }
  const from = Date.now() - status.age_ms;
  return {
    tone: "warn",
    what: `No reading for ${format.span(status.age_ms / 1000)}. What you see is from ${format.time(from)}.`,
    means: `${why} The host keeps its values, and undoes a trial by itself.`,
  };
}

function frozen({ status }: Store): State | undefined {
  if (!status?.frozen) return undefined;
  return {
    tone: "warn",
    what: "Frozen by an operator.",
    means: "Nothing changes until the freeze is lifted. Reading goes on.",
  };
}

function config({ readiness }: Store): State | undefined {
  const broken = Object.entries(readiness?.checks ?? {}).find(
    ([name, check]) => !check.ok && !name.startsWith("host "),
  );
  if (!broken) return undefined;
  return { tone: "warn", what: `${broken[0]} is not as it should be.`, means: broken[1].text };
}

function blindPools({ status }: Store): State | undefined {
  const blind = Object.entries(status?.pools ?? {}).filter(([, pool]) => pool.decision?.regime === "blind");
  const [first] = blind;
  if (!first || status?.absent) return undefined;
  return {
    tone: "warn",
    what: blind.length === 1 ? `${first[0]} cannot be read.` : `${blind.length} pools cannot be read.`,
    means: `${first[1].text} A pool without evidence keeps its size; the other pools go on.`,
  };
}

function stale({ status, statusAt, link }: Store): State | undefined {
  if (!status || link.state !== "live" || Date.now() - statusAt < STALE_MS) return undefined;
  return {
    tone: "warn",
    what: `The newest figures are ${format.span((Date.now() - statusAt) / 1000)} old.`,
    means: "The sidecar answers, and its tick is late. The host goes on by itself.",
  };
}

function standby({ status }: Store): State | undefined {
  if (status?.mode !== "act" || !status.lease_holder || status.lease_ours) return undefined;
  return {
    tone: "info",
    what: `Standby: ${status.lease_holder} holds the lease.`,
    means: "This one reads, and takes over when that lease ends.",
  };
}

function mode(page: Store): State | undefined {
  const { status, ledger } = page;
  const advised = [...ledger.changes.values()].filter((change) => change.fate === "advised");
  const last = advised[advised.length - 1];
  const would = last
    ? ` The newest: ${last.pool} ${last.set.map(({ knob, from, to }) => `${knob} ${from} to ${to}`).join(", ")}.`
    : "";
  if (status?.mode === "observe") {
    return {
      tone: "info",
      what: "Observe: Trimtab reads and changes nothing.",
      means: `No lease is taken.${would}`,
    };
  }
  if (status?.mode === "advise") {
    const what = `Advise: Trimtab says what it would try, and changes nothing. ${advised.length} so far.`;
    return { tone: "info", what, means: `Set mode = "act" to let it.${would}` };
  }
  return undefined;
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
