// graphile-worker: node graphile-worker.mjs POSTGRES_URL
//
// A queue, not a workflow engine: each job adds the next one, which is what its users do.
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import { increment, serve } from './workload.mjs';

const [connectionString] = process.argv.slice(2);
const silent = new Logger(() => () => {});
const CONCURRENT_JOBS = 64;
// What its page on performance advises: a pool that is larger than the number of jobs, jobs fetched and
// completed in batches.
const preset = {
  worker: {
    connectionString,
    concurrentJobs: CONCURRENT_JOBS,
    maxPoolSize: CONCURRENT_JOBS + 2,
    localQueue: { size: CONCURRENT_JOBS + 1 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    logger: silent,
  },
};

const waiting = new Map();
const taskList = {
  async a({ id, n }, { addJob }) {
    await addJob('b', { id, n: await increment(n) });
  },
  async b({ id, n }, { addJob }) {
    await addJob('c', { id, n: await increment(n) });
  },
  // That the last job is complete is written after this, and not waited for.
  async c({ id, n }) {
    waiting.get(id)(await increment(n));
    waiting.delete(id);
  },
};

const utils = await makeWorkerUtils({ preset });
await utils.migrate();
const runner = await run({ preset, taskList, noHandleSignals: true });
let last = 0;

function workflow(n) {
  const id = ++last;
  return new Promise((resolve, reject) => {
    waiting.set(id, resolve);
    utils.addJob('a', { id, n }).catch(reject);
  });
}

await serve(workflow, async () => {
  await runner.stop();
  await utils.release();
});
