// What the tests of the page stand on: a real service under load, a real sidecar beside it, a real browser.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { Agent, get } from "node:http";
import { createRequire } from "node:module";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const shots = process.env.TRIMTAB_SCREENSHOTS;
const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
export const programs = process.env.TRIMTAB_PROGRAMS ?? join(root, "target/debug");
/** A test that waits this long for something has failed; what it waits for takes seconds. */
export const PATIENCE = 60_000;

/** A port that was free a moment ago. */
export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** A program that is ended with the stage. */
class Program {
  constructor(name, args) {
    this.name = name;
    const path = join(programs, name);
    if (!existsSync(path)) throw new Error(`${path} is not there; build it with cargo first`);
    this.child = spawn(path, args, { stdio: ["ignore", "ignore", "pipe"] });
    this.said = "";
    this.child.stderr.on("data", (text) => {
      this.said = (this.said + text).slice(-4000);
    });
    this.gone = once(this.child, "exit");
  }

  async end(signal = "SIGTERM") {
    this.child.kill(signal);
    await this.gone;
  }
}

/** A service with one pool that is too small for its load. */
export class Service {
  static async start() {
    const service = new Service();
    service.directory = mkdtempSync(join(tmpdir(), "trimtab-page-"));
    service.port = await freePort();
    service.program = new Program("examples/hello_host", [service.directory, `127.0.0.1:${service.port}`]);
    service.agent = new Agent({ keepAlive: true, maxSockets: 200 });
    return service;
  }

  /** Sends so many requests a second until the end, and waits for none of them. */
  load(perSecond) {
    const step = 20;
    this.timer = setInterval(() => {
      for (let at = 0; at < (perSecond * step) / 1000; at += 1) {
        const asked = get({ port: this.port, agent: this.agent }, (answer) => answer.resume());
        asked.on("error", () => {});
      }
    }, step);
  }

  async end() {
    clearInterval(this.timer);
    this.agent.destroy();
    await this.program.end("SIGKILL");
    rmSync(this.directory, { recursive: true });
  }
}

/** A token that may command, as it stands in the file of tokens. */
export const TOKEN = "0123456789abcdef0123456789abcdef";

/** A sidecar beside a service's sockets. */
export class Sidecar {
  static async start(
    directory,
    {
      mode = "act",
      port,
      interval = "250ms",
      profiles,
      host = "hello",
      name = "trimtab",
      more = "",
      tokens = true,
    } = {},
  ) {
    const sidecar = new Sidecar();
    sidecar.port = port ?? (await freePort());
    sidecar.url = `http://127.0.0.1:${sidecar.port}`;
    const file = join(directory, `${name}.toml`);
    sidecar.file = file;
    sidecar.ledger = join(directory, `${name}-ledger`);
    sidecar.profiles = join(directory, "profiles");
    mkdirSync(sidecar.profiles, { recursive: true });
    const own = profiles ?? join(root, "profiles");
    for (const name of profiles ? readdirSync(own) : ["web.toml"]) {
      copyFileSync(join(own, name), join(sidecar.profiles, name));
    }
    writeFileSync(join(directory, "tokens"), `oncall ${TOKEN}\n`, { mode: 0o600 });
    writeFileSync(
      file,
      `mode = "${mode}"\ninterval = "${interval}"\nprofiles = "${sidecar.profiles}"\n` +
        `[[hosts]]\nid = "${host}"\nsocket = "${directory}/control.sock"\n` +
        `[serve]\naddress = "127.0.0.1:${sidecar.port}"\n[ledger]\ndirectory = "${sidecar.ledger}"\n` +
        `${tokens ? `[intake]\ntoken_file = "${directory}/tokens"\n` : ""}[flame]\nremember = "on"\n${more}`,
    );
    sidecar.program = new Program("trimtab", ["run", "--config", file]);
    await until(`the sidecar answers; it said: ${sidecar.program.said}`, async () => {
      const answer = await fetch(`${sidecar.url}/livez`).catch(() => undefined);
      return answer?.ok;
    });
    return sidecar;
  }

  async api(path) {
    const answer = await fetch(`${this.url}${path}`);
    return answer.json();
  }

  /** Commands it from the machine's own shell. */
  async shell(...words) {
    const { stdout } = await promisify(execFile)(join(programs, "trimtab"), words);
    return stdout;
  }

  async end(signal) {
    await this.program.end(signal);
  }
}

export async function until(what, look, patience = PATIENCE) {
  const ends = Date.now() + patience;
  while (Date.now() < ends) {
    const found = await look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`waited in vain: ${what}`);
}

export async function openBrowser() {
  const path = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
  if (!path) throw new Error("no Chromium is installed");
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? path,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/**
 * A page that collects what goes wrong in it, and whatever it asks of anybody else. With TRIMTAB_UI the page comes from that
 * directory, so that it can be worked on without building the sidecar.
 */
export async function openPage(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 1000 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(error.message));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) page.faults.push(request.url());
  });
  const files = process.env.TRIMTAB_UI;
  if (files) {
    await page.route(`${url}/`, (route) => route.fulfill({ path: join(files, "index.html") }));
    await page.route(`${url}/ui/*`, (route) =>
      route.fulfill({ path: join(files, new URL(route.request().url()).pathname.slice(4)) }),
    );
  }
  await page.goto(url);
  return page;
}

/** Lets a page see an answer of the sidecar as another one would be; `change` makes it from the real one. */
export async function alter(page, path, change) {
  await page.route(path, async (route) => {
    const answer = await route.fetch();
    const made = change(await answer.json());
    await route.fulfill({ status: answer.status(), json: made });
  });
}

/** Lets a page hear nothing more of the sidecar's events, as if its loop stood still. */
export async function mute(page) {
  await page.route("**/api/v1/events*", () => {});
}

/** Keeps a picture of the page, where pictures are wanted. */
export async function shoot(page, name) {
  if (!shots) return;
  mkdirSync(shots, { recursive: true });
  await page.screenshot({ path: join(shots, `${name}.png`) });
}

/** The serious faults of accessibility. */
export async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document));
  const serious = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 160)).join(" | ")}`);
}

/**
 * Lets a page believe that the sidecar has eight hours of history: what it asks for is answered from made-up waves with a peak,
 * and noted. What the sidecar itself makes of eight hours is tested beside its code.
 */
export async function eightHours(page) {
  const asked = [];
  const now = Date.now();
  const pools = { web: { workers: 20, busy: 12, goodput_per_s: 400, p99_us: 200_000 } };
  const samples = Array.from({ length: 1200 }, (_, at) => ({
    at_ms: now - (1200 - at) * 1000,
    moment_ns: at,
    pools,
  }));
  await page.route("**/samples?*", (route) => route.fulfill({ json: { host: "hello", samples } }));
  await page.route("**/history?*", (route) => {
    const query = new URL(route.request().url()).searchParams;
    const [from, until, columns] = ["from", "until", "columns"].map((name) => Number(query.get(name)));
    asked.push({ from, until, columns });
    const wave = (base, swing) => {
      const at = (column) => {
        const second = (from + ((until - from) * column) / columns) / 1000;
        return base + swing * Math.sin(second / 900) + (Math.floor(second) % 7200 < 60 ? swing * 3 : 0);
      };
      const all = Array.from({ length: columns }, (_, column) => at(column));
      return { least: all, most: all.map((value) => value + swing / 2) };
    };
    const host_figures = { cpu_cores: wave(0.5, 0.2), quota_cores: wave(2, 0), threads: wave(40, 4) };
    const pool_figures = {
      workers: wave(20, 0),
      busy: wave(12, 4),
      goodput_per_s: wave(400, 90),
      arrivals_per_s: wave(410, 90),
      p50_us: wave(40_000, 9_000),
      p95_us: wave(90_000, 20_000),
      p99_us: wave(200_000, 50_000),
      queued: wave(4, 4),
      queue_limit: wave(1000, 0),
      failed_per_s: wave(0, 0),
      lost_per_s: wave(0.5, 0.5),
    };
    const answer = {
      host: "hello",
      pool: "web",
      from_ms: from,
      until_ms: until,
      columns,
      host_figures,
      pool_figures,
    };
    return route.fulfill({ json: answer });
  });
  return asked;
}
