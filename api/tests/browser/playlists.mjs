// playlists.mjs FILE..: reads playlists with m3u8-parser and prints, for each, what it made of it as
// one line of JSON. Fails at anything that the parser warns of.
import { readFileSync } from "node:fs";
import { Parser } from "m3u8-parser";

for (const file of process.argv.slice(2)) {
  const parser = new Parser();
  for (const kind of ["warn", "error"]) {
    parser.on(kind, ({ message }) => {
      console.error(`${file}: ${message}`);
      process.exitCode = 1;
    });
  }
  parser.push(readFileSync(file, "utf8"));
  parser.end();
  const { segments, playlists, targetDuration, endList } = parser.manifest;
  const durations = segments.map((segment) => segment.duration);
  console.log(JSON.stringify({ variants: playlists?.length ?? 0, durations, targetDuration, endList: endList ?? false }));
}
