// Takes the picture in the README: the dashboard beside a real service under load, once it has tried a few things.
// Usage: npm run picture, after a build of `trimtab`, `trimtab-prof` and the example `reference_host`; TRIMTAB_PROGRAMS says
// where they are. The picture goes to docs/images/dashboard.png, or where the first argument says.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { openBrowser, openPage, programs, Sidecar, until } from "./test/stage.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");
const out = process.argv[2] ?? join(root, "docs/images/dashboard.png");
/** A picture in a README that is larger than this, in bytes, is waited for. */
const BYTES_MAX = 300 * 1024;
/** How many changes must have been judged, so that there is something to see. */
const JUDGED = 6;

const directory = mkdtempSync(join(tmpdir(), "trimtab-picture-"));
const host = spawn(
  join(programs, "examples/reference_host"),
  ["--listen", "127.0.0.1:0", "--socket-dir", directory],
  { stdio: ["ignore", "pipe", "ignore"] },
);
const [line] = await once(createInterface({ input: host.stdout }), "line");
const told = JSON.parse(line);
const address = new URL(`http://${told.http}`);
const sidecar = await Sidecar.start(directory, {
  interval: "500ms",
  host: "orders",
  profiles: join(root, "examples/demo/profiles"),
});
const browser = await openBrowser();
const agent = new Agent({ keepAlive: true, maxSockets: 400 });
try {
  const surge = { factor: 1 };
  load(surge);
  const status = () => sidecar.api("/api/v1/hosts/orders/status");
  const judged = async () =>
    Object.values((await status()).pools).reduce(
      (sum, { changes }) => sum + changes.kept + changes.rolled_back,
      0,
    );
  await until("the first changes are judged", async () => (await judged()) >= JUDGED / 2, 240_000);
  surge.factor = 1.5;
  await until("enough changes are judged", async () => (await judged()) >= JUDGED, 240_000);
  // A minute of history fills the charts.
  await until("a minute is over", () => performance.now() > 75_000, 240_000);
  await take();
} finally {
  agent.destroy();
  await browser.close();
  await sidecar.end();
  host.kill("SIGTERM");
  await once(host, "exit");
  rmSync(directory, { recursive: true });
}
const { size } = statSync(out);
console.log(`${out}: ${Math.ceil(size / 1024)} KiB`);
process.exit(size <= BYTES_MAX ? 0 : 1);

async function take() {
  const page = await openPage(browser, sidecar.url, {
    viewport: { width: 1440, height: 1040 },
    colorScheme: "light",
  });
  await page.getByRole("radio", { name: "web", exact: true }).first().click();
  await page.getByLabel("Pool of the decisions").selectOption("web");
  const kept = page.locator(".d", { has: page.locator(".o-kept"), hasText: "workers" }).first();
  await kept.locator(".d-h").click();
  await page.mouse.move(0, 0);
  await page.evaluate(() => scrollTo(0, 0));
  await page.waitForTimeout(1500);
  mkdirSync(dirname(out), { recursive: true });
  // A moment in which something is on trial, or all is well, says most; a place in files that go again has none in a picture.
  const says = async () => {
    const headline = await page.locator(".say-1").textContent();
    return /on trial|All pools/.test(headline) && !headline.includes(directory);
  };
  const taken = async () => {
    if (!(await says())) return false;
    await page.screenshot({ path: out });
    return says();
  };
  await until("a moment worth a picture", taken, 120_000);
}

/** So many requests a second to each pool, whether earlier ones were answered or not. */
function load(surge) {
  const customer = () => Math.floor(Math.random() * 500);
  const kinds = [
    [160, () => ["GET", `/pages/${customer()}`]],
    [60, () => ["POST", `/payments/${customer()}/${customer()}/5`, "one kettle, 12.05\n".repeat(20)]],
    [8, () => ["POST", "/jobs?wait=true", ""]],
  ];
  const step = 20;
  const owed = kinds.map(() => 0);
  setInterval(() => {
    kinds.forEach(([perSecond, ask], kind) => {
      owed[kind] += (perSecond * surge.factor * step) / 1000;
      for (; owed[kind] >= 1; owed[kind] -= 1) {
        const [method, path, body] = ask();
        const { hostname, port } = address;
        const asked = request({ hostname, port, path, method, agent }, (answer) => answer.resume());
        asked.on("error", () => {});
        asked.end(body);
      }
    });
  }, step).unref();
}
