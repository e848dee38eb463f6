// An operator's hands in a real browser: what each would do is shown first, a wrong token is refused, and each can be undone.

import assert from "node:assert/strict";
import { userInfo } from "node:os";
import { after, before, describe, it } from "node:test";
import { isDeepStrictEqual } from "node:util";
import { openBrowser, openPage, Service, Sidecar, TOKEN, until, violations } from "./stage.mjs";

let browser;
let service;
let sidecar;
let page;

before(async () => {
  browser = await openBrowser();
  service = await Service.start();
  sidecar = await Sidecar.start(service.directory);
  page = await openPage(browser, sidecar.url);
  await page.locator(".dot:not(.warn)").first().waitFor();
});

after(async () => {
  await browser?.close();
  await sidecar?.end();
  await service?.end();
});

const dialog = () => page.locator("dialog[open]");
const press = (name) => dialog().getByRole("button", { name, exact: true }).click();
const status = () => sidecar.api("/api/v1/hosts/hello/status");
const made = async () => (await status()).pools.web.changes.made;

/** What the sidecar says it would do, once the dialog shows it. */
async function preview() {
  await dialog().locator(".preview").waitFor();
  return dialog().locator(".preview").textContent();
}

describe("an operator's hands", () => {
  it("are refused with a wrong token, which says so and keeps what was typed", async () => {
    await page.locator("#freeze").click();
    await dialog().locator(".expected", { hasText: "No trial is open, so no value changes." }).waitFor();
    const above = await dialog().evaluate((all) => {
      const [will, token] = [all.querySelector(".expected"), all.querySelector("#dlg-token")];
      return Boolean(will.compareDocumentPosition(token) & Node.DOCUMENT_POSITION_FOLLOWING);
    });
    assert.ok(above, "what it will do stands before the token");
    await page.locator("#dlg-reason").fill("release 4.3");
    await page.locator("#dlg-token").fill("f".repeat(32));
    await press("Show what it would do");
    await dialog().locator(".refused", { hasText: "the token is wrong" }).waitFor();
    assert.equal(await page.locator("#dlg-reason").inputValue(), "release 4.3");
    assert.equal(await page.locator("#dlg-token").inputValue(), "f".repeat(32));
    assert.deepEqual(await violations(page), []);
    assert.equal((await status()).frozen, false);
  });

  it("freeze, after showing what that does, and then nothing changes until it is lifted", async () => {
    await page.locator("#dlg-token").fill(TOKEN);
    await press("Show what it would do");
    assert.match(await preview(), /until the freeze is lifted/);
    assert.equal((await status()).frozen, false, "a dry run changes nothing");
    await press("Freeze");
    await page.getByText("Frozen by oncall since").waitFor();
    await page.getByText("“release 4.3”").first().waitFor();
    service.load(300);
    // Work waits and workers are missing, and still nothing is tried.
    await until("the freeze held something back", async () => ((await status()).held.frozen ?? 0) > 8);
    assert.equal(await made(), 0);
    await page.locator(".banner").getByRole("button", { name: "Lift the freeze" }).click();
    await preview();
    assert.equal(await page.locator("#dlg-token").count(), 0, "the token is asked for once");
    await press("Lift the freeze");
    await page.getByText("Frozen by oncall").waitFor({ state: "detached" });
    await until("a change is tried", async () => (await made()) > 0);
    await page.locator(".d .d-h").first().click();
    const place = () =>
      page.evaluate(() =>
        [...document.querySelectorAll(".d")].findIndex(({ classList }) => classList.contains("open")),
      );
    await until("it is open", async () => (await place()) >= 0);
    const at = await place();
    await page.locator(".newer", { hasText: /[1-9]\d* newer/ }).waitFor();
    assert.equal(await place(), at, "newer ones stand in one line above what is read");
    await page.getByRole("button", { name: /newer/ }).click();
    await until("they are shown", async () => (await place()) > at);
  });

  it("are rows of the list and marks of the lane, whoever did them and by which way", async () => {
    const { uid } = userInfo();
    await sidecar.shell("freeze", "--config", sidecar.file, "--reason", "by hand");
    await sidecar.shell("unfreeze", "--config", sidecar.file);
    await page.getByRole("radio", { name: "operators" }).click();
    const rows = page.locator(".d .d-w");
    // Neither a dry run nor what was refused for its token is one of them.
    const expected = [
      `user ${uid}: lift the freeze`,
      `user ${uid}: freeze: “by hand”`,
      "oncall: lift the freeze",
      "oncall: freeze: “release 4.3”",
    ];
    await until("both operators are in the list, and nothing else", async () =>
      isDeepStrictEqual(await rows.allTextContents(), expected),
    );
    await page.locator(".d-h", { hasText: "by hand" }).click();
    const opened = async (text) => {
      await page.locator(".d.open", { hasText: text }).waitFor();
      return page.locator(".d.open").textContent();
    };
    const card = await opened("by hand");
    assert.match(card, new RegExp(`user ${uid}, an operator.*over the operator's socket, process \\d+`));
    await page.locator(".d-h", { hasText: "release 4.3" }).click();
    assert.match(await opened("release 4.3"), /oncall, an operator.*over HTTP, from 127\.0\.0\.1/);
    assert.deepEqual(await violations(page), []);
    await page.getByRole("radio", { name: "5 min", exact: true }).click();
    const marks = () =>
      page.locator(".lane button").evaluateAll((all) => all.map((mark) => mark.getAttribute("aria-label")));
    await until("an operator's mark is in the lane", async () =>
      (await marks()).some((name) => /(Operator|decisions from) .*(oncall|user \d+): /.test(name)),
    );
    const later = await openPage(browser, sidecar.url);
    await later.getByRole("radio", { name: "operators" }).click();
    await until("who opens the page later sees them too", async () =>
      isDeepStrictEqual(await later.locator(".d .d-w").allTextContents(), expected),
    );
    await later.context().close();
    await page.getByRole("radio", { name: "all", exact: true }).click();
  });

  it("say what they would do by the newest reading, and ask the sidecar nothing without a token", async () => {
    const fresh = await openPage(browser, sidecar.url);
    const posts = [];
    fresh.on("request", (request) => request.method() === "POST" && posts.push(request.url()));
    await fresh.getByRole("button", { name: "Pin, switch the profile or reset: web" }).click();
    await fresh.locator("dialog[open]").getByRole("button", { name: "Pin a knob…" }).click();
    await fresh.locator("#dlg-value").fill("77");
    await fresh.locator(".expected td", { hasText: /^77$/ }).waitFor();
    assert.match(await fresh.locator(".expected").textContent(), /bounds are 10 to 100.*web workers\d+77$/);
    assert.deepEqual(posts, []);
    assert.deepEqual(await violations(fresh), []);
    await fresh.context().close();
  });

  it("are told as commands of the shell where the sidecar takes none from a page", async (test) => {
    const closed = await Sidecar.start(service.directory, { mode: "observe", name: "closed", tokens: false });
    test.after(() => closed.end());
    const other = await openPage(browser, closed.url);
    await other.locator("#freeze").click();
    await other.locator("#dlg-reason").fill("it's late");
    const line = `trimtab freeze --reason 'it'\\''s late' --config ${closed.file}`;
    await until(
      "the command is told",
      async () => (await other.locator(".elsewhere pre").textContent()) === line,
    );
    assert.equal(await other.locator("#dlg-token").count(), 0);
    assert.match(await other.locator(".elsewhere").textContent(), /set intake\.token_file to its path/);
    assert.deepEqual(await violations(other), []);
    await other.context().close();
  });

  it("pin a knob for a time, and release it again", async () => {
    await page.getByRole("button", { name: "Pin, switch the profile or reset: web" }).click();
    await press("Pin a knob…");
    await page.locator("#dlg-value").fill("40");
    await until("the sidecar tells of 40", async () => /at 40 /.test(await preview()));
    await press("Pin");
    await page.getByText("workers pinned at 40 until").waitFor();
    assert.equal((await status()).pools.web.knobs.workers.value, 40);
    await page.locator(".done").getByRole("button", { name: "Undo…" }).click();
    assert.match(await preview(), /would release workers of web/i);
    await press("Release");
    await page.getByText("workers pinned at 40").waitFor({ state: "detached" });
  });

  it("switch the profile, and back", async () => {
    await page.getByRole("button", { name: "Pin, switch the profile or reset: web" }).click();
    await press("Switch profile…");
    await page.locator("#dlg-profile").selectOption("api");
    await until("the preview is of api", async () => /follow the profile api/.test(await preview()));
    await press("Switch");
    await until("the pool follows api", async () => (await status()).pools.web.profile === "api");
    await page.locator(".done").getByRole("button", { name: "Undo…" }).click();
    await preview();
    await press("Switch back");
    await until("the pool follows web", async () => (await status()).pools.web.profile === "web");
  });

  it("reset a pool to its baseline, and put the values back", async () => {
    const before = (await status()).pools.web.knobs.workers;
    assert.notEqual(before.value, before.baseline);
    await page.getByRole("button", { name: "Pin, switch the profile or reset: web" }).click();
    await press("Reset to the baseline…");
    assert.match(await preview(), /web workers/);
    await press("Reset");
    await page.locator(".done").getByRole("button", { name: "Undo…" }).click();
    await preview();
    await press("Put back");
    await until("workers are held again", async () => {
      const { workers } = (await status()).pools.web.knobs;
      return workers.pinned_for_ms > 0 && workers.value !== workers.baseline;
    });
    assert.deepEqual(page.faults, []);
  });
});
