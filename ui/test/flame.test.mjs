// Flamegraphs on the page: before and after a change, found, zoomed and turned over; and a long time on the charts.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { eightHours, openBrowser, openPage, Service, Sidecar, shoot, until, violations } from "./stage.mjs";

let browser;
let service;
let sidecar;

before(async () => {
  browser = await openBrowser();
  service = await Service.start();
  sidecar = await Sidecar.start(service.directory);
  // Enough work that samples of it are seen.
  service.load(400);
});

after(async () => {
  await browser?.close();
  await sidecar?.end();
  await service?.end();
});

const status = () => sidecar.api("/api/v1/hosts/hello/status");
/** Drags over a part of the first chart, from one share of its width to another. */
async function drag(page, from, to) {
  const box = await until("a chart is drawn", () => page.locator(".u-over").first().boundingBox());
  await page.mouse.move(box.x + box.width * from, box.y + 20);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * to, box.y + 20, { steps: 4 });
  await page.mouse.up();
}

const frames = (page) => page.locator(".fg .fr");

describe("the flamegraph", () => {
  it("opens from a decision, compares, finds, zooms and turns over", async () => {
    const page = await openPage(browser, sidecar.url);
    const { remembered } = await sidecar.api("/profile/capabilities");
    if (!remembered) {
      // Where the system lets nobody look, the page says so instead of drawing nothing.
      await page.locator(".d-h").first().click();
      await page.getByRole("button", { name: "Flamegraph before / after" }).click();
      await page.locator("#flame .empty", { hasText: /remembered/ }).waitFor();
      return;
    }
    const change = await until("a change has samples on both sides", async () => {
      for (const { generation } of [(await status()).pools.web]) {
        const folded = await fetch(`${sidecar.url}/flamegraph/change/${generation}?format=folded`);
        const text = folded.ok ? await folded.text() : "";
        if (/ [1-9]\d* \d+$/m.test(text) && / \d+ [1-9]\d*$/m.test(text)) return generation;
      }
      return undefined;
    });
    const card = page.locator(".d", { has: page.locator(".n", { hasText: new RegExp(`^${change}$`) }) });
    await card.locator(".d-h").click();
    await card.getByRole("button", { name: "Flamegraph before / after" }).click();
    await frames(page).first().waitFor();
    await page.getByText("samples", { exact: false }).first().waitFor();
    assert.match(await page.locator(".fg-foot").textContent(), /complete stacks.*unknown.*lost/);
    assert.ok((await page.locator(".ftable tbody tr").count()) > 0);
    const [root] = await frames(page).evaluateAll((all) => all.map((it) => it.textContent));
    assert.equal(root, "all");

    await page.getByLabel("Find a function").fill("tokio");
    await page.getByText(/“tokio” is in [\d.]+ % of the samples/).waitFor();
    assert.ok((await page.locator(".fr.hit").count()) > 0);
    await page.getByLabel("Find a function").fill("");

    // A run of single calls opens when it is pressed; one call fills the picture.
    const second = page.locator("#flame .fr:not(.run)").nth(1);
    const name = (await second.getAttribute("aria-label")).split(":")[0];
    await second.click();
    await until("the frame fills the picture", async () =>
      (await frames(page).first().getAttribute("aria-label")).startsWith(name),
    );
    await page.locator(".fg-say").getByRole("button", { name: "Show all" }).click();

    await page.getByRole("radio", { name: "reversed" }).click();
    await page.getByRole("radio", { name: "after", exact: true }).click();
    await page.locator(".fr.plain0").first().waitFor();
    await page.getByRole("radio", { name: "difference" }).click();
    assert.deepEqual(await violations(page), []);
    await shoot(page, "flame");
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });

  it("looks at the time that was chosen on the charts", async () => {
    const page = await openPage(browser, sidecar.url);
    await page.locator(".d-h").first().waitFor();
    await drag(page, 0.7, 0.98);
    const asked = page.waitForRequest(/\/flamegraph\?from=\d+&until=\d+/);
    await page.getByRole("button", { name: "The chosen time", exact: true }).click();
    await asked;
    await until("it answers", async () => {
      const text = await page.locator("#flame").textContent();
      return (await frames(page).count()) > 0 || /remembered|no sample/i.test(text);
    });
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
});

describe("eight hours", () => {
  it("are shown as least and most of each pixel, moved, and looked at closely", async () => {
    const page = await openPage(browser, sidecar.url);
    const asked = await eightHours(page);
    await page.reload();
    await page.getByRole("radio", { name: "8 h" }).click();
    await until("the long time was asked for", async () => asked.length > 0);
    const picture = () => page.evaluate(() => document.querySelector(".plot canvas").toDataURL());
    const wide = await picture();
    await drag(page, 0.3, 0.4);
    const wanted = (fits) => until("the detail was asked for", async () => asked.find(fits));
    const tenth = await wanted(({ from, until }) => until - from < (asked[0].until - asked[0].from) / 5);
    await until("it is drawn", async () => (await picture()) !== wide);
    await page.keyboard.press("Shift+ArrowLeft");
    await wanted(
      ({ from, until }) => until - from < (asked[0].until - asked[0].from) / 5 && from < tenth.from,
    );
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
});

describe("a deep stack", () => {
  it("opens with what moved in sight, its single calls in one row", async () => {
    const page = await openPage(browser, sidecar.url);
    const polls = Array.from({ length: 90 }, (_, at) => `<F${at} as core::future::Future>::poll`).join(";");
    const body = `${polls};handle;parse 60 10\n${polls};handle;write 10 60\n`;
    await page.route("**/flamegraph/change/*", (route) => route.fulfill({ body }));
    await page.locator(".d-h", { hasText: "web" }).first().click();
    await page.getByRole("button", { name: "Flamegraph before / after" }).click();
    await page.locator(".fr.more3", { hasText: "write" }).waitFor();
    await page.locator(".fr.less3", { hasText: "parse" }).waitFor();
    assert.equal(await frames(page).count(), 5);
    assert.deepEqual(await violations(page), []);
    await page.getByRole("button", { name: /^90 calls, <F0 as .* to <F89 as .*press to show each$/ }).click();
    await until("each call has a row", async () => (await frames(page).count()) >= 40);
    await page.getByRole("button", { name: "Fold single calls again" }).click();
    await until("they are one row again", async () => (await frames(page).count()) === 5);
    assert.deepEqual(page.faults, []);
    await page.context().close();
  });
});
