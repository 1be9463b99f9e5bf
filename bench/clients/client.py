# What bench/clients/run asks a Python client to do, one command a line:
# client.py psycopg|psycopg2 CONNSTR.  client.js and Client.java take the same
# commands.  Answers "ok MS [WHAT]" or "error MS SQLSTATE CLASS TEXT", tabs between.

import sys
import time

driver, conninfo = sys.argv[1:3]
SIZE, WAIT = 2, 3.0
WRITE = "INSERT INTO notes (who) VALUES ('%s')" % driver
READ = 'SELECT count(*) FROM notes'

if driver == 'psycopg':
	import psycopg
	import psycopg_pool

	# a transaction pooler of this age knows no prepared statements
	options = {'prepare_threshold': None}
	version = 'psycopg %s (libpq %d.%d), psycopg_pool %s' % (
		(psycopg.__version__,) + divmod(psycopg.pq.version(), 10000) + (psycopg_pool.__version__,))

	def connect(dsn):
		return psycopg.connect(dsn, **options)

	def open_pool():
		pool = psycopg_pool.ConnectionPool(conninfo, min_size=SIZE, max_size=SIZE, timeout=WAIT, kwargs=options)
		pool.wait(timeout=WAIT)
		return pool
else:
	import psycopg2
	import psycopg2.pool
	version = 'psycopg2 %s (libpq %d.%d)' % ((psycopg2.__version__.split()[0],) + divmod(psycopg2.__libpq_version__, 10000))
	connect = psycopg2.connect

	def open_pool():
		return psycopg2.pool.SimpleConnectionPool(SIZE, SIZE, conninfo)

pool = None
held = None


def run(conn, sql, commit=True):
	cursor = conn.cursor()
	try:
		cursor.execute(sql)
		row = cursor.fetchone() if cursor.description else None
	except Exception:
		# what every application does; on a dead connection this fails too
		try:
			conn.rollback()
		except Exception:
			pass
		raise
	if commit:
		try:
			conn.commit()
		except Exception:
			try:
				conn.rollback()
			except Exception:
				pass
			raise
	return str(row[0]) if row else ''


def through_pool(sql):
	conn = pool.getconn()
	try:
		return run(conn, sql)
	finally:
		pool.putconn(conn)


def do(command, rest):
	global pool, held
	if command == 'version':
		return version
	if command == 'pool':
		pool = open_pool()
		return ''
	if command == 'write':
		return through_pool(WRITE)
	if command == 'read':
		return through_pool(READ)
	if command == 'hold':		# one of the pool's connections, for "on", "in" and "release"
		held = pool.getconn()
		return ''
	if command == 'on':
		return run(held, {'write': WRITE, 'read': READ}.get(rest, rest))
	if command == 'in':			# stays in the transaction
		return run(held, {'write': WRITE, 'read': READ}.get(rest, rest), commit=False)
	if command == 'readwrite':	# what the driver offers for it
		if driver == 'psycopg':
			held.read_only = False
		else:
			held.set_session(readonly=False)
		return ''
	if command == 'release':
		pool.putconn(held)
		return ''
	if command == 'leave':
		pool.close() if driver == 'psycopg' else pool.closeall()
		return ''
	if command in ('connect', 'connect_and_write'):	# a connection of its own
		conn = connect(rest or conninfo)
		try:
			return run(conn, 'SHOW port' if command == 'connect' else WRITE)
		finally:
			conn.close()
	raise ValueError(command)


def state_of(error):
	return getattr(error, 'sqlstate', None) or getattr(error, 'pgcode', None) or '-'


def until(want, limit):
	"""Writes through the pool until that has gone well "want" times running."""
	start = time.monotonic()
	running, errors, last, first = 0, 0, '', 0.0
	while running < want:
		if time.monotonic() - start > limit:
			return 'error\t%d\t-\t-\tnever in %d s: %d errors, %s' % (limit * 1000, limit, errors, last)
		try:
			through_pool(WRITE)
			if running == 0:
				first = time.monotonic() - start
			running += 1
		except Exception as error:
			running = 0
			errors += 1
			last = '%s %s' % (state_of(error), str(error).split('\n')[0])
			time.sleep(0.02)
	return 'ok\t%.0f\t%d\t%s' % (first * 1000, errors, last)


for line in sys.stdin:
	command, _, rest = line.rstrip('\n').partition(' ')
	start = time.monotonic()
	if command == 'quit':
		break
	if command == 'until':
		print(until(2 * SIZE, float(rest)), flush=True)
		continue
	try:
		what = do(command, rest)
		answer = 'ok\t%.0f\t%s' % ((time.monotonic() - start) * 1000, what)
	except Exception as error:
		kind = type(error)
		answer = 'error\t%.0f\t%s\t%s\t%s' % ((time.monotonic() - start) * 1000, state_of(error),
			'%s.%s' % (kind.__module__.split('.')[0], kind.__name__), str(error).split('\n')[0])
	print(answer, flush=True)
