// tour.mjs: reads {"directory": DIR, "sound": BOOL}, one a line, from stdin, and plays a few seconds of
// DIR/master.m3u8 with hls.js, without the sound beside the picture if it is not wanted, and with Shaka
// Player, all in one browser. Answers each with one line of JSON:
// {"hls": SEEN, "shaka": SEEN}, where SEEN is what was seen or {"error": "..."}.
import { createInterface } from "node:readline";
import { launch, openPage } from "./browser.mjs";
import { serve } from "./server.mjs";

/** Longest time that one player may take for one set; most take three to six seconds. */
const DEADLINE_MS = 150_000;

const browser = await launch();
for await (const line of createInterface({ input: process.stdin })) {
  const { directory, sound } = JSON.parse(line);
  const server = await serve(directory);
  // Both at once: they mostly wait for time to pass.
  const [hls, shaka] = await Promise.all([
    seen(server.origin, (sound) => window.tests.tour(sound), sound),
    seen(server.origin, () => window.tests.playShaka()),
  ]);
  server.close();
  console.log(JSON.stringify({ hls, shaka }));
}
await browser.close();

/** What `measure` tells in a fresh page. */
async function seen(origin, measure, argument) {
  let page, timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no result within ${DEADLINE_MS / 1000} s`)), DEADLINE_MS);
  });
  try {
    page = await openPage(browser, origin);
    return await Promise.race([page.evaluate(measure, argument), late]);
  } catch (error) {
    return { error: error.message };
  } finally {
    clearTimeout(timer);
    await page?.close();
  }
}
