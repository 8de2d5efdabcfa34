// Opens the test page in a headless Chromium that has the directory to be played at /media/.
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

const NAMES = ["chromium", "chromium-browser", "google-chrome"];
const MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";

// Without the first four, Chromium looks for servers of its own at every start.
const ARGUMENTS = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--no-first-run",
  "--disable-gpu",
  "--disable-quic",
  "--autoplay-policy=no-user-gesture-required",
];

/** Longest time that one script may take; a minute of video takes about half a minute. */
const DEADLINE_MS = 150_000;

/**
 * Serves `directory`, opens the page, calls `measure(page)` and prints what it returns as one line
 * of JSON. Ends the process with 1 and a reason on stderr when anything fails.
 */
export async function measureIn(directory, measure) {
  // Ending the process ends the browser.
  setTimeout(() => {
    fail(new Error(`no result within ${DEADLINE_MS / 1000} s`));
    process.exit();
  }, DEADLINE_MS).unref();
  const server = await serve(directory);
  const browser = await launch();
  try {
    const page = await openPage(browser, server.origin);
    console.log(JSON.stringify(await measure(page)));
  } catch (error) {
    fail(error);
  } finally {
    await browser.close();
    server.close();
  }
}

/** Starts a headless Chromium. */
export function launch() {
  return chromium.launch({
    executablePath: findBrowser(),
    // The sandbox refuses to run as root.
    chromiumSandbox: process.getuid?.() !== 0,
    args: ARGUMENTS,
  });
}

function findBrowser() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const candidates = NAMES.flatMap((name) => folders.map((folder) => join(folder, name)));
  const found = [...candidates, MAC].find(isExecutable);
  if (!found) throw new Error(`none of ${NAMES.join(", ")} is installed; ./x doctor says how to get it`);
  return found;
}

function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Opens the test page, in a context of its own. */
export async function openPage(browser, origin) {
  const page = await browser.newPage();
  page.on("console", (message) => {
    if (message.type() === "error") console.error(`page: ${message.text()} ${message.location().url}`);
  });
  await page.goto(`${origin}/`);
  return page;
}

function fail(error) {
  console.error(error.stack ?? error);
  process.exitCode = 1;
}
