// sync.mjs DIRECTORY SECONDS: prints at which media time the flash near SECONDS is seen and the
// beep is heard, as one line of JSON. The source must hum quietly (amplitude 0.01 or more), beep
// loudly, and be dark but for the flash.
import { measureIn } from "./browser.mjs";

const near = Number(process.argv[3] ?? 1);
await measureIn(process.argv[2], (page) => page.evaluate((time) => window.tests.sync(time), near));
