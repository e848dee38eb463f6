// What a hand would change by the newest reading that this page has. The sidecar's own word comes with the dry run.

import type { Order } from "./command.ts";
import * as format from "./format.ts";
import type { Store } from "./store.ts";
import type { Value } from "./wire.ts";

export interface Expected {
  text: string;
  values: { name: string; from: Value; to: Value }[];
}

const NOTHING = "No value changes.";

export function words(text: string): Expected {
  return { text, values: [] };
}

/** Open trials of a pool, or of all, go back to what was before. */
export function trialsEnd(page: Store, only?: string): Expected {
  const pools = Object.entries(page.status?.pools ?? {});
  const open = pools.filter(([name, { phase }]) => phase === "trial" && (only ?? name) === name);
  const [first] = open;
  if (!first) return words("No trial is open, so no value changes.");
  const values = open.flatMap(([name]) => {
    const trial = page.ledger.newest().find((change) => change.pool === name && change.fate === "trial");
    return (trial?.set ?? []).map(({ knob, from, to }) => ({ name: `${name} ${knob}`, from: to, to: from }));
  });
  const names = open.map(([name]) => name).join(", ");
  return {
    text: `The open ${open.length === 1 ? "trial" : "trials"} of ${names} would be rolled back.`,
    values,
  };
}

export function pinned(page: Store, pool: string, knob: string, value: string): Expected {
  const known = page.status?.pools[pool]?.knobs[knob];
  if (!known) return words(`${pool} has no ${knob} now.`);
  const bounds = `The profile's bounds are ${known.min} to ${known.max}; the host may take more.`;
  const trial = trialsEnd(page, pool);
  const ends = trial.values.length > 0 ? ` ${trial.text}` : "";
  const to = value === "" ? known.value : value;
  if (String(to) === String(known.value)) return words(`${knob} stays at ${known.value}. ${bounds}${ends}`);
  return { text: `${bounds}${ends}`, values: [{ name: `${pool} ${knob}`, from: known.value, to }] };
}

export function released(page: Store, pool: string, knob: string): Expected {
  const known = page.status?.pools[pool]?.knobs[knob];
  if (known?.pinned_for_ms === undefined) return words(`Nobody holds ${knob} of ${pool} now.`);
  const left = format.span(known.pinned_for_ms / 1000);
  return words(`${knob} is held at ${known.value} for ${left} more; its last confirmed value comes back.`);
}

export function baselines(page: Store, only: string | undefined): Expected {
  const pools = Object.entries(page.status?.pools ?? {}).filter(([name]) => (only ?? name) === name);
  const values = pools.flatMap(([pool, { knobs }]) =>
    Object.entries(knobs)
      .filter(([, { value, baseline }]) => value !== baseline)
      .map(([knob, { value, baseline }]) => ({ name: `${pool} ${knob}`, from: value, to: baseline })),
  );
  if (values.length === 0) return words("Every value is at its baseline, so none changes.");
  return { text: `${values.length === 1 ? "1 value goes" : `${values.length} values go`} back.`, values };
}

/** Values that are pinned one by one. */
export function held(page: Store, orders: Order[]): Expected {
  const values = orders.flatMap(({ body: { pool, knob, value } }) => {
    const known = page.status?.pools[String(pool)]?.knobs[String(knob)];
    if (!known || value === undefined || known.value === value) return [];
    return [{ name: `${pool} ${knob}`, from: known.value, to: value }];
  });
  return { text: values.length === 0 ? NOTHING : "These values are held.", values };
}

/** The keys by which another profile differs from the one in force. */
export function followed(page: Store, pool: string, profile: string | undefined): Expected {
  const now = page.status?.pools[pool]?.profile;
  if (profile === undefined) return words("The pool follows the profile that its kind asks for.");
  if (profile === now) return words(`${pool} follows ${profile} already; it would go on doing so.`);
  const settings = page.effective?.settings ?? [];
  const of = (name: string | undefined) => {
    const start = `profile.${name}.`;
    const own = settings.filter(({ key }) => key.startsWith(start));
    return new Map(own.map(({ key, value }) => [key.slice(start.length), format.unquoted(value)]));
  };
  const [before, then] = [of(now), of(profile)];
  const values = [...then]
    .filter(([key, value]) => BOUNDS.test(key) && before.get(key) !== value)
    .map(([key, value]) => ({ name: key, from: before.get(key) ?? format.DASH, to: value }));
  return { text: "No value changes at once; these bounds and aims would.", values };
}

const BOUNDS = /^(slo|[a-z_]+\.(min|max)|changes\..*)$/;

export function waiting({ configuration }: Store): Expected {
  const values = (configuration?.waiting ?? []).map(({ key, from, to }) => ({
    name: key,
    from: from ?? "unset",
    to: to ?? "unset",
  }));
  return { text: "These keys come into force.", values };
}
