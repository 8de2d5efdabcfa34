// Restate, its server and its SDK for TypeScript: node restate.mjs DIRECTORY
//
// Starts the server on free ports of this machine, with its data in the directory.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import * as restate from '@restatedev/restate-sdk';
import * as clients from '@restatedev/restate-sdk-clients';
import { increment, serve } from './workload.mjs';

const [directory] = process.argv.slice(2);
/** How long the server may take to start. */
const STARTED_MS = 60_000;

const service = restate.service({
  name: 'bench',
  handlers: {
    async chain(ctx, n) {
      const a = await ctx.run('a', () => increment(n));
      const b = await ctx.run('b', () => increment(a));
      return await ctx.run('c', () => increment(b));
    },
  },
});

const [ingress, admin, fabric, sdk] = await freePorts(4);
const server = await startServer();
// It would write two lines for each workflow.
await restate.serve({ services: [service], port: sdk, logger: () => {} });
await register();
const client = clients.connect({ url: `http://127.0.0.1:${ingress}` }).serviceClient({ name: 'bench' });
await serve((n) => client.chain(n), stop);

async function startServer() {
  const arch = { x64: 'x64', arm64: 'arm64' }[process.arch];
  const program = new URL(
    `node_modules/@restatedev/restate-server-linux-${arch}/bin/restate-server`,
    import.meta.url,
  ).pathname;
  const options = [
    ...['--node-name', 'bench', '--base-dir', directory, '--listen-mode', 'tcp'],
    ...['--bind-ip', '127.0.0.1', '--bind-port', fabric, '--advertised-host', '127.0.0.1'],
  ];
  const env = {
    ...process.env,
    DO_NOT_TRACK: '1',
    RESTATE_DISABLE_TELEMETRY: 'true',
    RESTATE_LOG_FILTER: 'error',
    RESTATE_INGRESS__BIND_PORT: ingress,
    RESTATE_ADMIN__BIND_PORT: admin,
  };
  const child = spawn(program, options, { env, stdio: ['ignore', 'ignore', 'inherit'] });
  child.on('exit', (code) => {
    if (code !== null) process.exit(code || 1);
  });
  return child;
}

/** Tells the server where the SDK listens, as soon as it answers. */
async function register() {
  const began = performance.now();
  for (;;) {
    try {
      const body = JSON.stringify({ uri: `http://127.0.0.1:${sdk}` });
      const headers = { 'content-type': 'application/json' };
      const url = `http://127.0.0.1:${admin}/deployments`;
      const answer = await fetch(url, { method: 'POST', headers, body });
      if (answer.ok) return;
      if (answer.status < 500) throw new Error(`the server refuses the service: ${await answer.text()}`);
    } catch (error) {
      if (performance.now() - began > STARTED_MS) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function stop() {
  server.removeAllListeners('exit');
  const ended = once(server, 'exit');
  server.kill('SIGKILL');
  await ended;
}

async function freePorts(count) {
  const held = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'));
  await Promise.all(held.map((listener) => once(listener, 'listening')));
  const ports = held.map((listener) => listener.address().port);
  await Promise.all(held.map((listener) => new Promise((resolve) => listener.close(resolve))));
  return ports.map(String);
}
