# Gates in company: other libraries in shared_preload_libraries, before and after
# pg_freeze, and what writes in another database at the same time.
#
# What isn't installed can't be tested, and is named: only what comes with the
# server is everywhere.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my @preloadable = qw(pg_stat_statements auto_explain pgaudit set_user pg_cron pglogical);
my @others = qw(postgres_fdw dblink);
my %has = (auto_explain => 1);		# comes with the server, and is no extension

# ---- sessions and waiting ---------------------------------------------------

# Sends statements; returns at once.
sub say_to
{
	my ($session, $sql) = @_;

	$session->{stdin} .= "$sql;\n\\echo ended\n";
	# not pump(), which would wait for an answer
	$session->{run}->pump_nb while length $session->{stdin};
	return;
}

# Waits for what say_to() sent to end; its errors, '' if there are none.
sub ended
{
	my ($session) = @_;
	my $err;

	$session->query_until(qr/^ended$/m, '');
	$err = join "\n", grep { !/NOTICE|DETAIL|HINT|^$/ } split /\n/, $session->{stderr};
	$session->{stderr} = '';
	return $err;
}

sub close_all { $_->quit foreach @_; return; }

sub someone_waits
{
	my ($node, $door, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	ok($node->poll_query_until('a', "SELECT count(*) > 0 FROM freeze_waiters WHERE object LIKE '$door'"), $what);
	return;
}

# Whether a statement waits at a gate or is over: the id of the freeze, and what it says.
sub freeze
{
	my ($node, $what) = @_;
	return sql($node, "SELECT $what", db => 'a');
}

# Thaws the one live freeze, and expects it to have held.
sub thaw_held
{
	my ($node, $id, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(sql($node, "SELECT coalesce(held::text, 'unknown: ' || evidence), lost_reason FROM thaw($id)", db => 'a'), 'true|', $what);
	return;
}

# A statement waits while the role app is frozen, and goes on after that.
sub waits_while_frozen
{
	my ($node, $door, $statement, $what, %opt) = @_;
	my $session = open_session($node, db => 'a', user => $opt{user} || 'app');
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	$session->query_safe($opt{before}) if $opt{before};
	my $id = freeze($node, $opt{freeze} || q{freeze_role('app')});
	say_to($session, $statement);
	someone_waits($node, $door, "$what waits");
	if ($opt{unseen})
	{
		is(sql($node, $opt{unseen}, db => $opt{where} || 'a'), '0', "$what: nothing of it is there");
	}
	thaw_held($node, $id, "$what: held");
	is(ended($session), '', "$what goes on");
	isnt(sql($node, $opt{unseen}, db => $opt{where} || 'a'), '0', "$what: it is there now") if $opt{unseen};
	$session->quit;
	return;
}

# ---- a server with everything that there is ----------------------------------

sub make_server
{
	my ($name, @libraries) = @_;
	my $preload = join ', ', @libraries;
	my $node = new_server($name, stopped => 1, conf => qq{
wal_level = logical
shared_preload_libraries = '$preload'
pg_freeze.max_wait = 0
max_worker_processes = 40
max_wal_senders = 20
max_replication_slots = 20
wal_sender_timeout = '2s'
auto_explain.log_min_duration = 0
});
	my $socket = $node->host;

	# by libpq in one order, by a background worker in the other
	$node->append_conf('postgresql.conf', "cron.database_name = 'a'\ncron.host = '$socket'\n"
		. 'cron.use_background_workers = ' . ($libraries[0] eq 'pg_freeze' ? 'on' : 'off')) if $has{pg_cron};
	$node->append_conf('postgresql.conf', q{pgaudit.log = 'all'}) if $has{pgaudit};
	# recent minor releases
	$node->append_conf('postgresql.conf', q{output_plugin_libraries = 'pgoutput, test_decoding, pglogical_output'})
	  if $has{output_plugin_libraries};
	$node->start;
	sql($node, q{
CREATE ROLE app LOGIN;
CREATE ROLE ops LOGIN;
CREATE DATABASE a;
CREATE DATABASE b;
});
	sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE TABLE t (i int PRIMARY KEY);
ALTER TABLE t OWNER TO app;
GRANT ALL ON t TO ops;
}, db => 'a');
	sql($node, "CREATE EXTENSION $_", db => 'a') foreach grep { $_ !~ /^(auto_explain|pglogical)$/ && $has{$_} } @preloadable, @others;
	sql($node, q{CREATE TABLE far (i int PRIMARY KEY); ALTER TABLE far OWNER TO app}, db => 'b');
	return $node;
}

# ---- hooks --------------------------------------------------------------------

sub test_hooks
{
	my ($node) = @_;

	waits_while_frozen($node, 'statement', 'INSERT INTO t VALUES (1)', 'INSERT', unseen => 'SELECT count(*) FROM t WHERE i = 1');
	waits_while_frozen($node, 'statement', 'TRUNCATE t', 'TRUNCATE');
	waits_while_frozen($node, 'statement', 'CREATE TEMP TABLE x ()', 'DDL');
	sql($node, q{CREATE FUNCTION audited() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'}, db => 'a');
	waits_while_frozen($node, 'function', 'SELECT audited(), lo_create(4711)', 'a large object',
		unseen => 'SELECT count(*) FROM pg_largeobject_metadata WHERE oid = 4711');
	waits_while_frozen($node, 'commit', 'COMMIT', 'COMMIT', before => 'BEGIN; INSERT INTO t VALUES (2)',
		unseen => 'SELECT count(*) FROM t WHERE i = 2');
	waits_while_frozen($node, 'commit', q{PREPARE TRANSACTION 'p'}, 'PREPARE TRANSACTION', before => 'BEGIN; INSERT INTO t VALUES (3)',
		unseen => 'SELECT count(*) FROM pg_prepared_xacts');
	waits_while_frozen($node, 'commit', q{PREPARE TRANSACTION 'reader'}, 'PREPARE TRANSACTION of what has only read',
		before => 'BEGIN; SELECT count(*) FROM t', unseen => q{SELECT count(*) FROM pg_prepared_xacts WHERE gid = 'reader'});
	sql($node, q{ROLLBACK PREPARED 'reader'}, db => 'a');
	waits_while_frozen($node, 'commit', q{COMMIT PREPARED 'p'}, 'COMMIT PREPARED',
		unseen => 'SELECT count(*) FROM t WHERE i = 3');
	sql($node, q{CREATE PROCEDURE twice() LANGUAGE plpgsql
		AS 'BEGIN INSERT INTO t VALUES (4); COMMIT; INSERT INTO t VALUES (5); COMMIT; END'}, db => 'a');
	waits_while_frozen($node, 'statement', 'CALL twice()', 'a procedure that commits', unseen => 'SELECT count(*) FROM t WHERE i = 5');

	my $id = freeze($node, q{freeze_role('app', action => 'reject')});
	my $session = open_session($node, db => 'a', user => 'app');

	foreach my $i (1 .. 2)
	{
		say_to($session, 'INSERT INTO t VALUES (6)');
		like(ended($session), qr/role app is frozen, its sessions are read-only/, 'INSERT is refused');
		say_to($session, 'SELECT count(*) FROM t');
		is(ended($session), '', 'SELECT goes on');
		say_to($session, "BEGIN; INSERT INTO t VALUES (6); ROLLBACK");
		like(ended($session), qr/role app is frozen, its sessions are read-only/, 'in a transaction, too');
	}
	is((try_sql($node, 'SELECT lo_create(4712)', db => 'a', user => 'app'))[0], '25006', 'a large object is refused');
	thaw_held($node, $id, 'refusing has held');
	say_to($session, 'INSERT INTO t VALUES (6)');
	is(ended($session), '', 'INSERT goes on');
	$session->quit;

	if ($has{pg_stat_statements})
	{
		is(sql($node, q{SELECT sum(calls) FROM pg_stat_statements WHERE query = 'INSERT INTO t VALUES ($1)' AND toplevel
			AND dbid = (SELECT oid FROM pg_database WHERE datname = 'a')}, db => 'a'), '4', 'pg_stat_statements has counted what was done, and that only');
	}
	$node->stop;
	my $log = slurp_file($node->logfile);

	ok($log =~ /Query Text: INSERT INTO t VALUES \(1\);/, 'auto_explain has its plan') if $has{auto_explain};
	if ($has{pgaudit})
	{
		my $audited = () = $log =~ /AUDIT: SESSION,\d+,\d+,WRITE,INSERT,,,INSERT INTO t VALUES \(6\)/g;

		ok($log =~ /AUDIT: SESSION,\d+,\d+,$_/, "pgaudit has $_")
		  foreach 'WRITE,INSERT,,,INSERT INTO t VALUES \(1\)', q{MISC,PREPARE TRANSACTION,,,PREPARE TRANSACTION 'p'},
		  q{MISC,COMMIT PREPARED,,,COMMIT PREPARED 'p'}, 'FUNCTION,EXECUTE,FUNCTION,public.audited';
		is($audited, 5, 'pgaudit has what was refused');
	}
	ok($log !~ /((?:stack is not empty|PANIC|TRAP|by signal|XX000).*)/, 'the log has nothing that should not be there') or diag($1);
	$node->start;
	return;
}

# ---- set_user -------------------------------------------------------------------

sub test_set_user
{
	my ($node) = @_;
	my $app = open_session($node, db => 'a', user => 'app');
	my $ops = open_session($node, db => 'a', user => 'ops');

	sql($node, q{GRANT EXECUTE ON FUNCTION set_user_u(text) TO app; GRANT EXECUTE ON FUNCTION set_user(text) TO ops}, db => 'a');
	$app->query_safe(q{SELECT set_user_u('} . sql($node, 'SELECT current_user') . q{')});
	is($app->query_safe('SHOW is_superuser'), 'on', 'app has become a superuser');
	say_to($app, 'ALTER SYSTEM SET work_mem = 1024');
	like(ended($app), qr/ALTER SYSTEM blocked by set_user/, 'set_user sees its statements');
	$ops->query_safe(q{SELECT set_user('app')});

	my $id = freeze($node, q{freeze_role('app', in_flight => 'hold', action => 'reject')});

	say_to($app, 'INSERT INTO t VALUES (101)');
	like(ended($app), qr/role app is frozen/, 'app as superuser is stopped');
	say_to($app, 'ALTER SYSTEM SET work_mem = 1024');
	like(ended($app), qr/role app is frozen|ALTER SYSTEM blocked by set_user/, 'and by ALTER SYSTEM, too');
	say_to($ops, 'INSERT INTO t VALUES (102)');
	like(ended($ops), qr/role app is frozen/, 'who has become app is stopped');
	$ops->query_safe('SELECT reset_user()');
	say_to($ops, 'INSERT INTO t VALUES (103)');
	is(ended($ops), '', 'and no more when he has gone back');
	$app->query_safe('SELECT reset_user()');
	say_to($app, 'INSERT INTO t VALUES (104)');
	like(ended($app), qr/role app is frozen/, 'app is stopped as itself');
	thaw_held($node, $id, 'held');

	# who logged in as a superuser passes a gate of mode all, not who has become one
	$app->query_safe(q{SELECT set_user_u('} . sql($node, 'SELECT current_user') . q{')});
	$id = freeze($node, q{freeze_database('a', 'all', in_flight => 'hold', action => 'reject')});
	say_to($app, 'SELECT count(*) FROM t');
	like(ended($app), qr/database a is frozen, nothing of it goes on/, 'mode all stops who has become a superuser');
	is(sql($node, 'SELECT count(*) FROM t WHERE i IN (101, 102, 104)', db => 'a'), '0', 'and not who is one');
	sql($node, "SELECT thaw($id)", db => 'a');
	say_to($app, 'SELECT count(*) FROM t');
	is(ended($app), '', 'goes on');
	close_all($app, $ops);
	return;
}

# ---- pg_cron --------------------------------------------------------------------

# A job that runs when the server starts, while the gate is closed.
sub test_cron
{
	my ($node) = @_;
	my $done = 'SELECT count(*) FROM by_cron';

	sql($node, q{GRANT USAGE ON SCHEMA cron TO app; CREATE TABLE by_cron (i serial, who name DEFAULT session_user);
		GRANT ALL ON by_cron, by_cron_i_seq TO app}, db => 'a');
	sql($node, q{SELECT cron.schedule('@reboot', 'INSERT INTO by_cron DEFAULT VALUES')}, db => 'a', user => 'app');
	foreach my $target (q{freeze_role('app')}, q{freeze_database('a')})
	{
		my $before = sql($node, $done, db => 'a');
		my $id = freeze($node, $target);

		$node->restart;
		someone_waits($node, '%', "$target: the job, or pg_cron itself, waits");
		is(sql($node, $done, db => 'a'), $before, "$target: the job has done nothing");
		# who waits doesn't keep the server from stopping, and nothing is done then
		$node->restart;
		someone_waits($node, '%', "$target: waits again");
		is(sql($node, $done, db => 'a'), $before, "$target: nothing was done by the restart");
		sql($node, "SELECT thaw($id)", db => 'a');
		ok($node->poll_query_until('a', "SELECT count(*) = $before + 1 FROM by_cron"), "$target: the job goes on");
		ok($node->poll_query_until('a', q{SELECT status = 'succeeded' FROM cron.job_run_details ORDER BY runid DESC LIMIT 1}),
			"$target: and succeeds");
	}
	sql($node, 'SELECT cron.unschedule(jobid) FROM cron.job', db => 'a');
	return;
}

# ---- pglogical ------------------------------------------------------------------

sub test_pglogical
{
	my ($node) = @_;
	my %at = map { $_ => 'host=' . $node->host . ' port=' . $node->port . " dbname=$_" } qw(a b);

	sql($node, 'CREATE EXTENSION pglogical; CREATE TABLE copied (i int PRIMARY KEY); INSERT INTO copied VALUES (1)', db => 'b');
	sql($node, 'CREATE EXTENSION pglogical; CREATE TABLE copied (i int PRIMARY KEY)', db => 'a');
	sql($node, "SELECT pglogical.create_node('b', '$at{b}'); SELECT pglogical.replication_set_add_table('default', 'copied')", db => 'b');
	sql($node, "SELECT pglogical.create_node('a', '$at{a}'); SELECT pglogical.create_subscription('s', '$at{b}')", db => 'a');
	# its supervisor looks every three minutes where it has missed that there is something to do
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	while (sql($node, 'SELECT count(*) FROM copied', db => 'a') eq '0' && time < $end)
	{
		sql($node, q{SELECT pglogical.alter_subscription_enable('s')}, db => 'a');
		usleep(500_000);
	}
	is(sql($node, 'SELECT count(*) FROM copied', db => 'a'), '1', 'pglogical copies');
	ok($node->poll_query_until('a', q{SELECT status = 'replicating' FROM pglogical.show_subscription_status()}), 'and replicates');

	# what it has got and not applied when the gate is closed is there after the thaw
	my $id = freeze($node, q{freeze_database('a')});

	sql($node, 'INSERT INTO copied SELECT generate_series(2, 10)', db => 'b');
	someone_waits($node, 'commit', 'it waits when it commits');
	# a publisher that gets no answer drops it after wal_sender_timeout
	my $offset = log_size($node);
	$node->wait_for_log(qr/terminating walsender process due to replication timeout/, $offset);
	is(sql($node, 'SELECT count(*) FROM copied', db => 'a'), '1', 'nothing was applied');
	thaw_held($node, $id, 'held');
	ok($node->poll_query_until('a', 'SELECT count(*) = 10 FROM copied'), 'it catches up');
	is((try_sql($node, "SELECT freeze_database('b')", db => 'b'))[0], '42883', 'pg_freeze is not in b');

	# the publisher's side needs nothing that a gate stops
	$id = freeze($node, q{freeze_database('b')});
	is((try_sql($node, q{SET pg_freeze.max_wait = 1; INSERT INTO copied VALUES (11)}, db => 'b', user => 'app'))[0], '42501', 'app may not');
	thaw_held($node, $id, 'the publisher held');
	sql($node, 'INSERT INTO copied VALUES (11)', db => 'b');
	ok($node->poll_query_until('a', 'SELECT count(*) = 11 FROM copied'), 'it goes on');
	sql($node, q{SELECT pglogical.drop_subscription('s')}, db => 'a');
	return;
}

# ---- postgres_fdw -----------------------------------------------------------------

# The server's module commits in b before the commit in a is done; that must be
# behind the door, however the foreign table was written to, also where that was
# the first time in this session.
sub test_fdw
{
	my ($node) = @_;
	my $n = 0;

	sql($node, q{CREATE SERVER b FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '} . $node->host . q{', port '} . $node->port . q{', dbname 'b');
CREATE USER MAPPING FOR PUBLIC SERVER b OPTIONS (user 'app', password_required 'false');
CREATE FOREIGN TABLE far (i int) SERVER b;
CREATE TABLE parts (i int) PARTITION BY RANGE (i);
CREATE FOREIGN TABLE far_part PARTITION OF parts FOR VALUES FROM (0) TO (1000000) SERVER b OPTIONS (table_name 'far');
CREATE TABLE near (i int);
CREATE TABLE late (i int);
CREATE FUNCTION to_far() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO far VALUES (NEW.i); RETURN NULL; END';
CREATE FUNCTION paused() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(NEW.i); RETURN NULL; END';
CREATE TRIGGER to_far AFTER INSERT ON near FOR EACH ROW EXECUTE FUNCTION to_far();
CREATE CONSTRAINT TRIGGER to_far AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION to_far();
CREATE TABLE single (i int);
CREATE CONSTRAINT TRIGGER paused AFTER INSERT ON single DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION paused();
CREATE PROCEDURE to_both(n int) LANGUAGE plpgsql AS 'BEGIN INSERT INTO t VALUES (n); INSERT INTO far VALUES (n); END';
GRANT ALL ON far, parts, far_part, near, late, single TO ops;
GRANT pg_execute_server_program TO ops;
GRANT USAGE ON FOREIGN SERVER b TO ops}, db => 'a');

	foreach my $way (
		[ 'INSERT', 'INSERT INTO far VALUES (%d)' ],
		[ 'INSERT, before the first local write', 'INSERT INTO far VALUES (%d); INSERT INTO t VALUES (1000000 + %1$d)' ],
		[ 'INSERT in a CTE', 'WITH x AS (INSERT INTO far VALUES (%d) RETURNING i) SELECT * FROM x' ],
		[ 'INSERT by a partition', 'INSERT INTO parts VALUES (%d)' ],
		[ 'COPY', "COPY far FROM PROGRAM 'echo %d'" ],
		[ 'COPY by a partition', "COPY parts FROM PROGRAM 'echo %d'" ],
		[ 'a trigger', 'INSERT INTO near VALUES (%d)' ],
		[ 'a deferred trigger', 'INSERT INTO late VALUES (%d); SET CONSTRAINTS ALL IMMEDIATE' ],
		[ 'a procedure', 'CALL to_both(%d)' ],
		[ 'a cursor', 'DECLARE c CURSOR FOR SELECT * FROM far WHERE i = 2001 FOR UPDATE; FETCH ALL FROM c; UPDATE far SET i = %d WHERE i = 2001' ],
		[ 'a prepared statement', 'PREPARE s AS INSERT INTO far VALUES ($1); EXECUTE s(%d)' ],
		[ 'after a savepoint', 'SAVEPOINT x; INSERT INTO far VALUES (0); ROLLBACK TO x; INSERT INTO far VALUES (%d)' ]
	  )
	{
		my ($what, $statement) = @$way;

		$n++;
		waits_while_frozen($node, 'commit', 'COMMIT', "postgres_fdw, $what", user => 'ops', freeze => q{freeze_database('a')},
			before => sprintf("BEGIN; INSERT INTO t VALUES (%d); $statement", 1000 + $n, 2000 + $n),
			unseen => 'SELECT count(*) FROM far WHERE i = ' . (2000 + $n), where => 'b');
	}

	# a transaction of one statement, which has only its commit left when the gate is closed
	my $holder = open_session($node, db => 'a');
	my $single = open_session($node, db => 'a', user => 'ops');

	$holder->query_safe('SELECT pg_advisory_lock(4000)');
	say_to($single, 'WITH x AS (INSERT INTO single VALUES (4000)) INSERT INTO far VALUES (4000)');
	wait_until($node, q{SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted}, db => 'a');
	my $id = freeze($node, q{freeze_database('a')});
	$holder->quit;
	someone_waits($node, 'commit', 'a statement by itself waits');
	is(sql($node, 'SELECT count(*) FROM far WHERE i = 4000', db => 'b'), '0', 'nothing of it is in b');
	thaw_held($node, $id, 'held');
	is(ended($single), '', 'it goes on');
	is(sql($node, 'SELECT count(*) FROM far WHERE i = 4000', db => 'b'), '1', 'it is in b');

	# refused: in neither
	$single->query_safe('BEGIN; INSERT INTO t VALUES (5000); INSERT INTO far VALUES (5000)');
	$id = freeze($node, q{freeze_database('a', action => 'reject', in_flight => 'hold')});
	say_to($single, 'COMMIT');
	like(ended($single), qr/database a is frozen, its sessions are read-only/, 'COMMIT is refused');
	thaw_held($node, $id, 'held');
	is(sql($node, 'SELECT count(*) FROM far WHERE i = 5000', db => 'b'), '0', 'nothing is in b');
	is(sql($node, 'SELECT count(*) FROM t WHERE i = 5000', db => 'a'), '0', 'nor in a');

	# the other end's role is frozen: both ends stop, and one after the other goes on
	foreach my $in_flight ('hold', 'drain')
	{
		my $both = open_session($node, db => 'a', user => 'app');
		my $i = $in_flight eq 'hold' ? 6000 : 6001;

		sql($node, 'GRANT ALL ON far TO app; GRANT USAGE ON FOREIGN SERVER b TO app', db => 'a');
		$both->query_safe("BEGIN; INSERT INTO t VALUES ($i); INSERT INTO far VALUES ($i)");
		if ($in_flight eq 'hold')
		{
			$id = freeze($node, q{freeze_role('app')});
			say_to($both, 'COMMIT');
			someone_waits($node, 'commit', 'the role of both ends: waits');
		}
		else
		{
			my $freezer = open_session($node, db => 'a');

			say_to($freezer, q{SELECT freeze_role('app', in_flight => 'drain', drain_timeout => '60s')});
			wait_until($node, q{SELECT count(*) = 1 FROM freeze_status WHERE state = 'draining'}, db => 'a');
			say_to($both, 'COMMIT');
			is(ended($both), '', 'the role of both ends, while it drains: commits');
			is(ended($freezer), '', 'and then it is frozen');
			$freezer->quit;
			$id = sql($node, 'SELECT id FROM freeze_status', db => 'a');
		}
		thaw_held($node, $id, "the role of both ends, $in_flight: held");
		is(ended($both), '', 'it goes on') if $in_flight eq 'hold';
		is(sql($node, "SELECT count(*) FROM far WHERE i = $i", db => 'b'), '1', 'it is in b');
		$both->quit;
	}
	$single->quit;

	# what only reads there is not in the way
	$id = freeze($node, q{freeze_database('a')});
	is((try_sql($node, 'SELECT count(*) FROM far', db => 'a', user => 'ops'))[0], '', 'a foreign table can be read');
	thaw_held($node, $id, 'held');
	return;
}

# ---- dblink -----------------------------------------------------------------------

# Another connection is another session: it belongs to what it belongs to.
sub test_dblink
{
	my ($node) = @_;
	my $here = 'host=' . $node->host . ' port=' . $node->port;
	my $session = open_session($node, db => 'a', user => 'ops');

	sql($node, 'GRANT EXECUTE ON FUNCTION dblink_connect_u(text), dblink_connect_u(text, text) TO ops', db => 'a');
	$session->query_safe("SELECT dblink_connect_u('b', '$here dbname=b user=app'), dblink_connect_u('a', '$here dbname=a user=app')");
	my $id = freeze($node, q{freeze_database('a')});

	say_to($session, q{SELECT dblink_exec('b', 'INSERT INTO far VALUES (7000)')});
	is(ended($session), '', 'what dblink writes in b is no matter of a');
	say_to($session, q{SELECT dblink_exec('a', 'INSERT INTO t VALUES (7000)')});
	someone_waits($node, 'statement', 'what dblink writes in a waits');
	is(sql($node, 'SELECT count(*) FROM t WHERE i = 7000', db => 'a'), '0', 'it is not there');
	thaw_held($node, $id, 'held');
	is(ended($session), '', 'it goes on');

	$id = freeze($node, q{freeze_role('app', action => 'reject')});
	say_to($session, q{SELECT dblink_exec('b', 'INSERT INTO far VALUES (7001)')});
	like(ended($session), qr/role app is frozen, its sessions are read-only/, 'the role of the other end is frozen');
	thaw_held($node, $id, 'held');
	$session->quit;
	return;
}

# ---- what is there, in both orders ---------------------------------------------------

my $probe = new_server('probe');
$has{$_} = 1 foreach split /\n/, sql($probe, q{SELECT name FROM pg_available_extensions
	UNION ALL SELECT name FROM pg_settings WHERE name = 'output_plugin_libraries'});
my @missing = grep { !$has{$_} } @preloadable, @others;
my @found = grep { $has{$_} } @preloadable;
$probe->stop;

plan skip_all => 'this server has no contrib' if !$has{postgres_fdw};
diag(scalar(@missing) . ' of ' . (@preloadable + @others) . ' not installed, so NOT TESTED: ' . join(', ', @missing)) if @missing;

foreach my $order ([ 'pg_freeze', @found ], [ reverse(@found), 'pg_freeze' ])
{
	my $name = $order->[0] eq 'pg_freeze' ? 'first' : 'last';
	my $node = make_server($name, @$order);

	note 'shared_preload_libraries = ' . join ', ', @$order;
	subtest("pg_freeze $name: hooks", sub { test_hooks($node) });
	subtest("pg_freeze $name: set_user", sub { test_set_user($node) }) if $has{set_user};
	subtest("pg_freeze $name: postgres_fdw", sub { test_fdw($node) });
	subtest("pg_freeze $name: dblink", sub { test_dblink($node) });
	subtest("pg_freeze $name: pg_cron", sub { test_cron($node) }) if $has{pg_cron};
	subtest("pg_freeze $name: pglogical", sub { test_pglogical($node) }) if $has{pglogical};
	$node->stop;
}

done_testing();
