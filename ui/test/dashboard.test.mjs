// The dashboard in a real browser, against a real sidecar beside a real service under load.

import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { openBrowser, openPage, Service, Sidecar, shoot, until, violations } from "./stage.mjs";

let browser;
let service;
let sidecar;

before(async () => {
  browser = await openBrowser();
  service = await Service.start();
  sidecar = await Sidecar.start(service.directory);
  service.load(300);
});

after(async () => {
  await browser?.close();
  await sidecar?.end();
  await service?.end();
});

/** A page that fails the test when it throws, or asks anybody else for anything. */
function open(options = {}, url = sidecar.url) {
  return openPage(browser, url, options);
}

async function close(page) {
  assert.deepEqual(page.faults, []);
  await page.context().close();
}

/** How many different colours a chart's canvas has: an empty one has few. */
function inked(page) {
  return page.evaluate(() => {
    const canvas = document.querySelector(".plot canvas");
    if (!canvas) return 0;
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let at = 0; at < data.length; at += 4)
      colours.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
    return colours.size;
  });
}

/**
 * Notes, within the page, the ticks that the sidecar tells of, the changes that it begins, and at which tick the card of each is
 * there. All by the moments in the sidecar's own messages, so that no clock of this machine matters.
 */
function noteWhenCardsCome(page) {
  return page.evaluate(() => {
    const noted = { ticks: [], begun: {}, shown: {} };
    globalThis.noted = noted;
    new BroadcastChannel("trimtab-events").onmessage = ({ data }) => {
      if (data.kind !== "event") return;
      const told = JSON.parse(data.data);
      if (data.name === "status") noted.ticks.push(told.sample.moment_ns);
      if (data.name === "decision" && told.action === "try")
        noted.begun[told.change.generation] = told.moment_ns;
    };
    const look = () => {
      for (const number of document.querySelectorAll(".d .d-w .n"))
        noted.shown[number.textContent] ??= noted.ticks.at(-1) ?? 0;
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true });
  });
}

/** Notes when each sample was read that the page hears of, or asks for, in the order of their times. */
async function noteSamples(page) {
  const asked = [];
  page.on("response", async (answer) => {
    if (!/\/samples\?/.test(answer.url()) || !answer.ok()) return;
    const { samples } = await answer.json();
    asked.push(...samples.map(({ at_ms }) => at_ms));
  });
  await page.evaluate(() => {
    globalThis.heard = [];
    new BroadcastChannel("trimtab-events").onmessage = ({ data }) => {
      if (data.kind === "event" && data.name === "status")
        globalThis.heard.push(JSON.parse(data.data).sample.at_ms);
    };
  });
  return async () => {
    const heard = await page.evaluate(() => globalThis.heard);
    return [...new Set([...asked, ...heard])].sort((left, right) => left - right);
  };
}

describe("the dashboard", () => {
  it("shows a decision within two ticks of its making", async () => {
    const page = await open();
    await noteWhenCardsCome(page);
    const late = await until("the card of a change that was begun meanwhile", () =>
      page.evaluate(() => {
        const { ticks, begun, shown } = globalThis.noted;
        const change = Object.keys(begun).find((generation) => generation in shown);
        if (change === undefined) return undefined;
        return { ticks: ticks.filter((tick) => tick > begun[change] && tick <= shown[change]).length };
      }),
    );
    assert.ok(late.ticks <= 2, `it was shown ${late.ticks} ticks later`);
    await close(page);
  });

  it("shows the pool with its figures, and charts that fill and move", async () => {
    const page = await open();
    await page.locator(".prow .p-name", { hasText: "web" }).waitFor();
    await until("goodput is shown", async () =>
      /[1-9]/.test(await page.locator(".p-good .big").textContent()),
    );
    assert.equal(await page.locator(".plot canvas").count(), 8);
    await until("a chart is drawn", async () => (await inked(page)) > 20);
    const picture = () => page.evaluate(() => document.querySelector(".plot canvas").toDataURL());
    const earlier = await picture();
    await until("the chart moves", async () => (await picture()) !== earlier);
    const said = (title) => page.getByRole("img", { name: title }).getAttribute("aria-label");
    await until("a chart says its figures", async () =>
      /^Requests, web, \/s: goodput [1-9][\d,.]*, arriving [1-9][\d,.]* now$/.test(await said("Requests")),
    );
    await page.getByText("3 more charts").click();
    await until("the time in the queue", async () =>
      /: p95 [\d,.]+ now$/.test(await said("Time in the queue")),
    );
    const cut = await page
      .locator(".ch-h")
      .evaluateAll((heads) =>
        heads.filter((head) => head.scrollWidth > head.clientWidth).map((head) => head.textContent),
      );
    assert.deepEqual(cut, [], "no title of a chart is cut");
    await close(page);
  });

  it("shows a decision with its reason, its evidence and what came of it", async () => {
    const page = await open();
    const card = page.locator(".d").last();
    await card.waitFor();
    await card.locator(".d-h").click();
    await card.locator(".ev").waitFor();
    const text = await card.textContent();
    for (const expected of ["web workers 10 →", "goodput, /s", "expected", "Bound by workers.max"]) {
      assert.ok(text.includes(expected), `${expected} in: ${text}`);
    }
    assert.match(text, /waits for workers|promises|need that many/, "why it was tried");
    await until("it is judged", async () =>
      /kept|rolled back/.test(await card.locator(".d-o").textContent()),
    );
    await until("its mark is in the lane", async () => (await page.locator(".lane button").count()) > 0);
    await shoot(page, "wide-light");
    await close(page);
  });

  it("lights the mark of the card under the pointer", async () => {
    const page = await open();
    const mark = page.locator(".lane button.hot").first();
    await page.locator(".d").first().hover();
    await mark.waitFor();
    await page.mouse.move(0, 0);
    await mark.waitFor({ state: "detached" });
    await close(page);
  });

  it("opens the card of a mark that is pressed, and shows the time that is dragged over", async () => {
    const page = await open();
    await page.locator(".lane button").first().click();
    await page.locator(".d.open .d-h:focus").waitFor();
    const plot = page.locator(".u-over").first();
    const box = await plot.boundingBox();
    await page.mouse.move(box.x + box.width * 0.8, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.95, box.y + 20, { steps: 5 });
    await page.mouse.up();
    await page.getByRole("button", { name: "Show all" }).click();
    await page.getByRole("button", { name: "Show all" }).waitFor({ state: "detached" });
    await close(page);
  });

  it("has no serious fault of accessibility, in light and in dark", async () => {
    for (const colorScheme of ["light", "dark"]) {
      const page = await open({ colorScheme });
      await page.locator(".d-h").first().click();
      assert.deepEqual(await violations(page), [], colorScheme);
      await shoot(page, `axe-${colorScheme}`);
      await page.goto(`${sidecar.url}/plain`);
      await page.getByRole("link", { name: "Load again" }).waitFor();
      assert.deepEqual(await violations(page), [], `the plain page, ${colorScheme}`);
      await close(page);
    }
  });

  it("does not scroll sideways from 320 pixels to a wall", async () => {
    for (const width of [320, 390, 768, 1100, 1440, 2560]) {
      const page = await open({ viewport: { width, height: 900 } });
      await page.locator(".d-h").first().waitFor();
      const [content, room] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
      assert.ok(content <= room, `${content} pixels at ${width}`);
      if (width === 390) await shoot(page, "phone");
      await close(page);
    }
  });

  it("reads one stream for all tabs of a browser", async () => {
    const context = await browser.newContext();
    let streams = 0;
    context.on("request", (request) => {
      if (request.url().includes("/api/v1/events")) streams += 1;
    });
    const pages = [];
    for (let tab = 0; tab < 6; tab += 1) {
      const page = await context.newPage();
      await page.goto(sidecar.url);
      pages.push(page);
    }
    for (const page of pages) {
      await page.locator(".dot:not(.warn)").first().waitFor();
      const age = () => page.locator(".facts small", { hasText: "ago" }).textContent();
      await until("the figures of this tab are new", async () => Number.parseFloat(await age()) < 1.5);
    }
    assert.equal(streams, 1);
    await context.close();
  });

  it("says that it lost the sidecar, and goes on when that is back", async () => {
    const page = await open();
    await page.locator(".d-h").first().waitFor();
    const cards = () => page.locator(".d").evaluateAll((all) => all.map(({ id }) => id));
    const samples = async () => (await sidecar.api("/api/v1/hosts/hello/samples?limit=4000")).samples;
    const before = await cards();
    assert.ok(before.length > 0);
    const told = await noteSamples(page);
    await until("samples are told", async () => (await told()).length > 4);
    const [oldest, newest] = [(await told()).at(0), (await told()).at(-1)];
    await sidecar.end("SIGKILL");
    await page.getByText("This page lost the sidecar").waitFor();
    await page.getByText("If it was dead itself, that time stays a gap").waitFor();
    await shoot(page, "lost");
    sidecar = await Sidecar.start(service.directory, { port: sidecar.port });
    await page.getByText("This page lost the sidecar").waitFor({ state: "detached" });
    await until("the figures are new", async () =>
      (await page.locator(".facts").textContent()).includes("live"),
    );
    // All that the new sidecar read has come to the page, and what lies between is the time in which nobody looked.
    const first = await until("the new sidecar has read some samples", async () => {
      const fresh = (await samples()).map(({ at_ms }) => at_ms);
      const known = new Set(await told());
      return fresh.length > 8 && fresh.slice(0, -2).every((at) => known.has(at)) && fresh[0];
    });
    const times = (await told()).filter((at) => at >= oldest);
    assert.ok(times.includes(newest) && times.includes(first));
    const between = times.filter((at) => at > newest && at < first);
    assert.ok(
      between.every((at, index) => at - (between[index - 1] ?? newest) < 3000),
      "until its end the old one was heard",
    );
    const missing = async () => {
      const now = new Set(await cards());
      return before.filter((card) => !now.has(card));
    };
    const showOlder = async () => {
      const older = page.getByRole("button", { name: /Show older/ });
      if (await older.count()) await older.click();
    };
    await showOlder();
    assert.deepEqual(await missing(), [], "each card of before is there");
    // A page that knows nothing of before is told the same by the new sidecar.
    await page.reload();
    await page.locator(".d-h").first().waitFor();
    await showOlder();
    await until("each card of before is told anew", async () => (await missing()).length === 0);
    await close(page);
  });

  it("says that the host is gone", async () => {
    const page = await open();
    await page.locator(".dot:not(.warn)").first().waitFor();
    await service.program.end("SIGKILL");
    await page.getByText(/No reading for/).waitFor();
    await shoot(page, "no-host");
    await close(page);
  });
});

describe("what a host calls itself", () => {
  it("stays text", async (test) => {
    const directory = mkdtempSync(join(tmpdir(), "trimtab-names-"));
    const evil = '</script><img src=x onerror="globalThis.caught=1">';
    const began = process.hrtime.bigint();
    const host = createServer((_, answer) => {
      const at_ns = Number(process.hrtime.bigint() - began) + 1_000_000_000;
      const knob = {
        value: 4,
        effective: 4,
        baseline: 4,
        min: 1,
        max: 9,
        granularity: 1,
        kind: "integer",
        max_ratio_bp: 20000,
        unit: "workers",
        shrink: "drains",
        persists: false,
      };
      const state = {
        api: 1,
        app: evil,
        version: evil,
        instance: "one",
        at_ns,
        features: [],
        labels: { zone: evil },
      };
      const pools = { web: { phase: "baseline", kind: "web", knobs: { workers: knob } } };
      answer.setHeader("content-type", "application/json");
      answer.end(JSON.stringify({ ...state, pools }));
    });
    await new Promise((done) => host.listen(join(directory, "control.sock"), done));
    test.after(() => {
      host.close();
      host.closeAllConnections();
      rmSync(directory, { recursive: true });
    });
    const other = await Sidecar.start(directory, { mode: "observe" });
    test.after(() => other.end());
    const page = await open({}, other.url);
    await page.getByText("<img src=x").first().waitFor();
    assert.equal(await page.evaluate(() => globalThis.caught), undefined);
    assert.equal(await page.locator("img").count(), 0);
    await page.getByText(/Observe since .*: Trimtab reads and changes nothing\./).waitFor();
    await close(page);
  });
});
