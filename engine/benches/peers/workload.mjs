// The loads of the benchmark, the same for every peer in JavaScript. Each line of standard input is one
// (`{"workflows": 6000, "in_flight": 64, "seconds": 10, "pause_ms": 0}`), each line of standard output
// the answer (`{"seconds": 1.9, "latencies_ms": [..]}`), after a first one that says `{"ready": true}`.
// At the end of its input the program stops.
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** Answers loads with `workflow`, which runs one workflow to its durable end, and stops with `stop`. */
export async function serve(workflow, stop) {
  await say({ ready: true });
  for await (const line of createInterface({ input: process.stdin })) {
    await say(await run(workflow, JSON.parse(line)));
  }
  await stop();
  process.exit(0);
}

/** Runs up to so many workflows, so many at a time, and begins none after so many seconds. */
async function run(workflow, { workflows, in_flight, seconds, pause_ms }) {
  const began = performance.now();
  const latencies_ms = [];
  let next = 0;
  const lane = async () => {
    while (next < workflows && performance.now() - began < seconds * 1000) {
      const n = next++;
      // Of random length: whoever looks for work at intervals is met at any moment of one.
      if (pause_ms > 0) await sleep(Math.random() * pause_ms);
      const submitted = performance.now();
      check(n, await workflow(n));
      latencies_ms.push(performance.now() - submitted);
    }
  };
  await Promise.all(Array.from({ length: in_flight }, lane));
  return { seconds: (performance.now() - began) / 1000, latencies_ms };
}

/** Each of the three steps adds one. */
function check(n, result) {
  if (result !== n + 3) throw new Error(`the workflow of ${n} answered ${JSON.stringify(result)}`);
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function say(answer) {
  if (!process.stdout.write(JSON.stringify(answer) + '\n')) await once(process.stdout, 'drain');
}

/** What every step does. */
export async function increment(n) {
  return n + 1;
}
