// The states that a page must not hide: each says what is so, what it means for the host, and what to do.

import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { alter, mute, openBrowser, openPage, Service, Sidecar, shoot, until, violations } from "./stage.mjs";

let browser;
let service;

before(async () => {
  browser = await openBrowser();
  service = await Service.start();
  service.load(300);
});

after(async () => {
  await browser?.close();
  await service?.end();
});

/** A page of a sidecar that is ended with the test. */
async function beside(test, options, directory = service.directory) {
  const sidecar = await Sidecar.start(directory, options);
  test.after(() => sidecar.end());
  const page = await openPage(browser, sidecar.url);
  test.after(() => page.context().close());
  page.sidecar = sidecar;
  return page;
}

const bar = (page) => page.locator(".banner");

describe("the state bar", () => {
  it("tells in observe mode what would have been done, and that nothing was", async (test) => {
    const page = await beside(test, { mode: "observe", name: "observe" });
    await bar(page)
      .getByText(/Observe since \d\d:\d\d:\d\d: Trimtab reads and changes nothing\./)
      .waitFor();
    await bar(page)
      .getByText(/it would have made [1-9]\d* changes?\. The newest: web workers from 10 to/)
      .waitFor();
    await bar(page).getByRole("button", { name: "See what it would do" }).click();
    const card = page.locator(".d.open");
    assert.match(await card.textContent(), /would have.*expected/);
    // What was not done is marked too.
    const [plan] = await page.locator(".lane button").all();
    assert.match(await plan.getAttribute("aria-label"), /ecisions?.* web workers 10 → \d+.*, would have, /);
    assert.deepEqual(await violations(page), []);
    await shoot(page, "observe");
    const { web } = (await page.sidecar.api("/api/v1/hosts/hello/status")).pools;
    assert.equal(web.knobs.workers.value, 10);
  });

  it("tells in advise mode what it would try", async (test) => {
    const page = await beside(test, { mode: "advise", name: "advise" });
    await bar(page)
      .getByText(/Advise since \d\d:\d\d:\d\d: Trimtab says what it would try/)
      .waitFor();
    await bar(page)
      .getByText(/So far [1-9]\d* changes?; set mode = "act" to let it\./)
      .waitFor();
    await bar(page).getByRole("button", { name: "Look at it" }).click();
    assert.match(await page.locator(".d.open").textContent(), /would try/);
  });

  it("tells that another sidecar holds the lease", async (test) => {
    const first = await beside(test, { name: "first", more: '[lease]\nholder = "trimtab-b"\n' });
    await until("the first one holds the lease", async () => {
      const status = await first.sidecar.api("/api/v1/hosts/hello/status");
      return status.lease_ours;
    });
    const page = await beside(test, { name: "second", more: '[lease]\nholder = "trimtab-a"\n' });
    await bar(page)
      .getByText(/Standby: trimtab-b holds the lease, epoch \d+\./)
      .waitFor();
    await bar(page).getByText("takes over when that lease ends").waitFor();
    await shoot(page, "standby");
  });

  it("tells that there is no host, and where it was looked for", async (test) => {
    const directory = mkdtempSync(join(tmpdir(), "trimtab-nobody-"));
    test.after(() => rmSync(directory, { recursive: true }));
    const page = await beside(test, {}, directory);
    await bar(page).getByText(`No host yet: hello at ${directory}/control.sock.`).waitFor();
    await bar(page).getByText("Start the service").waitFor();
    await bar(page)
      .getByText(/Asked in vain [1-9]\d* times since \d\d:\d\d:\d\d, again every 250\sms\./)
      .waitFor();
    await bar(page).getByRole("button", { name: "Run checks" }).click();
    const checks = page.locator("dialog[open]");
    await checks.getByText(/^1 of \d checks fails\.$/).waitFor();
    const [worst] = await checks.locator("dt").allTextContents();
    assert.equal(worst, "host hello fails", "what fails is read first");
    assert.deepEqual(await violations(page), []);
    await checks.getByRole("button", { name: "Close" }).click();
    await page.locator(".dot.bad").first().waitFor();
    assert.deepEqual(await violations(page), []);
  });

  it("tells of a pool that cannot be read, and since when", async (test) => {
    const page = await beside(test, { mode: "observe", name: "blind" });
    await page.locator(".dot:not(.warn)").first().waitFor();
    await mute(page);
    await alter(page, "**/status", (status) => {
      const { web } = status.pools;
      web.decision = { ...web.decision, reason: { kind: "blind" }, regime: "blind" };
      web.text = "Held: the figures that would tell are missing.";
      return status;
    });
    await page.reload();
    await bar(page)
      .getByText(/web cannot be read since \d\d:\d\d:\d\d\./)
      .waitFor();
    await bar(page)
      .getByText(/It keeps \d+ workers/)
      .waitFor();
  });

  it("tells that the sidecar's loop stands still, after as long as its interval allows", async (test) => {
    const page = await beside(test, { mode: "act", name: "stale" });
    await page.locator(".dot:not(.warn)").first().waitFor();
    await mute(page);
    await page.reload();
    await bar(page)
      .getByText(/The newest figures are [5-9]\ss old, from \d\d:\d\d:\d\d\./)
      .waitFor();
    // Where it looks once in half a minute, the same age is nothing to tell of.
    await alter(page, "**/configuration/effective", (effective) => {
      for (const setting of effective.settings) if (setting.key === "interval") setting.value = '"30s"';
      return effective;
    });
    await page.reload();
    const age = page.locator(".facts small", { hasText: "ago" });
    await until("it is as old", async () => Number.parseFloat(await age.textContent()) > 6);
    assert.equal(await page.getByText("The newest figures are").count(), 0);
    assert.match(await page.locator(".facts").textContent(), /live/);
  });

  it("tells of a ledger that cannot be written", async (test) => {
    const page = await beside(test, { name: "full" });
    await alter(page, "**/readyz?verbose", (readiness) => {
      readiness.checks.ledger = { ok: false, text: "the newest entry was not written: no space is left" };
      return { ...readiness, ready: false };
    });
    await bar(page).getByText("The check “ledger” fails.").waitFor();
    await bar(page).getByText("The newest entry was not written: no space is left.").waitFor();
  });

  it("tells when the host undoes by itself what nobody confirms", async (test) => {
    const page = await beside(test, { name: "gone", mode: "observe" });
    await page.locator(".dot:not(.warn)").first().waitFor();
    let asked = 0;
    await alter(page, "**/status", (status) => {
      asked += 1;
      if (asked > 1) return { ...status, absent: "gone", pools: {} };
      status.pools.web.trial_expires_in_ms = 90_000;
      status.pools.web.generation = 418;
      return status;
    });
    // Each time it asks for events it is told to read everything anew.
    await page.route("**/api/v1/events*", (route) =>
      route.fulfill({ contentType: "text/event-stream", body: "event: resync\ndata: {}\n\n" }),
    );
    await page.reload();
    await bar(page)
      .getByText(/It undoes trial 418 of web by itself at \d\d:\d\d:\d\d at the latest\./)
      .waitFor();
  });

  it("tells that a part of the ledger is gone", async (test) => {
    const once = await Sidecar.start(service.directory, { name: "torn" });
    await until("something is written", async () => {
      const { entries } = await once.api("/api/v1/hosts/hello/decisions?limit=5");
      return entries?.length > 0;
    });
    await once.end();
    const file = readdirSync(once.ledger).find((name) => name.endsWith(".jsonl"));
    writeFileSync(join(once.ledger, file), '{"torn": true}\n', { flag: "a" });
    const page = await beside(test, { name: "torn" });
    await bar(page).getByText("A part of the history before this start is gone.").waitFor();
    await bar(page).getByText("fail their checksum").waitFor();
  });
});
