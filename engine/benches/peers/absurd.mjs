// absurd: node absurd.mjs POSTGRES_URL, on a database that absurdctl has set up
import { Absurd } from 'absurd-sdk';
import { increment, serve } from './workload.mjs';

const [db] = process.argv.slice(2);
const app = new Absurd({ db });

/** What tells that the last step of a task has ended, whichever side asks first. */
const ends = new Map();
function end(taskID) {
  if (!ends.has(taskID)) ends.set(taskID, Promise.withResolvers());
  return ends.get(taskID);
}

app.registerTask({ name: 'chain' }, async ({ n }, ctx) => {
  const a = await ctx.step('a', () => increment(n));
  const b = await ctx.step('b', () => increment(a));
  const c = await ctx.step('c', () => increment(b));
  end(ctx.taskID).resolve();
  return c;
});

// By default it runs one task at a time.
await app.startWorker({ concurrency: 64 });

/** Its own awaitTaskResult looks at intervals that grow to a second. This one looks when the task has ended. */
async function workflow(n) {
  const { taskID } = await app.spawn('chain', { n });
  await end(taskID).promise;
  ends.delete(taskID);
  for (;;) {
    const { state, result } = await app.fetchTaskResult(taskID);
    if (state === 'completed') return result;
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

await serve(workflow, () => app.close());
