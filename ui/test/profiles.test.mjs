// The profiles on the page: where each value comes from, a mistake with its line, what an edit would change, what waits.

import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { openBrowser, openPage, Service, Sidecar, shoot, TOKEN, until, violations } from "./stage.mjs";

let browser;
let service;
let sidecar;
let page;
let file;
let good;

before(async () => {
  browser = await openBrowser();
  service = await Service.start();
  sidecar = await Sidecar.start(service.directory);
  file = join(sidecar.profiles, "web.toml");
  good = readFileSync(file, "utf8");
  page = await openPage(browser, sidecar.url);
  await page.locator(".eff").waitFor();
});

after(async () => {
  await browser?.close();
  await sidecar?.end();
  await service?.end();
});

const section = () => page.locator("#profiles");
const configuration = () => sidecar.api("/api/v1/configuration");

describe("the profiles", () => {
  it("show each value with the line that sets it", async () => {
    const row = section().locator(".eff tr", { hasText: "workers.max" });
    const line = good.split("\n").indexOf("max = 100") + 1;
    assert.match(await row.textContent(), new RegExp(`100web.toml, line ${line}$`));
    for (const [knob, value] of [
      ["cleanup", "300s"],
      ["slab", "1KiB"],
      ["object_pool", "100"],
    ]) {
      const other = section().locator(".eff tr", { hasText: `other_knobs.${knob}` });
      assert.match(await other.textContent(), new RegExp(`${knob}${value}web.toml`), "with its unit");
    }
    await section().getByRole("radio", { name: "the sidecar itself" }).click();
    const mode = section().locator(".eff tr", { hasText: /^mode/ });
    assert.match(await mode.textContent(), /trimtab.toml, line 1/);
    await section().getByRole("radio", { name: "web", exact: true }).click();
  });

  it("say what an edit would change, and apply nothing", async () => {
    await section().getByRole("button", { name: "Edit and check" }).click();
    const text = section().locator("textarea");
    await text.fill(good.replace("max = 100\n", "max = 120\n"));
    await section().getByRole("button", { name: "Check", exact: true }).click();
    await section().getByText("The text is valid.").waitFor();
    assert.match(await section().locator(".ev").textContent(), /profile\.web\.workers\.max100120/);
    await text.fill(good.replace("max = 100\n", 'max = "many"\n'));
    await section().getByRole("button", { name: "Check", exact: true }).click();
    await section()
      .locator(".diag", { hasText: /Line 23, column \d+/ })
      .waitFor();
    assert.deepEqual(await violations(page), []);
    await section().getByRole("button", { name: "Drop the edit" }).click();
    assert.equal(readFileSync(file, "utf8"), good);
    assert.equal((await configuration()).applied, 0);
  });

  it("show the line of a mistake, while what was in force stays so", async () => {
    writeFileSync(file, good.replace("max = 100\n", 'max = "many"\n'));
    await page.getByText(/web\.toml is not in force: line 23, column \d+\./).waitFor();
    await page.getByRole("button", { name: "Show the line" }).click();
    const wrong = section().locator(".tl.err");
    await wrong.waitFor();
    assert.match(await wrong.textContent(), /^23max = "many"/);
    assert.match(await section().locator(".diag").textContent(), /goes on working/);
    await shoot(page, "bad-profile");
    assert.match(await section().locator(".eff tr", { hasText: "workers.max" }).textContent(), /100/);
    writeFileSync(file, good);
    await page.getByText("web.toml is not in force").waitFor({ state: "detached" });
  });

  it("let an operator approve a limit that moves far", async () => {
    const { applied } = await configuration();
    writeFileSync(file, good.replace("max = 100\n", "max = 1000\n"));
    const card = page.locator("#waiting");
    await card.getByText("profile.web.workers.max 100 → 1000").waitFor();
    await page
      .locator(".banner")
      .getByText(/^1 change of the configuration waits for you since \d\d:\d\d:\d\d\.$/)
      .waitFor();
    await card.getByRole("button", { name: "Approve…" }).click();
    const expected = await page.locator("dialog[open] .expected").textContent();
    assert.match(expected, /These keys come into force.*profile\.web\.workers\.max1001000$/);
    await page.locator("#dlg-token").fill(TOKEN);
    const dialog = page.locator("dialog[open]");
    await dialog.getByRole("button", { name: "Show what it would do" }).click();
    await dialog.getByText(/approve 1 changed key, far: profile\.web\.workers\.max 100 -> 1000/).waitFor();
    assert.equal((await configuration()).applied, applied, "a dry run applies nothing");
    await dialog.getByRole("button", { name: "Approve", exact: true }).click();
    await until("it is in force", async () => (await configuration()).applied === applied + 1);
    await card.waitFor({ state: "detached" });
    await section()
      .getByText(/approved, in force: profile\.web\.workers\.max 100 → 1000/)
      .waitFor();
    assert.deepEqual(page.faults, []);
  });
});
