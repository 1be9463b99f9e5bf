# Strategy lock where something is short: the lock table, worker slots,
# transaction ids.  Nothing is locked then, and the message says what to raise.
#
# PF_RELATIONS (3000): how many relations.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use List::Util qw(min);
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $relations = $ENV{PF_RELATIONS} || 3000;

sub nothing_locked
{
	my ($node, $what, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(join(',', live($node, %opt)), '', "$what: nothing is live");
	is(strong_locks($node, %opt), '0', "$what: nothing is locked");
	is(writing($node, %opt), 'done', "$what: the application writes");
	return;
}

# --- the lock table -------------------------------------------------------

# without autovacuum the locks in use are the same each time
my $node = new_server('room', conf => "autovacuum = off\nmax_connections = 40\nmax_locks_per_transaction = 24\n");
make_application($node, tables => 3);
sql($node, 'CREATE SCHEMA big');
# by portions: each relation made is a lock in the transaction that makes it
sub make_relations
{
	my ($from, $to) = @_;

	sql($node, "DO \$\$ BEGIN FOR i IN $from .. $to LOOP EXECUTE format('CREATE TABLE big.t%s (id int)', i); IF i % 100 = 0 THEN COMMIT; END IF; END LOOP; END \$\$");
	return;
}
make_relations(1, $relations);

my $freeze = q{SELECT freeze_schema('big', strategy => 'lock')};

# How many locks more or less would change the value of the hint.
my $margin;

sub refused
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($state, undef, $err) = try_sql($node, $freeze);

	is($state, '53200', "$what: refused") || diag($err);
	like($err, qr/DETAIL:/, "$what: with the facts");
	nothing_locked($node, $what);
	my ($needs) = $err =~ /HINT:[^\n]*max_locks_per_transaction\D+(\d+)/;
	ok($needs, "$what: and the value that the setting needs") || diag($err);
	my ($new, $used, $kept, $all) = $err =~ /DETAIL:  (\d+) locks are needed, (\d+) are in use and (\d+) are kept for others; there is room for (\d+)/;
	my $unit = $all / sql($node, 'SHOW max_locks_per_transaction');
	my $last_unit = ($new + $used + $kept - 1) % $unit + 1;
	$margin = min($last_unit, $unit - $last_unit);
	return $needs;
}

sub set_locks
{
	sql($node, "ALTER SYSTEM SET max_locks_per_transaction = $_[0]");
	$node->restart;
	return;
}

my $needs = refused('a lock table that is too small');
while ($margin < 20)
{
	# a few locks more or less in use would make a difference
	make_relations($relations + 1, $relations + 20);
	$relations += 20;
	$needs = refused("$relations relations");
}
my ($check, undef, $said) = try_sql($node, q{SELECT count(*) FROM freeze_check('schema', 'big', strategy => 'lock')});
is($check, '', 'freeze_check of it works') || diag($said);

set_locks($needs);
my ($state, $id, $err) = try_sql($node, $freeze);
is($state, '', 'with the value of the hint it succeeds') || diag($err);
my $pid = sql($node, "SELECT freeze_holder_pid($id)");
is(sql($node, qq{SELECT count(*) FROM pg_locks l JOIN pg_class c ON c.oid = l.relation AND c.relnamespace = 'big'::regnamespace
	WHERE l.pid = $pid AND l.granted AND l.mode = 'ExclusiveLock' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())}),
	$relations, 'each relation is locked');

# What is left is for the others: each backend may have some locks.
my $others = 10 * sql($node, 'SHOW max_connections');
is(statement_goes($node, "SELECT count(pg_advisory_xact_lock(i)) FROM generate_series(1, $others) i"), 'done', "and there is room for $others locks of others");
is(statement_goes($node, 'INSERT INTO big.t1 VALUES (1)'), 'waits', 'writing waits');
is(writing($node), 'done', 'elsewhere it goes on');
is(sql($node, "SELECT held IS DISTINCT FROM false FROM thaw($id)"), 't', 'it held');
is(statement_goes($node, 'INSERT INTO big.t1 VALUES (1)'), 'done', 'and lets go');

set_locks($needs - 1);
is(refused('with one less'), $needs, 'and the hint is the same');

# Locks that others hold count.
set_locks($needs);
my $locker = open_session($node);
my $many = 2 * sql($node, q{SELECT current_setting('max_connections')::int + current_setting('max_worker_processes')::int
	+ current_setting('max_wal_senders')::int + current_setting('max_prepared_transactions')::int + 10});
$locker->query_safe("SELECT count(pg_advisory_lock(i)) FROM generate_series(1, $many) i;");
cmp_ok(refused('with locks of others in use'), '>', $needs, 'locks of others are counted');
$locker->quit;
($state, $id, $err) = try_sql($node, $freeze);
is($state, '', 'when they are gone it succeeds') || diag($err);

# A second freeze of the same needs no room.
($state, my $second, $err) = try_sql($node, $freeze);
is($state, '', 'and a second time, as the same process holds both') || diag($err);
sql($node, "SELECT thaw($id)");
is(statement_goes($node, 'INSERT INTO big.t1 VALUES (1)'), 'waits', 'the second one holds by itself');
sql($node, "SELECT thaw($second)");
is(statement_goes($node, 'INSERT INTO big.t1 VALUES (1)'), 'done', 'until it is thawed too');

# auto falls back on revoke where there is no room.
set_locks($needs - 2);
($state, $id, $err) = try_sql($node, q{SELECT freeze_schema('big', strategy => 'auto')});
is($state, '', 'auto freezes a schema without room in the lock table') || diag($err);
is(sql($node, "SELECT strategy FROM freeze_journal WHERE id = $id"), 'revoke', 'by revoke') if $state eq '';
like($err, qr/NOTICE:[^\n]*revoke \([^\n]*(room|lock table)/, 'and the reason says so');
sql($node, 'SELECT count(*) FROM thaw_all()');
unlike(slurp_file($node->logfile), qr/out of shared memory|PANIC|TRAP|XX000/, 'the lock table never was full');
$node->stop;

# --- transaction ids --------------------------------------------------------

$node = new_server('age', conf => "autovacuum = off\n");
make_application($node, tables => 3);
my $age = q{SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()};
my $limit = 1000 + sql($node, $age);
$node->append_conf('postgresql.conf', "pg_freeze.lock_max_age = $limit");
$node->reload;

$id = sql($node, q{SELECT freeze_role('app', strategy => 'lock')});
is(writing($node), 'waits', 'frozen while the database is young enough');
my $log = log_size($node);
# in transactions that write nothing
sql($node, q{DO $$ BEGIN FOR i IN 1 .. 1500 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$});
cmp_ok(sql($node, $age), '>', $limit, 'the database is older now');
wait_until($node, "SELECT state = 'lost' AND NOT in_force AND holder IS NULL FROM freeze_status WHERE id = $id");
pass('the holder lets go by itself');
is(sql($node, "SELECT stays_lost AND lost_at >= frozen_at AND retaken_at IS NULL FROM freeze_journal WHERE id = $id"), 't', 'for good');
like(sql($node, "SELECT lost_reason FROM freeze_journal WHERE id = $id"), qr/lock_max_age/, 'and says why');
$node->wait_for_log(qr/pg_freeze: freeze $id\b[^\n]*\blost\b/, $log);
is(strong_locks($node), '0', 'nothing is locked');
is(writing($node), 'done', 'the application writes');

($state, undef, $err) = try_sql($node, q{SELECT freeze_role('app', strategy => 'lock')});
is($state, '55000', 'a new freeze is refused');
like($err, qr/lock_max_age|VACUUM/, 'with what helps') || diag($err);
next_call($node);
is(writing($node), 'done', 'and the lost one is not taken again');
($state) = try_sql($node, 'SELECT count(*) FROM thaw_all(require_held => true)');
is($state, '55000', 'it did not hold');
nothing_locked($node, 'thawed');

# what the hint says helps
$node->append_conf('postgresql.conf', 'pg_freeze.lock_max_age = 1000000000');
$node->reload;
my $end = time + $PostgreSQL::Test::Utils::timeout_default;
do { ($state, $id, $err) = try_sql($node, q{SELECT freeze_role('app', strategy => 'lock')}); } while ($state eq '55000' && time < $end);
is($state, '', 'with a higher limit it is frozen') || diag($err);
is(writing($node), 'waits', 'and the application waits');
sql($node, "SELECT thaw($id)");
$node->stop;

# --- worker slots -------------------------------------------------------------

# One slot is the logical replication launcher's; a freeze by lock needs three.
$node = new_server('slots', conf => "max_worker_processes = 5\nmax_parallel_workers = 0\n");
make_application($node, tables => 3);
sql($node, 'CREATE DATABASE filler');
make_application($node, tables => 3, db => 'filler', roles_exist => 1);
sql($node, 'GRANT INSERT ON other.t1 TO agent', db => 'filler');
my $before = privileges($node);
my $app = q{SELECT freeze_role('app', strategy => 'lock')};
my ($writer, $filler);

# A call in another database that waits for a writer takes two: the request's and
# the scheduler's.
sub fill_slots
{
	$writer = open_session($node, user => 'agent', db => 'filler');
	$writer->query_safe('BEGIN; INSERT INTO other.t1 (id) VALUES (1);');
	$filler = start_in_slot($node, q{SELECT freeze_role('agent', strategy => 'revoke', drain_timeout => '1 hour')},
		q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')}, db => 'filler', user => 'caller');
	return;
}

sub free_slots
{
	sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller' AND datname = 'filler'});
	finish_sql($filler);
	$writer->quit;
	wait_until($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type IN ('pg_freeze worker', 'pg_freeze scheduler') AND datname = 'filler'});
	return;
}

fill_slots();
($state, undef, $err) = try_sql($node, $app);
is($state, '53400', 'no worker slot for the holder') || diag($err);
like($err, qr/HINT:  Raise max_worker_processes \(now 5\)/, 'no worker slot for the holder: the hint says what to raise');
nothing_locked($node, 'no worker slot for the holder');
same_privileges(privileges($node), $before, 'no worker slot for the holder: nothing is changed');
free_slots();

$id = sql_with_slot($node, $app);
is(writing($node), 'waits', 'and the application waits');
fill_slots();

my $session = open_session($node);
$session->query_safe('BEGIN;');
$session->query("SELECT held FROM thaw($id);");
like($session->{stderr}, qr/WARNING:  no background worker is free: the thaw takes effect when this transaction commits/, 'thawing without a worker slot says when it takes effect');
$session->{stderr} = '';
is(writing($node), 'waits', 'not before COMMIT');
$session->query_safe('ROLLBACK;');
is(writing($node), 'waits', 'ROLLBACK undoes it');
is(sql($node, "SELECT state, in_force FROM freeze_status WHERE id = $id"), 'frozen|t', 'and the freeze is in force');

my $waiter = start_sql($node, 'INSERT INTO app.writes (who) VALUES (2);', user => 'app');
wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock')});
$session->query_safe('BEGIN;');
is($session->query("SELECT held IS DISTINCT FROM false FROM thaw($id);"), 't', 'thawing without a worker slot: it held');
$session->{stderr} = '';
$session->query_safe('COMMIT;');
is((finish_sql($waiter))[0], '', 'COMMIT lets the application go on');
is(sql($node, "SELECT state FROM freeze_journal WHERE id = $id"), 'thawed', 'and the freeze is thawed');
ok(goes_on($node), 'nobody holds anything any more');
wait_until($node, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_freeze holder')});
$session->quit;

# without a transaction of the caller's own
free_slots();
$id = sql_with_slot($node, $app);
fill_slots();
sql($node, "SELECT thaw($id)");
ok(goes_on($node), 'thawed by a single statement without a worker slot: the application goes on');

# The holder dies, and nobody can be started: the locks are lost until a slot is
# free, and then taken again.
free_slots();
$id = sql_with_slot($node, $app);
fill_slots();
sql($node, "SELECT pg_terminate_backend(freeze_holder_pid($id))");
wait_until($node, "SELECT state = 'lost' FROM freeze_status WHERE id = $id");
pass('the holder died while slots are few: lost');
free_slots();
wait_until($node, "SELECT in_force FROM freeze_status WHERE id = $id");
is(writing($node), 'waits', 'and taken again');
is(sql($node, "SELECT held FROM thaw($id)"), 'f', 'it did not hold');
nothing_locked($node, 'thawed');
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
