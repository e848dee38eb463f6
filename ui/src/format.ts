// Numbers and times as people read them. A figure that is absent is a dash, never a nought.

const THIN = "\u202f";
export const MINUS = "\u2212";
export const DASH = "–";

/** A number with so many digits as tell something, and thin spaces between thousands. */
export function number(value: number | undefined | null): string {
  if (value === undefined || value === null || !Number.isFinite(value)) return DASH;
  const size = Math.abs(value);
  const digits = size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : 2;
  const text = size.toFixed(digits).replace(/\B(?=(\d{3})+(?!\d))/g, ",");
  return value < 0 && Number(size.toFixed(digits)) !== 0 ? MINUS + text : text;
}

/** A rate, or a time in a unit that stands elsewhere, with one digit behind the point at most, and none from ten on. */
export function rate(value: number | undefined | null): string {
  if (value === undefined || value === null) return DASH;
  if (Math.abs(value) >= 10) return number(Math.round(value));
  const text = (Math.round(Math.abs(value) * 10) / 10).toString();
  return value < 0 && text !== "0" ? MINUS + text : text;
}

/** Microseconds as milliseconds or seconds. */
export function micros(value: number | undefined | null): string {
  if (value === undefined || value === null) return DASH;
  return millis(value / 1000);
}

export function millis(value: number): string {
  if (value < 1) return `${value.toFixed(2)}${THIN}ms`;
  if (value < 10) return `${value.toFixed(1)}${THIN}ms`;
  if (value < 1000) return `${Math.round(value)}${THIN}ms`;
  if (value < 10_000) return `${(value / 1000).toFixed(1)}${THIN}s`;
  return `${number(Math.round(value / 1000))}${THIN}s`;
}

export function share(value: number | undefined | null): string {
  if (value === undefined || value === null) return DASH;
  const percent = value * 100;
  const digits = Math.abs(percent) >= 10 || percent === 0 ? 0 : Math.abs(percent) >= 1 ? 1 : 2;
  return `${percent.toFixed(digits)}${THIN}%`.replace("-", MINUS);
}

export function bytes(value: number | undefined | null): string {
  if (value === undefined || value === null) return DASH;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${number(size >= 100 ? Math.round(size) : size)}${THIN}${units[unit]}`;
}

export function signed(value: number | undefined): string {
  if (value === undefined) return DASH;
  const text = number(Math.round(Math.abs(value) * 10) / 10);
  return value < 0 ? MINUS + text : `+${text}`;
}

const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const clockShort = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});

export function time(atMs: number): string {
  return clock.format(atMs);
}

export function timeShort(atMs: number): string {
  return clockShort.format(atMs);
}

const dated = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium",
  timeStyle: "medium",
  hourCycle: "h23",
});

/** A day and a time of it. */
export function date(atMs: number): string {
  return dated.format(atMs);
}

/** A length of time in its two largest units. */
export function span(seconds: number): string {
  if (seconds < 1) return `${number(Math.round(seconds * 10) / 10)}${THIN}s`;
  if (seconds < 90) return `${Math.round(seconds)}${THIN}s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}${THIN}min`;
  if (seconds < 172_800) {
    const hours = Math.floor(seconds / 3600);
    return `${hours}${THIN}h ${Math.round((seconds - hours * 3600) / 60)}${THIN}min`;
  }
  return `${Math.round(seconds / 86_400)}${THIN}d`;
}

/** A decision's sentence without what stands elsewhere on the page: that it was held, and the line that bounds it. */
export function sentence(text: string): string {
  return text
    .replace(/^Held: /, "")
    .replace(/ \(bound by [^()]*\)/g, "")
    .replaceAll(" -> ", " → ");
}

/** How far local time is from UTC: `UTC+2`, `UTC−3:30`. */
export function utcOffset(minutes = -new Date().getTimezoneOffset()): string {
  const size = Math.abs(minutes);
  const rest = size % 60 === 0 ? "" : `:${String(size % 60).padStart(2, "0")}`;
  return minutes === 0 ? "UTC" : `UTC${minutes < 0 ? MINUS : "+"}${Math.floor(size / 60)}${rest}`;
}

/** A length of time of the configuration, such as `250ms` or `1m30s`, in milliseconds. */
export function duration(text: string): number | undefined {
  const parts = [...text.matchAll(/(\d+)(ms|s|m|h|d)/g)];
  if (parts.length === 0) return undefined;
  const sizes: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
  return parts.reduce((sum, [, count, unit]) => sum + Number(count) * (sizes[unit ?? ""] ?? 0), 0);
}

/** A text as a sentence of its own. */
export function period(text: string): string {
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** A value of the configuration as it stands between quotation marks. */
export function unquoted(value: string): string {
  return value.replace(/^"(.*)"$/, "$1");
}

export function words(kind: string): string {
  return kind.replaceAll("_", "-");
}
