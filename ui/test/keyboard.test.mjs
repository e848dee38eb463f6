// The page without a mouse: every key does what the help says of it, and the help says what the signs and the words mean.

import assert from "node:assert/strict";
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

/** A page that knows the pool and two decisions. */
async function open(test, options) {
  const page = await openPage(browser, sidecar.url, options);
  test.after(() => page.context().close());
  await page.locator(".prow .p-name", { hasText: "web" }).waitFor();
  await until("two decisions", async () => (await page.locator(".d").count()) > 1);
  return page;
}

const dialog = (page) => page.locator("dialog[open]");
const readout = (page) => page.locator("#cursor-at").textContent();
const focused = (page, what) => until(`the focus is on ${what}`, () => page.locator(`${what}:focus`).count());
const theme = (page) => page.evaluate(() => document.documentElement.dataset.theme);
/** Moves the cursor of the charts, once they have something to move over. */
const moved = (page) =>
  until("a time is read", async () => {
    await page.keyboard.press("ArrowLeft");
    return readout(page);
  });
const gone = (place) => place.waitFor({ state: "detached" });

describe("the keys", () => {
  it("freeze, after what that would do was shown, and Esc lets it be", async (test) => {
    const page = await open(test);
    await page.keyboard.press("f");
    await dialog(page).getByText("Freeze Trimtab").waitFor();
    await dialog(page).getByText("Nothing has been changed yet.").waitFor();
    await focused(page, "#dlg-reason");
    // Letters that are typed are text, and no keys of the page.
    await page.keyboard.type("fdt/?");
    assert.equal(await page.locator("#dlg-reason").inputValue(), "fdt/?");
    assert.equal(await theme(page), undefined);
    await page.keyboard.press("Escape");
    await gone(dialog(page));
    const { frozen } = await sidecar.api("/api/v1/hosts/hello/status");
    assert.equal(frozen, false);
    assert.deepEqual(page.faults, []);
  });

  it("find, and Esc leaves the field empty", async (test) => {
    const page = await open(test);
    await page.keyboard.press("/");
    await focused(page, ".find");
    assert.equal(await page.locator(".find").inputValue(), "");
    await page.keyboard.type("dt?");
    assert.equal(await page.locator(".find").inputValue(), "dt?");
    assert.equal(await theme(page), undefined);
    assert.equal(await page.locator(".d.open, dialog[open]").count(), 0);
    await page.keyboard.press("Escape");
    await until("the field is left", async () => (await page.locator(".find:focus").count()) === 0);
    assert.equal(await page.locator(".find").inputValue(), "");
  });

  it("switch between light and dark, and that is kept", async (test) => {
    const page = await open(test, { colorScheme: "light" });
    await page.keyboard.press("t");
    await until("it is dark", async () => (await theme(page)) === "dark");
    await page.reload();
    assert.equal(await theme(page), "dark");
    await page.keyboard.press("t");
    await until("it is light", async () => (await theme(page)) === "light");
  });

  it("go from one decision to the next, through those that the list shows", async (test) => {
    const page = await open(test);
    await page.keyboard.press("d");
    const first = await page.locator(".d.open .d-h:focus .n").textContent();
    await page.keyboard.press("d");
    await until("an older one is open", async () => {
      const [now] = await page.locator(".d.open .d-h:focus .n").allTextContents();
      return Number(now) < Number(first);
    });
    await until("one is kept", async () => (await page.locator(".d .o-kept").count()) > 0);
    await page.getByRole("radio", { name: "kept", exact: true }).click();
    await page.keyboard.press("d");
    await page.locator(".d.open .d-h:focus .o-kept").waitFor();
    await page.getByRole("radio", { name: "kept", exact: true, checked: true }).waitFor();
  });

  it("move the cursor of the charts, and Esc lets it go and shows all the time", async (test) => {
    const page = await open(test);
    await page.locator(".plot canvas").first().waitFor();
    const one = await moved(page);
    await until("an earlier time is read", async () => {
      await page.keyboard.press("ArrowLeft");
      return (await readout(page)) < one;
    });
    await page.keyboard.press("Escape");
    await until("the cursor is let go", async () => (await readout(page)) === "");
    const box = await page.locator(".u-over").first().boundingBox();
    // In the middle, for a longer sentence above moves the charts down by a line.
    const y = box.y + box.height / 2;
    await page.mouse.move(box.x + box.width * 0.8, y);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.95, y, { steps: 4 });
    await page.mouse.up();
    const all = page.getByRole("button", { name: "Show all" });
    await all.waitFor();
    const from = () => page.locator(".readout span b").first().textContent();
    const shown = await from();
    await page.keyboard.press("Shift+ArrowLeft");
    await until("the chosen time is moved", async () => (await from()) < shown);
    await page.keyboard.press("Escape");
    await gone(all);
    // In a row of choices the arrows choose.
    await page.getByRole("radio", { name: "1 min" }).click();
    await page.mouse.move(0, 0);
    await page.keyboard.press("ArrowRight");
    await page.getByRole("radio", { name: "5 min", checked: true }).waitFor();
    assert.equal(await readout(page), "");
  });

  it("reach a mark and its card without a mouse", async (test) => {
    const page = await open(test);
    await page.keyboard.press("Tab");
    await focused(page, ".skip");
    const mark = page.locator(".lane button").first();
    await mark.waitFor();
    await page.locator("#charts").getByRole("radio", { checked: true }).last().focus();
    await until("the focus is on a mark", async () => {
      await page.keyboard.press("Tab");
      return page.locator(".lane button:focus").count();
    });
    await page.keyboard.press("Enter");
    await page.locator(".d.open .d-h:focus").waitFor();
  });
});

describe("the help", () => {
  it("opens by its key and by its buttons, and the focus goes back to where it was", async (test) => {
    const page = await open(test);
    await page.keyboard.press("?");
    await focused(page, ".help .btn");
    await page.keyboard.press("?");
    await gone(dialog(page));
    const button = page.getByRole("button", { name: "Help: keys, signs and words" });
    await button.focus();
    await page.keyboard.press("Enter");
    await dialog(page).waitFor();
    await page.keyboard.press("Escape");
    await gone(dialog(page));
    assert.ok(await button.evaluate((it) => it === document.activeElement), "the focus is back");
    await page.locator(".foot").getByRole("button", { name: "Keys, signs and words" }).click();
    await dialog(page).getByRole("button", { name: "Close" }).click();
    await gone(dialog(page));
    assert.deepEqual(page.faults, []);
  });

  it("lists the keys, the signs and the words", async (test) => {
    const page = await open(test);
    await page.keyboard.press("?");
    await dialog(page).waitFor();
    const keys = await dialog(page).locator("kbd").allTextContents();
    assert.deepEqual(keys, ["f", "/", "d", "←", "→", "Esc", "t", "?"]);
    const names = (await dialog(page).locator("dt").allTextContents()).map((name) => name.trim());
    for (const name of ["kept", "on trial", "rolled back", "waits, or was not done", "trial", "held"]) {
      assert.ok(names.includes(name), `${name} in ${names}`);
    }
    // As the sidecar names them.
    for (const regime of "ample idle starved cpu-bound downstream-bound memory-risk stuck blind".split(" ")) {
      assert.ok(names.includes(regime), `${regime} in ${names}`);
    }
    const meanings = await dialog(page).locator("dd").allTextContents();
    assert.ok(meanings.every((text) => text.length > 10));
  });

  it("has no serious fault of accessibility, and fits from a phone to a wall", async (test) => {
    for (const [colorScheme, width] of [
      ["light", 320],
      ["dark", 390],
      ["light", 1440],
      ["dark", 2560],
    ]) {
      const page = await open(test, { colorScheme, viewport: { width, height: 740 } });
      const hands = await page.locator(".hands").boundingBox();
      const parts = await page.locator(".host, .host > *").all();
      const boxes = await Promise.all(parts.map((part) => part.boundingBox()));
      for (const box of boxes.filter((it) => it !== null)) {
        assert.ok(box.x + box.width <= hands.x, `the header at ${width} pixels`);
      }
      await page.keyboard.press("?");
      await dialog(page).waitFor();
      assert.deepEqual(await violations(page), [], `${colorScheme}, ${width} pixels`);
      const fits = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.querySelector("dialog[open]");
        return scrollWidth <= clientWidth && document.documentElement.scrollWidth <= innerWidth;
      });
      assert.ok(fits, `at ${width} pixels`);
      await page.keyboard.press("End");
      await until("the last line can be read", () =>
        page.evaluate(() => {
          const last = [...document.querySelectorAll("dialog[open] dd")].pop().getBoundingClientRect();
          return last.bottom <= innerHeight;
        }),
      );
      await shoot(page, `help-${colorScheme}-${width}`);
    }
  });

  it("lets single letters be switched off, and then they do nothing", async (test) => {
    const page = await open(test);
    const box = dialog(page).getByLabel("Single letters and signs do this");
    await page.keyboard.press("?");
    await box.focus();
    await page.keyboard.press("Space");
    await page.keyboard.press("Escape");
    await gone(dialog(page));
    await page.reload();
    await page.locator(".d").first().waitFor();
    for (const key of ["t", "d", "f", "?", "/"]) await page.keyboard.press(key);
    // The arrows go on, and come after what the letters would have done.
    await moved(page);
    assert.equal(await theme(page), undefined);
    assert.equal(await page.locator(".d.open, dialog[open], .find:focus").count(), 0);
    await page.getByRole("button", { name: "Help: keys, signs and words" }).click();
    assert.equal(await box.isChecked(), false);
    await box.check();
    await page.keyboard.press("Escape");
    await gone(dialog(page));
    await page.keyboard.press("t");
    await until("the letter works again", () => theme(page));
  });
});
