# Mode write refuses nothing that is harmless; mode all refuses everything but
# what is needed to see and to end it.  action is reject, so that what is in
# the way is seen.

use strict;
use warnings FATAL => 'all';

use FindBin;
use lib $FindBin::RealBin, "$FindBin::RealBin/write_paths";
use IPC::Run ();
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Wire;

my $superuser = getpwuid $<;
my $node = new_server('main', streaming => 1, conf => q{
shared_preload_libraries = 'pg_freeze'
pg_freeze.strategy = 'gate'
pg_freeze.exempt_roles = 'observer'
pg_freeze.action = 'reject'
wal_level = logical
});
my $version = int(sql($node, 'SHOW server_version_num') / 10000);

sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE ROLE other LOGIN;
CREATE ROLE dba LOGIN;
CREATE ROLE observer LOGIN SUPERUSER;
CREATE DATABASE elsewhere;
CREATE SCHEMA app AUTHORIZATION app;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO dba;
SET ROLE app;
GRANT USAGE ON SCHEMA app TO other;
CREATE TABLE app.t (a int PRIMARY KEY, b text);
INSERT INTO app.t SELECT g, 'x' FROM generate_series(1, 1000) g;
CREATE TABLE app.p (a int GENERATED ALWAYS AS IDENTITY, b text) PARTITION BY LIST (b);
CREATE TABLE app.p1 PARTITION OF app.p FOR VALUES IN ('x');
CREATE SEQUENCE app.q;
CREATE VIEW app.v AS SELECT * FROM app.t;
CREATE MATERIALIZED VIEW app.m AS SELECT count(*) FROM app.t;
CREATE TYPE app.e AS ENUM ('one');
CREATE FUNCTION app.f(x int) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM app.t WHERE a < x); END';
CREATE PROCEDURE app.nothing() LANGUAGE plpgsql AS 'BEGIN PERFORM 1; COMMIT; PERFORM 2; END';
SELECT lo_from_bytea(4711, 'abc');
GRANT SELECT, INSERT ON app.t TO other, dba;
GRANT USAGE ON SCHEMA app TO dba;
RESET ROLE;
CREATE TABLE public.others (a int);
GRANT ALL ON public.others TO other;
});

my $observer = session('observer');

sub session
{
	my ($user, %more) = @_;
	return Wire->connect($node, user => $user, database => 'postgres', application_name => 'harmless', %more);
}

sub freeze
{
	my ($call) = @_;
	my $error = $observer->query("SELECT $call");
	die "$call: $error->{M}" if $error;
	return $observer->{rows}[0][0];
}

sub thaw
{
	my ($id) = @_;
	my $error = $observer->query("SELECT held FROM thaw($id)");
	die "thaw: $error->{M}" if $error;
	return $observer->{rows}[0][0];
}

sub statements_pass
{
	my ($what, $s, @sql) = @_;
	foreach my $sql (@sql)
	{
		my $error = $s->query($sql);
		ok(!$error, "$what: $sql") || diag "$error->{C} $error->{M}";
		$s->query('ROLLBACK') if $s->{state} eq 'E';
	}
	return;
}

sub command_passes
{
	my ($what, @command) = @_;
	my ($out, $err) = ('', '');
	my $good = IPC::Run::run([ @command ], '<', \undef, '>', \$out, '2>', \$err);
	ok($good && $err !~ /ERROR|FATAL/, "$what: " . join ' ', grep { !/^\/|host=/ } @command) || diag $err;
	return;
}

# ---- mode write --------------------------------------------------------------

my @reads = (
	'', ';', '-- ping', 'SELECT 1', 'VALUES (1)', 'TABLE app.t', 'SELECT version()', 'SELECT * FROM app.t ORDER BY b, a DESC', 'SELECT * FROM app.v',
	'SELECT * FROM app.m', 'SELECT * FROM app.p', 'SELECT last_value FROM app.q', 'SELECT app.f(10)', 'CALL app.nothing()', 'DO $$BEGIN PERFORM app.f(3); END$$',
	'WITH x AS MATERIALIZED (SELECT * FROM app.t) SELECT count(*) FROM x', 'SELECT a, row_number() OVER () FROM app.t LIMIT 3',
	'SELECT random(), clock_timestamp(), gen_random_uuid(), pg_sleep(0)', "SELECT set_config('work_mem', '5MB', false)", 'RESET work_mem', 'SHOW ALL',
	"SET search_path = app, public", 'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE', 'SELECT count(*) FROM app.t',
	'SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED', 'SET ROLE NONE', 'RESET ALL',
	'BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE', 'SELECT count(*) FROM app.t', 'SELECT pg_export_snapshot()', 'SAVEPOINT a',
	'LOCK TABLE app.t IN ACCESS SHARE MODE', 'ROLLBACK TO a', 'RELEASE a', 'COMMIT AND CHAIN', 'SELECT 1', 'ROLLBACK',
	'EXPLAIN SELECT * FROM app.t', 'EXPLAIN INSERT INTO app.t VALUES (0)', 'EXPLAIN (ANALYZE, BUFFERS) SELECT * FROM app.t', 'EXPLAIN TABLE app.t',
	'PREPARE p AS SELECT $1::int', 'EXECUTE p (1)', 'EXPLAIN EXECUTE p (1)', 'DEALLOCATE p', 'PREPARE w AS INSERT INTO app.t VALUES (0)', 'DEALLOCATE ALL',
	'BEGIN', 'DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT * FROM app.t', 'FETCH 3 FROM c', 'MOVE 10 FROM c', 'COMMIT', 'FETCH PRIOR FROM c', 'CLOSE c',
	'COPY app.t TO STDOUT', 'COPY (SELECT * FROM app.t) TO STDOUT', 'LISTEN x', 'UNLISTEN *', 'DISCARD PLANS', 'DISCARD SEQUENCES',
	'SELECT pg_advisory_lock(1), pg_try_advisory_lock(2), pg_advisory_unlock_all()', 'BEGIN', 'SELECT pg_advisory_xact_lock(3)', 'COMMIT',
	'SELECT lo_get(4711)', 'BEGIN', 'SELECT loread(lo_open(4711, 262144), 10)', 'COMMIT',
	'SELECT * FROM pg_stat_activity', 'SELECT * FROM pg_locks', 'SELECT * FROM pg_stat_user_tables', 'SELECT * FROM pg_stat_replication', 'SELECT * FROM pg_stat_database',
	'SELECT * FROM pg_settings', 'SELECT * FROM pg_sequences', 'SELECT * FROM pg_indexes', 'SELECT * FROM information_schema.columns', 'SELECT * FROM pg_prepared_xacts',
	"SELECT pg_relation_size('app.t'), pg_database_size('postgres'), pg_size_pretty(1::bigint)", "SELECT has_table_privilege('app.t', 'INSERT')",
	'SELECT pg_is_in_recovery(), pg_current_wal_lsn(), txid_current_snapshot(), txid_current_if_assigned(), pg_postmaster_start_time()',
	'SELECT pg_blocking_pids(pg_backend_pid())', 'SELECT pg_notification_queue_usage()', 'SELECT query_to_xml(\'SELECT 1\', true, true, \'\') IS NOT NULL',
	'SELECT * FROM freeze_status', 'SELECT * FROM freeze_waiters', 'SELECT * FROM freeze_blockers', 'SELECT * FROM freeze_history');

# made before the freeze
my @temp_before = (
	'CREATE TEMP TABLE tt (a int PRIMARY KEY, b text)', 'CREATE TEMP TABLE ti (a int GENERATED ALWAYS AS IDENTITY, b text)',
	'CREATE TEMP TABLE td (a int PRIMARY KEY, b text) ON COMMIT DELETE ROWS', 'CREATE TEMP TABLE ts (a serial, b text)',
	'CREATE TEMP VIEW tv AS SELECT * FROM tt', 'CREATE TEMP TABLE tp (a int) PARTITION BY LIST (a)', 'CREATE TEMP TABLE tp1 PARTITION OF tp FOR VALUES IN (1)',
	"CREATE FUNCTION pg_temp.told() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO ti (b) VALUES (new.b); RETURN new; END'",
	'CREATE TRIGGER told AFTER INSERT ON td FOR EACH ROW EXECUTE FUNCTION pg_temp.told()');
my @temp = (
	"INSERT INTO tt SELECT * FROM app.t", 'UPDATE tt SET b = NULL', 'DELETE FROM tt WHERE a > 500', "INSERT INTO tv VALUES (1001, 'v')",
	'MERGE INTO tt USING app.t s ON tt.a = s.a WHEN MATCHED THEN UPDATE SET b = s.b WHEN NOT MATCHED THEN INSERT VALUES (s.a, s.b)',
	'SELECT * FROM tt FOR UPDATE', "INSERT INTO ti (b) VALUES ('x')", 'INSERT INTO tp VALUES (1)',
	'BEGIN', "INSERT INTO td VALUES (1, 'd')", 'SAVEPOINT a', "INSERT INTO td VALUES (2, 'd')", 'ROLLBACK TO a', 'SELECT * FROM app.t', 'COMMIT',
	'BEGIN ISOLATION LEVEL SERIALIZABLE', "INSERT INTO tt VALUES (2000, 'x')", 'SELECT * FROM app.t', 'COMMIT',
	'DO $$BEGIN INSERT INTO tt VALUES (2000); EXCEPTION WHEN unique_violation THEN NULL; END$$',
	'BEGIN', 'DECLARE c CURSOR FOR SELECT * FROM tt FOR UPDATE', 'FETCH FROM c', "UPDATE tt SET b = 'c' WHERE CURRENT OF c", 'COMMIT',
	"INSERT INTO tt SELECT 3000, string_agg(md5(g::text), '') FROM generate_series(1, 1000) g", 'EXPLAIN ANALYZE DELETE FROM tt');
# \dconfig and others came later
my @backslash = map { "\\$_" } qw(d d+ dt+ di+ ds+ dv+ dm+ df+ dn+ du+ l+ dp dx+ dT+ db+ dD dE des+ det+ dew+ deu+ dRp+ dRs+ drds dO dC da dA dAc do dF dFd dL dy dP+ dg z dc dd ddp dS), 'd+ app.t',
	'd+ app.p', 'd app.q', 'd app.v', 'sf app.f', 'sv app.v', 'lo_list', 'conninfo', 'encoding';

foreach my $target ("freeze_role('app')", 'freeze_database()', 'freeze_cluster()')
{
	my ($what) = $target =~ /freeze_(\w+)/;
	my $s = session('app');
	$s->query($_) foreach @temp_before;
	my $mine = session($superuser);
	$mine->query('CREATE TEMP TABLE tt (a int)');
	my $refused = session('app');
	my $id = freeze($target);

	is($refused->query('INSERT INTO app.t VALUES (0)')->{C}, '25006', "$what: frozen");
	statements_pass($what, $s, @reads);
	statements_pass("$what, without temporary tables", $refused, 'DISCARD TEMP', 'DISCARD ALL');
	statements_pass("$what, superuser", $mine, 'SELECT * FROM app.t', 'CHECKPOINT', 'SELECT pg_switch_wal()', "SELECT pg_create_restore_point('x')", 'INSERT INTO tt VALUES (1)',
		'SELECT pg_reload_conf()', 'SELECT pg_rotate_logfile()', 'SELECT pg_stat_reset()', "SELECT pg_create_physical_replication_slot('x', true)",
		"SELECT pg_drop_replication_slot('x')", "SELECT pg_create_logical_replication_slot('y', 'test_decoding')", "SELECT pg_replication_slot_advance('y', pg_current_wal_lsn())",
		"SELECT * FROM pg_logical_slot_get_changes('y', NULL, NULL)", "SELECT pg_drop_replication_slot('y')", "SELECT pg_log_backend_memory_contexts(pg_backend_pid())",
		$version >= 15 ? "SELECT pg_backup_start('b', true)" : (), $version >= 15 ? 'SELECT * FROM pg_backup_stop(false)' : ());

	foreach my $user ('app', $superuser)
	{
		my $to = $node->connstr('postgres') . " user=$user";
		my $name = "$what, " . ($user eq 'app' ? 'ordinary' : 'superuser');
		my $directory = PostgreSQL::Test::Utils::tempdir();
		# some say that there is nothing, some are for superusers
		IPC::Run::run([ 'psql', '-X', '-o', '/dev/null', '-d', $to, map { ('-c', $_) } @backslash ], '<', \undef, '2>', \my $said);
		unlike($said, qr/frozen|FATAL|invalid command/, "$name: commands of psql");
		command_passes($name, 'psql', '-X', '-l', '-o', '/dev/null', '-d', $to);
		command_passes($name, 'pg_isready', '-d', $to);
		command_passes($name, 'pg_dump', '-n', 'app', '-d', $to);
		command_passes($name, 'pg_dump', '-Fd', '-j', '2', '-n', 'app', '-f', "$directory/dump", '-d', $to);
		command_passes($name, 'pg_dump', '-s', '-n', 'app', '--serializable-deferrable', '-d', $to);
	}
	command_passes($what, 'pg_dump', '-d', $node->connstr('postgres'));
	command_passes($what, 'pg_dumpall', '-g', '-d', $node->connstr('postgres'));
	command_passes($what, 'pg_basebackup', '-h', $node->host, '-p', $node->port, '-c', 'fast', '--no-sync', '-D', PostgreSQL::Test::Utils::tempdir() . '/backup');
	command_passes($what, 'pg_recvlogical', '-d', $node->connstr('postgres'), '--create-slot', '-S', 'r', '-P', 'test_decoding');
	command_passes($what, 'pg_recvlogical', '-d', $node->connstr('postgres'), '--drop-slot', '-S', 'r');

	# everybody and everything else
	if ($what ne 'cluster')
	{
		sql($node, 'CREATE TABLE made (a int); INSERT INTO made VALUES (1); VACUUM made; ANALYZE made; NOTIFY x; DROP TABLE made', db => 'elsewhere');
		pass("$what: other databases");
	}
	if ($what eq 'role')
	{
		statements_pass('another role', session('other'), 'INSERT INTO public.others VALUES (1)', 'UPDATE public.others SET a = 2', 'DELETE FROM public.others',
			'CREATE TEMP TABLE x (a int)', 'NOTIFY x', 'SELECT * FROM app.t', 'SELECT pg_current_xact_id()');
		statements_pass('a superuser', session($superuser), 'CREATE TABLE made (a serial)', 'INSERT INTO made DEFAULT VALUES', 'VACUUM app.t', 'ANALYZE app.t', 'REINDEX TABLE app.t',
			'REFRESH MATERIALIZED VIEW app.m', 'UPDATE app.t SET b = b WHERE a = 1', 'ALTER TABLE app.t SET (fillfactor = 90)', 'DROP TABLE made',
			'CREATE DATABASE made', 'DROP DATABASE made', "ALTER SYSTEM SET work_mem = '5MB'", 'ALTER SYSTEM RESET work_mem', 'VACUUM');
	}
	is(thaw($id), 't', "$what: held");
	$_->close foreach $s, $mine, $refused;

	# temporary tables: in the frozen session
	$s = session('app');
	$s->query($_) foreach @temp_before;
	$id = freeze($target);
	statements_pass("$what, temporary", $s, @temp);
	$s->{copy} = "5001\tx\n";
	statements_pass("$what, temporary", $s, 'COPY tt FROM STDIN');
	is($s->value('SELECT count(*) > 0 FROM tt'), 't', "$what: temporary tables were written to");
	# a limit that doc/leaks-gate.md names: which sequence it is can't be seen
	is($s->query("INSERT INTO ts (b) VALUES ('x')")->{C}, '25006', "$what: nextval of a serial column counts as nextval");
	is($s->query('TRUNCATE tt')->{C}, '25006', "$what: TRUNCATE of a temporary table changes pg_class");
	$s->close;
	is(thaw($id), 't', "$what: held");
}

# ---- mode all ----------------------------------------------------------------

my @passes_all = ('BEGIN', 'SAVEPOINT a', 'ROLLBACK TO a', 'COMMIT', "SET work_mem = '5MB'", 'SHOW work_mem', 'RESET work_mem', 'DEALLOCATE ALL', 'CLOSE ALL', 'DISCARD ALL', 'UNLISTEN *',
	'SELECT * FROM freeze_status', 'SELECT id, state FROM freeze_history', 'SELECT * FROM freeze_blockers', 'SELECT * FROM freeze_waiters', 'SELECT * FROM freeze_changes');
my @refused_all = ('SELECT 1', 'SELECT * FROM app.t', 'SELECT pg_sleep(0)', 'VALUES (1)', 'EXPLAIN SELECT 1', 'COPY (SELECT 1) TO STDOUT', 'DO $$BEGIN END$$', 'LISTEN x',
	'LOCK TABLE pg_class IN ACCESS SHARE MODE', 'SELECT now() FROM freeze_status, app.t', 'INSERT INTO app.t VALUES (0)', 'SELECT pg_advisory_lock(1)', 'TABLE pg_class');

foreach my $target (qw(role database))
{
	my $s = session($target eq 'role' ? 'app' : 'dba');
	my $mine = session($superuser);
	my $other = session('other');
	my $frozen = $target eq 'role' ? 'role app' : 'database postgres';
	my $freeze = $target eq 'role' ? "freeze_role('app', 'all')" : "freeze_database('postgres', 'all')";
	my $theirs = $target eq 'database' && $s->value("SELECT freeze_role('app')");
	my $id = freeze($freeze);

	statements_pass("mode all, $target", $s, @passes_all);
	foreach (@refused_all)
	{
		my $error = $s->query($_) || {};
		is_deeply([ @$error{qw(C M)} ], [ '55P03', "$frozen is frozen, nothing of it goes on" ], "mode all, $target: $_ is refused");
	}
	statements_pass("mode all, $target, a superuser", $mine, 'SELECT * FROM app.t', 'UPDATE app.t SET b = b WHERE a = 1', 'CREATE TABLE made (a int)', 'DROP TABLE made', 'VACUUM app.t');
	statements_pass("mode all, $target, a superuser who logs in", session($superuser), 'SELECT 1');
	if ($target eq 'role') { statements_pass("mode all, $target, another role", $other, 'SELECT * FROM app.t', 'INSERT INTO public.others VALUES (1)') }
	else { is($other->query('SELECT 1')->{C}, '55P03', "mode all, $target, another role") }
	if ($theirs)
	{
		is($s->query("SELECT thaw($id)")->{C}, '42501', "mode all, $target: who is frozen can't thaw what another has made");
		statements_pass("mode all, $target: but his own", $s, "SELECT freeze_extend($theirs, '1 hour')", "SELECT * FROM thaw($theirs)");
	}
	thaw($id);
	statements_pass("mode all, $target, after the thaw", $other, 'SELECT 1');
}

# pg_freeze acts as the first superuser inside: that he is frozen stops nobody else
sql($node, 'CREATE ROLE admin LOGIN SUPERUSER');
my $admin = session('admin');
foreach my $mode ('write', 'all')
{
	my $id = freeze("freeze_role('$superuser', '$mode')");
	statements_pass("the first superuser is frozen in mode $mode", $admin, 'SELECT * FROM freeze_status', "SELECT freeze_extend($id, '1 hour')",
		"SELECT freeze_alter($id, 'wait')", "SELECT freeze_role('other')", "SELECT thaw_role('other')", 'CREATE TABLE made (a int)', 'DROP TABLE made',
		"DO \$\$BEGIN PERFORM freeze_extend(0, '1 hour'); EXCEPTION WHEN OTHERS THEN NULL; END\$\$");
	statements_pass("the first superuser is frozen in mode $mode", $admin, "SELECT thaw($id)");
}
# nor does an error inside open a door
my $id = freeze("freeze_role('admin')");
$admin->query('BEGIN');
$admin->query("DO \$\$BEGIN PERFORM freeze_extend(0, '1 hour'); EXCEPTION WHEN OTHERS THEN NULL; END\$\$");
is($admin->query('INSERT INTO public.others VALUES (1)')->{C}, '25006', 'after an error of pg_freeze the door is closed');
$admin->query('ROLLBACK');
thaw($id);

$node->stop;
done_testing();
