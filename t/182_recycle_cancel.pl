# Strategies disconnect and read_only: ^C, time-outs and terminates of the caller
# and of the worker while a freeze is made; somebody's open ALTER ROLE or ALTER
# DATABASE in the way of a freeze and of a thaw; no free background worker.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

# One slot is the logical replication launcher's; see "no free worker".
my $node = new_server('main', conf => "max_worker_processes = 4\nmax_parallel_workers = 0\nautovacuum = off\n");
make_application($node, tables => 2);
sql($node, q{
CREATE DATABASE shop CONNECTION LIMIT 50;
CREATE DATABASE filler;
ALTER ROLE app SET work_mem = '5MB';
ALTER ROLE app SET default_transaction_read_only = off;
ALTER ROLE app SET statement_timeout = '1h';
ALTER DATABASE shop SET work_mem = '6MB';
});
sql($node, q{
CREATE SCHEMA app AUTHORIZATION app;
SET ROLE app;
CREATE TABLE app.writes (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, who int);
}, db => 'shop');
make_application($node, tables => 2, db => 'filler', roles_exist => 1);
my $before = privileges($node);

# What freezes; what a statement of the target gets then (psql says no SQLSTATE of
# a login); what somebody else may be in the middle of, in the freeze's way.
my %kinds = (
	'disconnect role' => { call => q{freeze_role('app', mode => 'all', strategy => 'disconnect'}, stopped => '08000',
		alter => 'ALTER ROLE app CONNECTION LIMIT 7', back => 'ALTER ROLE app CONNECTION LIMIT -1' },
	'disconnect database' => { call => q{freeze_database('shop', mode => 'all', strategy => 'disconnect'}, stopped => '08000', db => 'shop',
		alter => 'ALTER DATABASE shop CONNECTION LIMIT 7', back => 'ALTER DATABASE shop CONNECTION LIMIT 50' },
	'disconnect cluster' => { call => q{freeze_cluster(mode => 'all', strategy => 'disconnect'}, stopped => '08000',
		alter => 'ALTER ROLE reader CONNECTION LIMIT 7', back => 'ALTER ROLE reader CONNECTION LIMIT -1' },
	'read_only role' => { call => q{freeze_role('app', strategy => 'read_only'}, stopped => '25006',
		alter => q{ALTER ROLE app SET lock_timeout = '1h'}, back => 'ALTER ROLE app RESET lock_timeout' },
	'read_only database' => { call => q{freeze_database('shop', strategy => 'read_only'}, stopped => '25006', db => 'shop',
		alter => q{ALTER DATABASE shop SET lock_timeout = '1h'}, back => 'ALTER DATABASE shop RESET lock_timeout' },
	# a row that isn't there yet
	'read_only cluster' => { call => q{freeze_cluster(strategy => 'read_only'}, stopped => '25006',
		alter => q{ALTER ROLE ALL SET lock_timeout = '1h'}, back => 'ALTER ROLE ALL RESET lock_timeout' });

my $other = open_session($node);

sub goes { return writing($node, db => $kinds{ $_[0] }{db} || 'postgres'); }

sub nothing_left
{
	my ($what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(join(',', live($node)), '', "$what: nothing is frozen");
	same_privileges(privileges($node), $before, "$what: nothing is changed");
	return;
}

# ---- the caller and the worker are interrupted ------------------------------------

foreach my $kind ('disconnect database', 'read_only role')
{
	foreach my $phase ('engaging', 'draining')
	{
		my $freeze = "SELECT $kinds{$kind}{call}, drain_timeout => '1 hour');";
		my ($writer, $call);
		my $block = sub {
			$other->query_safe("BEGIN; $kinds{$kind}{alter};") if $phase eq 'engaging';
			$writer = open_session($node, user => 'app', db => $kinds{$kind}{db});
			$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (0);') if $phase eq 'draining';
		};
		my $begin = sub {
			$block->();
			$call = start_sql($node, $freeze, user => 'caller');
			wait_until($node, "SELECT EXISTS (SELECT FROM freeze_journal WHERE state = '$phase')");
		};
		my $end_is = sub {
			my ($what) = @_;
			local $Test::Builder::Level = $Test::Builder::Level + 1;
			$other->query_safe('ROLLBACK;') if $phase eq 'engaging';
			wait_until($node, q{SELECT NOT EXISTS (SELECT FROM freeze_journal WHERE state IN ('engaging', 'draining'))});
			nothing_left($what);
			like(sql($node, 'SELECT state, end_reason FROM freeze_journal ORDER BY id DESC LIMIT 1'), qr/^aborted\|not frozen: /, "$what: it was aborted");
			# who was in a transaction goes on
			is($writer->query('COMMIT; SELECT 1;'), '1', "$what: who was in a transaction is there") if $phase eq 'draining';
			$writer->{run}->kill_kill;
			is(goes($kind), 'done', "$what: the target goes on");
		};

		$begin->();
		sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
		my ($state, undef, $err) = finish_sql($call);
		is($state, '57014', "$kind, $phase: a cancel ends the call") || diag($err);
		$end_is->("$kind, $phase, cancel");

		$block->();
		($state, undef, $err) = try_sql($node, "SET statement_timeout = '400ms'; $freeze");
		is($state, '57014', "$kind, $phase: statement_timeout ends the call") || diag($err);
		$end_is->("$kind, $phase, statement_timeout");

		$begin->();
		sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'});
		($state) = finish_sql($call);
		is($state, '57P01', "$kind, $phase: a terminate ends the caller");
		$end_is->("$kind, $phase, terminate");

		$begin->();
		sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze worker'});
		($state) = finish_sql($call);
		is($state, '57P01', "$kind, $phase: a terminate of the worker fails the call");
		$end_is->("$kind, $phase, worker terminated");
	}
}

# ---- somebody is changing the same row ------------------------------------------

foreach my $kind (sort keys %kinds)
{
	my ($call, $alter, $stopped) = @{ $kinds{$kind} }{qw(call alter stopped)};

	# In the way of a freeze.
	my $idle = open_session($node, user => 'app', db => $kinds{$kind}{db});
	my $session = $idle->query_safe('SELECT pg_backend_pid();');
	$other->query_safe("BEGIN; $alter;");
	my ($state, undef, $err) = try_sql($node, "SELECT $call, drain_timeout => '300ms')");
	is($state, '55P03', "$kind: refused while somebody is in the middle of an ALTER") || diag($err);
	is(sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $session"), '1', "$kind: no session was ended");
	nothing_left("$kind, somebody's ALTER");

	# He commits while the freeze waits for him: what he changed stays.
	my $running = start_sql($node, "SELECT $call, drain_timeout => '20s');", user => 'caller');
	wait_until($node, q{SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE a.backend_type = 'pg_freeze worker' AND NOT l.granted)
		OR EXISTS (SELECT FROM freeze_journal WHERE state = 'engaging')});
	$other->query_safe('COMMIT;');
	my $altered = privileges($node);
	($state, my $id, $err) = finish_sql($running);
	is($state, '', "$kind: frozen when the ALTER is committed") || diag($err);
	is(goes($kind), $stopped, "$kind: and the target is stopped");

	# In the way of a thaw.
	$other->query_safe("BEGIN; $kinds{$kind}{back};");
	$running = start_sql($node, "SELECT held, skipped FROM thaw($id);", user => 'caller');
	wait_until($node, "SELECT state = 'thawing' FROM freeze_journal WHERE id = $id");
	is(goes($kind), $stopped, "$kind: thawing waits for somebody's ALTER");
	$other->query_safe('COMMIT;');
	($state, my $row, $err) = finish_sql($running);
	is($state, '', "$kind: and is done when that is committed") || diag($err);
	like($row, qr/^[^f]*\|0$/, "$kind: nothing was skipped, and it held");
	nothing_left("$kind, both committed");
	is(goes($kind), 'done', "$kind: and the target goes on");
	$idle->{run}->kill_kill;
}

# ---- no free worker ----------------------------------------------------------------

# Another database's scheduler and a call there that waits for a writer take the
# last two slots; the one before that is the scheduler's of this database.
my ($writer, $filler);

sub fill_slots
{
	wait_until($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type = 'pg_freeze worker'});
	$writer = open_session($node, user => 'agent', db => 'filler');
	# read-only by default where the cluster is
	$writer->query_safe('BEGIN READ WRITE; INSERT INTO other.t1 (id) VALUES (1);');
	$filler = start_sql($node, q{SELECT freeze_role('agent', strategy => 'revoke', drain_timeout => '1 hour')}, db => 'filler', user => 'caller');
	wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining')}, db => 'filler');
	return;
}

sub free_slots
{
	sql($node, q{SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'caller' AND datname = 'filler'});
	finish_sql($filler);
	$writer->quit;
	wait_until($node, q{SELECT count(*) = 0 FROM pg_stat_activity WHERE backend_type LIKE 'pg_freeze %' AND datname IS DISTINCT FROM 'postgres'});
	return;
}

sql($node, 'GRANT INSERT ON other.t1 TO agent', db => 'filler');
foreach my $kind ('disconnect role', 'disconnect database', 'read_only role', 'read_only database', 'read_only cluster')
{
	my ($call, $stopped) = @{ $kinds{$kind} }{qw(call stopped)};
	my $id = sql($node, "SELECT $call)");
	my $frozen = privileges($node);

	fill_slots();
	my ($state, undef, $err) = try_sql($node, q{SELECT freeze_role('agent', mode => 'all', strategy => 'disconnect')});
	is($state, '53400', "$kind: no worker is free") || diag($err);
	same_privileges(privileges($node), $frozen, "$kind: and a freeze that is refused changes nothing");

	my $session = open_session($node);
	# whose default is read-only where the cluster is frozen
	$session->query('BEGIN READ WRITE;');
	my $row = $session->query("SELECT held IS DISTINCT FROM false, skipped FROM thaw($id);");
	is($row, 't|0', "$kind: a thaw without a worker") || diag($session->{stderr});
	like($session->{stderr}, qr/WARNING:  no background worker is free: the thaw takes effect when this transaction commits/, "$kind: says when it takes effect");
	is(goes($kind), $stopped, "$kind: not yet");
	$session->query('ROLLBACK;');
	same_privileges(privileges($node), $frozen, "$kind: ROLLBACK undoes it");
	is(sql($node, "SELECT state, in_force FROM freeze_status WHERE id = $id"), 'frozen|t', "$kind: the freeze is in force");

	$session->query("BEGIN READ WRITE; SAVEPOINT s; SELECT thaw($id); ROLLBACK TO s; COMMIT;");
	same_privileges(privileges($node), $frozen, "$kind: so does ROLLBACK TO");
	is(sql($node, "SELECT state, in_force FROM freeze_status WHERE id = $id"), 'frozen|t', "$kind: the freeze is in force");
	is(goes($kind), $stopped, "$kind: and stops the target");

	$session->query("BEGIN READ WRITE; SAVEPOINT s; SELECT thaw($id); RELEASE s; COMMIT;");
	is(sql($node, "SELECT state FROM freeze_journal WHERE id = $id"), 'thawed', "$kind: COMMIT makes it so");
	$session->{stderr} = '';
	$session->quit;
	nothing_left("$kind, thawed without a worker");
	is(goes($kind), 'done', "$kind: and the target goes on");
	free_slots();
}

$other->quit;
unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, 'nothing strange is in the log');
done_testing();
