// Measures the dashboard: what it weighs, how fast it shows something, what a long history and many open pages cost.
// Usage: npm run numbers, after a release build of `trimtab` and `hello_host`; TRIMTAB_PROGRAMS says where they are.

import { readdirSync, readFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { eightHours, openBrowser, openPage, Service, Sidecar, until } from "./test/stage.mjs";

const PAGES = 60;
const WINDOW_S = 10;
const ROUNDS = 5;
const PANS = 20;

const browser = await openBrowser();
const service = await Service.start();
const sidecar = await Sidecar.start(service.directory, { interval: "1s" });
service.load(77);
const rows = [];
const row = (what, goal, figure) => rows.push(`| ${what} | ${goal} | ${figure} |`);
const median = (all) => [...all].sort((one, other) => one - other)[all.length >> 1];
const range = (all, unit) =>
  `${median(all).toFixed(0)} ${unit} (${Math.min(...all).toFixed(0)} to ${Math.max(...all).toFixed(0)})`;

try {
  weight();
  await paint();
  await wire();
  await pan();
  await many();
} finally {
  await browser.close();
  await sidecar.end();
  await service.end();
}
console.log(["| what | goal | figure |", "|---|---|---|", ...rows].join("\n"));
process.exit(0);

function weight() {
  const files = readdirSync("dist").filter((name) => name.endsWith(".gz"));
  const bytes = files.reduce((sum, name) => sum + readFileSync(`dist/${name}`).length, 0);
  row("the whole page, gzipped", "at most 150 KiB", `${(bytes / 1024).toFixed(1)} KiB`);
}

async function paint() {
  const [painted, live] = [[], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    const page = await openPage(browser, sidecar.url);
    await page.locator(".p-good .big", { hasText: /\d/ }).waitFor();
    live.push(await page.evaluate(() => performance.now()));
    const entry = () =>
      page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
    painted.push(await until("the browser tells of its first paint", entry));
    await page.context().close();
  }
  row("first contentful paint on loopback", "at most 300 ms", range(painted, "ms"));
  row("live figures of a pool on loopback, from navigation", "at most 1 s", range(live, "ms"));
}

/** What the real sidecar sends for its whole history at the most columns, whatever it has by then. */
async function wire() {
  const path = "/api/v1/hosts/hello/history?pool=web&columns=600";
  const text = await (await fetch(`${sidecar.url}${path}`)).text();
  const made = JSON.parse(text);
  // Columns that are still empty are as wide as a full one once there is something in each.
  const figures = [...Object.values(made.host_figures), ...Object.values(made.pool_figures)];
  const empty = figures.flatMap(({ least, most }) => [...least, ...most]).filter((it) => it === null).length;
  const full = text.length + empty * 4;
  row(
    "a history of any length in 600 columns, every figure filled",
    "at most 1 MiB",
    `${(full / 1024).toFixed(0)} KiB at most`,
  );
}

async function pan() {
  const page = await openPage(browser, sidecar.url);
  await eightHours(page);
  await page.reload();
  await page.locator(".u-over").first().waitFor();
  const client = await page.context().newCDPSession(page);
  // In the thread's own time, so that what else the machine does is not counted.
  await client.send("Performance.enable", { timeDomain: "threadTicks" });
  const spent = async () => {
    const { metrics } = await client.send("Performance.getMetrics");
    const of = (name) => metrics.find((it) => it.name === name).value * 1000;
    return of("ScriptDuration");
  };
  const drawn = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    await page.getByRole("radio", { name: "1 min" }).click();
    await page.waitForTimeout(300);
    const answered = page.waitForResponse("**/history?*").catch(() => undefined);
    const before = await spent();
    await page.getByRole("radio", { name: "8 h" }).click();
    await Promise.race([answered, page.waitForTimeout(400)]);
    await page.waitForTimeout(300);
    drawn.push((await spent()) - before);
  }
  row("script's CPU time to load and draw eight hours in eight charts", "at most 200 ms", range(drawn, "ms"));
  const box = await until("a chart is drawn", () => page.locator(".u-over").first().boundingBox());
  await page.mouse.move(box.x + box.width * 0.4, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.6, box.y + 20, { steps: 3 });
  await page.mouse.up();
  await page.waitForTimeout(500);
  const frame = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => done())));
  const steps = [];
  for (let round = 0; round < ROUNDS; round += 1) {
    const before = await spent();
    for (let step = 0; step < PANS; step += 1) {
      await page.keyboard.press(round % 2 === 0 ? "Shift+ArrowLeft" : "Shift+ArrowRight");
      await frame();
      await frame();
    }
    steps.push(((await spent()) - before) / PANS);
  }
  row(
    "script's CPU time per step of panning, all eight charts",
    "at most 10 ms",
    `${median(steps).toFixed(1)} ms (${Math.min(...steps).toFixed(1)} to ${Math.max(...steps).toFixed(1)})`,
  );
  await page.context().close();
}

/** CPU time of the sidecar by the kernel's count, in seconds. */
function cpuSeconds() {
  const threads = `/proc/${sidecar.program.child.pid}/task`;
  const of = (thread) => Number(readFileSync(`${threads}/${thread}/schedstat`, "utf8").split(" ")[0]);
  return readdirSync(threads).reduce((sum, thread) => sum + of(thread), 0) / 1e9;
}

/** As many readers as there are open pages, each asking for what a page asks for. */
async function many() {
  const share = async () => {
    const [began, from] = [cpuSeconds(), performance.now()];
    await new Promise((done) => setTimeout(done, WINDOW_S * 1000));
    return ((cpuSeconds() - began) / ((performance.now() - from) / 1000)) * 100;
  };
  const [without, within] = [[], []];
  for (let round = 0; round < 3; round += 1) {
    without.push(await share());
    const agent = new Agent({ maxSockets: Number.POSITIVE_INFINITY });
    let heard = 0;
    const open = Array.from({ length: PAGES }, () =>
      get(`${sidecar.url}/api/v1/events?status=true`, { agent }, (answer) => {
        answer.on("data", (data) => {
          heard += data.length;
        });
      }),
    );
    const timer = setInterval(() => {
      for (let page = 0; page < PAGES; page += 1) {
        void fetch(`${sidecar.url}/readyz?verbose`).then((answer) => answer.text());
      }
    }, 5000);
    await until("every stream speaks", async () => heard > PAGES * 100);
    within.push(await share());
    clearInterval(timer);
    for (const stream of open) stream.destroy();
    agent.destroy();
  }
  const cost = within.map((value, index) => value - without[index]);
  row(
    `${PAGES} open dashboards, CPU of the sidecar beyond that of none`,
    "at most 2 % of a core",
    `${median(cost).toFixed(2)} % (${Math.min(...cost).toFixed(2)} to ${Math.max(...cost).toFixed(2)})`,
  );
}
