// DBOS Transact for TypeScript: node dbos.mjs POSTGRES_URL
import { DBOS } from '@dbos-inc/dbos-sdk';
import { increment, serve } from './workload.mjs';

const [systemDatabaseUrl] = process.argv.slice(2);

async function chain(n) {
  const a = await DBOS.runStep(() => increment(n), { name: 'a' });
  const b = await DBOS.runStep(() => increment(a), { name: 'b' });
  return await DBOS.runStep(() => increment(b), { name: 'c' });
}

const workflow = DBOS.registerWorkflow(chain, { name: 'chain' });
DBOS.setConfig({ name: 'bench', systemDatabaseUrl, logLevel: 'error' });
await DBOS.launch();
await serve(workflow, () => DBOS.shutdown());
