// Light or dark: what the system says, until a person chooses.

import { keep, kept } from "./kept.ts";
import { store } from "./store.ts";

const THEME_KEY = "trimtab-theme";

export function switchTheme(): void {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme ?? (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  keep(THEME_KEY, root.dataset.theme);
  store.changed();
}

export function restoreTheme(): void {
  const theme = kept(THEME_KEY);
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
}
