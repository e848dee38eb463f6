// What the tests of the page stand on: a real service under load, a real sidecar beside it, a real browser.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const programs = process.env.TRIMTAB_PROGRAMS ?? join(root, "target/debug");
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

/** A sidecar beside a service's sockets. */
export class Sidecar {
  static async start(directory, { mode = "act", port } = {}) {
    const sidecar = new Sidecar();
    sidecar.port = port ?? (await freePort());
    sidecar.url = `http://127.0.0.1:${sidecar.port}`;
    const file = join(directory, "trimtab.toml");
    writeFileSync(
      file,
      `mode = "${mode}"\ninterval = "250ms"\n[[hosts]]\nid = "hello"\nsocket = "${directory}/control.sock"\n` +
        `[serve]\naddress = "127.0.0.1:${sidecar.port}"\n[ledger]\ndirectory = "${directory}/ledger"\n`,
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

  async end(signal) {
    await this.program.end(signal);
  }
}

export async function until(what, look) {
  const ends = Date.now() + PATIENCE;
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
