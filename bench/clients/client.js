// What bench/clients/run asks of node-postgres; see client.py for the commands.
// client.js CONNSTR; without a listener for the pool's 'error' where DEAF is set.

const readline = require('readline');
const pg = require('pg');

const conninfo = process.argv[2];
const SIZE = 2, WAIT = 3000;
const WRITE = "INSERT INTO notes (who) VALUES ('node')";
const READ = 'SELECT count(*) FROM notes';
const version = `node-postgres ${require('pg/package.json').version}, node ${process.versions.node}`;

let pool, held;
let events = 0;

const text = (sql) => ({ write: WRITE, read: READ })[sql] || sql;
const sleep = (ms) => new Promise((go) => setTimeout(go, ms));
const first = (result) => (result.rows && result.rows[0] ? String(Object.values(result.rows[0])[0]) : '');

async function openPool() {
	pool = new pg.Pool({ connectionString: conninfo, max: SIZE, idleTimeoutMillis: 0, connectionTimeoutMillis: WAIT });
	if (!process.env.DEAF) pool.on('error', () => { events++; });
	const all = [];
	for (let i = 0; i < SIZE; i++) all.push(await pool.connect());
	for (const client of all) client.release();
}

// as an application does: a connection that failed is given back with its error
async function throughPool(sql) {
	return first(await pool.query(sql));
}

async function perform(command, rest) {
	switch (command) {
	case 'version':
		return version;
	case 'pool':
		await openPool();
		return '';
	case 'write':
		return throughPool(WRITE);
	case 'read':
		return throughPool(READ);
	case 'events':
		return String(events);
	case 'hold':
		held = await pool.connect();
		// without a listener an error of a connection that is checked out ends the process too
		if (!process.env.DEAF) held.on('error', () => { events++; });
		return '';
	case 'on':
		return first(await held.query(text(rest)));
	case 'in':
		await held.query('BEGIN');
		return first(await held.query(text(rest)));
	case 'readwrite':
		return '';
	case 'release':
		held.release();
		return '';
	case 'leave':
		await pool.end();
		return '';
	case 'connect':
	case 'connect_and_write': {
		const client = new pg.Client({ connectionString: rest || conninfo });
		client.on('error', () => {});
		try {
			await client.connect();
			return first(await client.query(command === 'connect' ? 'SHOW port' : WRITE));
		} finally {
			client.end().catch(() => {});
		}
	}
	}
	throw new Error(command);
}

async function until(want, limit) {
	const start = performance.now();
	let running = 0, errors = 0, last = '', at = 0;
	while (running < want) {
		if (performance.now() - start > limit * 1000) return `error\t${limit * 1000}\t-\t-\tnever in ${limit} s: ${errors} errors, ${last}`;
		try {
			await throughPool(WRITE);
			if (running === 0) at = performance.now() - start;
			running++;
		} catch (error) {
			running = 0;
			errors++;
			last = `${error.code || '-'} ${error.message.split('\n')[0]}`;
			await sleep(20);
		}
	}
	return `ok\t${at.toFixed(0)}\t${errors}\t${last}`;
}

(async () => {
	for await (const line of readline.createInterface({ input: process.stdin })) {
		const [, command, rest] = /^(\S+) ?(.*)$/.exec(line);
		const start = performance.now();
		let answer;
		if (command === 'quit') break;
		if (command === 'until') {
			answer = await until(2 * SIZE, Number(rest));
		} else {
			try {
				const what = await perform(command, rest);
				answer = `ok\t${(performance.now() - start).toFixed(0)}\t${what}`;
			} catch (error) {
				answer = `error\t${(performance.now() - start).toFixed(0)}\t${error.code || '-'}\t${error.constructor.name}\t${error.message.split('\n')[0]}`;
			}
		}
		process.stdout.write(`${answer}\n`);
	}
	process.exit(0);
})();
