// tour.mjs: reads directories, one a line, from stdin, and plays a few seconds of master.m3u8 in each
// with hls.js and with Shaka Player, all in one browser. Answers each with one line of JSON:
// {"hls": SEEN, "shaka": SEEN}, where SEEN is what was seen or {"error": "..."}.
import { createInterface } from "node:readline";
import { launch, openPage } from "./browser.mjs";
import { serve } from "./server.mjs";

/** Longest time that one player may take for one set; most take three to six seconds. */
const DEADLINE_MS = 150_000;

const browser = await launch();
for await (const directory of createInterface({ input: process.stdin })) {
  const server = await serve(directory);
  // Both at once: they mostly wait for time to pass.
  const [hls, shaka] = await Promise.all([
    seen(server.origin, () => window.tests.tour()),
    seen(server.origin, () => window.tests.playShaka()),
  ]);
  server.close();
  console.log(JSON.stringify({ hls, shaka }));
}
await browser.close();

/** What `measure` tells in a fresh page. */
async function seen(origin, measure) {
  let page, timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no result within ${DEADLINE_MS / 1000} s`)), DEADLINE_MS);
  });
  try {
    page = await openPage(browser, origin);
    return await Promise.race([page.evaluate(measure), late]);
  } catch (error) {
    return { error: error.message };
  } finally {
    clearTimeout(timer);
    await page?.close();
  }
}
