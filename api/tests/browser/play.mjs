// play.mjs DIRECTORY: plays DIRECTORY/master.m3u8 with hls.js, walks all levels, seeks, plays to
// the end, and prints what was seen as one line of JSON.
import { measureIn } from "./browser.mjs";

await measureIn(process.argv[2], (page) => page.evaluate(() => window.tests.play()));
