// Serves a directory, a page and the player over loopback, as a web server would.
import { createReadStream, statSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { dirname, extname, join, normalize, sep } from "node:path";
import { fileURLToPath } from "node:url";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".m3u8": "application/vnd.apple.mpegurl",
  ".mp4": "video/mp4",
  ".m4s": "video/iso.segment",
  ".jpg": "image/jpeg",
  ".webp": "image/webp",
};

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
// The full build: the light one has no alternate audio.
const PLAYERS = {
  "/hls.js": require.resolve("hls.js/dist/hls.js"),
  "/shaka.js": require.resolve("shaka-player/dist/shaka-player.compiled.js"),
};

/** Starts a server for `directory` on a free port: `{ origin, close }`. */
export async function serve(directory) {
  const server = createServer((request, response) => answer(directory, request, response));
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    close: () => server.closeAllConnections() ?? server.close(),
  };
}

function answer(directory, request, response) {
  const path = locate(directory, decodeURIComponent(new URL(request.url, "http://host").pathname));
  const size = path && fileSize(path);
  if (size === undefined) {
    response.writeHead(404).end();
    return;
  }
  const range = requestedRange(request.headers.range, size);
  const headers = {
    "content-type": TYPES[extname(path)] ?? "application/octet-stream",
    "content-length": range.end - range.start + 1,
    "accept-ranges": "bytes",
  };
  if (range.partial) headers["content-range"] = `bytes ${range.start}-${range.end}/${size}`;
  response.writeHead(range.partial ? 206 : 200, headers);
  if (size === 0) response.end();
  else createReadStream(path, { start: range.start, end: range.end }).pipe(response);
}

function locate(directory, path) {
  if (path === "/") return join(here, "page.html");
  if (path in PLAYERS) return PLAYERS[path];
  if (!path.startsWith("/media/")) return undefined;
  const inside = normalize(path.slice("/media/".length));
  return inside.startsWith("..") ? undefined : join(directory, sep, inside);
}

function fileSize(path) {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat?.isFile() ? stat.size : undefined;
}

function requestedRange(header, size) {
  const match = /^bytes=(\d+)-(\d*)$/.exec(header ?? "");
  if (!match) return { start: 0, end: size - 1, partial: false };
  const end = match[2] ? Math.min(Number(match[2]), size - 1) : size - 1;
  return { start: Number(match[1]), end, partial: true };
}
