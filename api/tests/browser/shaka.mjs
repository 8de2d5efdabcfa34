// shaka.mjs DIRECTORY: plays DIRECTORY/master.m3u8 with Shaka Player, in every variant, and prints
// what was seen as one line of JSON.
import { measureIn } from "./browser.mjs";

await measureIn(process.argv[2], (page) => page.evaluate(() => window.tests.playShaka()));
