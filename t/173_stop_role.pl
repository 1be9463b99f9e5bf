# stop_role: nobody of the role is left and nobody gets in, whatever its sessions
# are at; the statement of the NOTICE gives everything back; and what fails on
# the way leaves nothing behind.  With pg_freeze preloaded and without.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = q{
max_connections = 300
superuser_reserved_connections = 10
};
my %node = (
	preloaded => new_server('preloaded', streaming => 1, conf => "$conf\nshared_preload_libraries = 'pg_freeze'\n"),
	plain => new_server('plain', conf => $conf));
my $node;
my $preloaded;

# A session as a socket, ready for a statement: hundreds of psql would be too many.
sub session
{
	my ($user, $database) = @_;
	my $socket = start_login($node, $user, database => $database || 'postgres');

	return until_ready($socket) eq 'Z' ? $socket : die "$user does not get in";
}

# The type of the message that ends what the server has to say.
sub until_ready
{
	my ($socket) = @_;

	while (1)
	{
		my ($type) = next_message($socket);
		return $type if $type =~ /[ZGHE]/;
	}
}

sub send_query
{
	my ($socket, $sql) = @_;

	$socket->print('Q' . pack('N', 5 + length $sql) . "$sql\0");
	$socket->flush;
	return $socket;
}

sub run_query
{
	my ($socket, $sql) = @_;

	return until_ready(send_query($socket, $sql));
}

# The SQLSTATE of the last error on a socket until the server has hung up.
sub last_words
{
	my ($socket) = @_;
	my $state = '';

	while (1)
	{
		my ($type, $body) = eval { next_message($socket) };
		die $@ if $@ =~ /timed out/;
		return $state unless defined $type;
		$state = login_result($type, $body) if $type eq 'E';
	}
}

sub login { my ($role, $database) = @_; return (connect_by($node, $node->connstr($database || 'postgres') . " user=$role"))[1]; }

my $kept_out = qr/is frozen, no login until it is thawed|is not permitted to log in/;

# (id, NOTICE, statement that undoes it, stderr)
sub stop
{
	my ($role, %opt) = @_;
	my ($state, $id, $err) = try_sql($node, "SELECT stop_role('$role', 'misbehaves')", %opt);

	is($state, '', "$role is stopped") || diag($err);
	my ($notice, $undo) = $err =~ /NOTICE:  00000: (role \S+ is stopped: .*; to undo it: (SELECT \* FROM \S+thaw_label\(.*\);))/;
	return ($id, $notice, $undo, $err);
}

sub undo
{
	my ($undo, %opt) = @_;
	my $before = $preloaded ? 2 : 1;

	is(sql($node, "SELECT count(*) || ' ' || bool_and(restored + skipped < 2) FROM ($undo) t" =~ s/;\)/)/r, %opt), "$before true", 'it is undone');
	return;
}

sub of_role { my ($role) = @_; return sql($node, "SELECT count(*) FROM pg_stat_activity WHERE usename = '$role'"); }

sub prepare
{
	sql($node, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE app LOGIN;
CREATE ROLE member LOGIN IN ROLE app;
CREATE ROLE other LOGIN;
CREATE ROLE boss LOGIN SUPERUSER;
CREATE ROLE team NOLOGIN;
CREATE ROLE player LOGIN IN ROLE team;
CREATE ROLE oncall LOGIN;
CREATE TABLE t (i int, note text);
CREATE TABLE held (i int);
GRANT ALL ON t, held TO PUBLIC;
GRANT EXECUTE ON FUNCTION stop_role, thaw_label TO oncall;
});
	sql($node, 'CREATE DATABASE elsewhere');
	sql($node, 'CREATE EXTENSION pg_freeze', db => 'elsewhere');
	return;
}

# --- whatever its sessions are at ---------------------------------------------

sub everything
{
	my $before = privileges($node);
	my %session = map { $_ => session('app') } qw(long idle_in_transaction writer lock copy_in copy_out stubborn cursor cancelled);

	send_query($session{long}, 'SELECT pg_sleep(600)');
	is(run_query($session{idle_in_transaction}, 'BEGIN; SELECT 1'), 'Z', 'a session is idle in a transaction');
	is(run_query($session{writer}, "BEGIN; INSERT INTO t VALUES (1, 'not committed')"), 'Z', 'one has written in one');
	is(run_query($session{lock}, 'BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE'), 'Z', 'one holds a lock');
	is(run_query($session{copy_in}, 'COPY t FROM STDIN'), 'G', 'one is in COPY FROM');
	is(run_query($session{copy_out}, "COPY (SELECT repeat('x', 10000) FROM generate_series(1, 100000)) TO STDOUT"), 'H', 'one in COPY TO, and does not read');
	send_query($session{stubborn}, q{DO $$ BEGIN LOOP BEGIN PERFORM pg_sleep(600); EXCEPTION WHEN query_canceled THEN NULL; END; END LOOP; END $$});
	is(run_query($session{cursor}, 'DECLARE c CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)'), 'Z', 'one has an open cursor');
	send_query($session{cancelled}, 'UPDATE held SET i = 1');
	my @idle = map { session('app') } 1 .. 150;
	my @elsewhere = map { session('app', 'elsewhere') } 1 .. 10;
	my $waiter = session('other');
	send_query($waiter, 'INSERT INTO held VALUES (1)');
	my $member = session('member');
	wait_until($node, q{SELECT count(*) = 169 FROM pg_stat_activity WHERE usename = 'app'});
	wait_until($node, q{SELECT count(*) = 2 FROM pg_locks WHERE NOT granted AND relation = 'held'::regclass});

	my ($id, $notice, $undo, $err) = stop('app');
	is(of_role('app'), '0', 'nobody of it is left when that returns');
	like($notice, qr/^role app is stopped: 169 sessions ended; /, 'the NOTICE counts them');
	like($err, qr/DETAIL:  Leaks: members: other roles may act as it: member\./, 'and names what it does not stop');
	is(() = $err =~ /NOTICE|WARNING/g, 1, 'there is one NOTICE for all');
	# the server can't say it to a client that doesn't read
	is(last_words($session{$_}), $_ eq 'copy_out' ? '' : '57P01', "the session \"$_\" has heard that it was ended") for sort keys %session;
	is((grep { last_words($_) eq '57P01' } @idle, @elsewhere), 160, 'so have those that were idle');
	is(until_ready($waiter), 'Z', 'who waited for a lock of it goes on');
	like(login('app'), $kept_out, 'nobody gets in');
	like(login('app', 'elsewhere'), $kept_out, 'into another database neither');
	is(run_query($member, 'INSERT INTO t VALUES (1)'), $preloaded ? 'E' : 'Z', 'what a member does');
	is(run_query($waiter, 'INSERT INTO t VALUES (1)'), 'Z', 'others go on');
	is(sql($node, q{SELECT string_agg(strategy || ' ' || mode || ' ' || reason || ' ' || (thaw_at IS NULL), ', ' ORDER BY id) FROM freeze_status}),
		($preloaded ? 'gate all misbehaves true, ' : '') . 'disconnect all misbehaves true', 'the freezes, without a deadline');
	is(sql($node, q{SELECT id FROM freeze_status WHERE strategy = 'disconnect'}), $id, 'the id is that of the one that keeps it out');
	like(sql($node, 'SELECT DISTINCT label FROM freeze_status'), qr/^stop_role app \d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{1,3})?[-+]\d\d(?::\d\d)?\z/, 'with one label');
	is(sql($node, 'SELECT count(DISTINCT pid) FROM freeze_sessions_signalled'), '169', 'each session that was ended is written down');

	undo($undo);
	is(login('app'), '', 'then it logs in again');
	is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'nothing is frozen');
	same_privileges(privileges($node), $before, 'the catalogs are as they were');
	is(sql($node, 'SELECT count(*) FROM t WHERE i = 1 AND note IS NOT NULL'), '0', 'what was not committed is gone');
	$_->close for @idle, @elsewhere, $waiter, $member, values %session;
	return;
}

# --- whose role, called by whom, from where ------------------------------------

sub callers
{
	my ($id, $undo);

	# twice
	(undef, undef, my $first) = stop('app');
	(undef, my $notice, my $second) = stop('app');
	like($notice, qr/0 sessions ended/, 'the second time there is nobody to end');
	undo($first);
	like(login('app'), $kept_out, 'the other one still keeps it out');
	undo($second);
	is(login('app'), '', 'then it gets in');

	# from another database
	my $session = session('app');
	(undef, $notice, $undo) = stop('app', db => 'elsewhere');
	like($notice, qr/1 session ended/, 'from another database');
	is(last_words($session), '57P01', 'the session is ended');
	like(login('app'), $kept_out, 'and it does not get in');
	undo($undo, db => 'elsewhere');
	is(login('app'), '', 'then it does');

	# a role that may not log in but has sessions
	$session = session('app');
	sql($node, 'ALTER ROLE app NOLOGIN');
	(undef, $notice, $undo) = stop('app');
	like($notice, qr/1 session ended/, 'a role that may not log in, but is there');
	is(of_role('app'), '0', 'nobody of it is left');
	undo($undo);
	is(sql($node, q{SELECT rolcanlogin FROM pg_roles WHERE rolname = 'app'}), 'f', 'it still may not log in');
	sql($node, 'ALTER ROLE app LOGIN');

	# a role that others act as
	$session = session('player');
	is(run_query($session, 'SET ROLE team'), 'Z', 'a role that may not log in, but others act as it');
	if ($preloaded)
	{
		(undef, $notice, $undo) = stop('team');
		is(run_query($session, 'INSERT INTO t VALUES (1)'), 'E', 'the gate stops them');
		like(login('player'), $kept_out, 'and their logins');
		is(sql($node, "SELECT string_agg(strategy, ',') FROM ($undo) t" =~ s/;\)/)/r), 'gate', 'there was nothing to disconnect');
		is(run_query($session, 'INSERT INTO t VALUES (1)'), 'Z', 'then they go on');
	}
	else
	{
		my ($state, undef, $err) = try_sql($node, q{SELECT stop_role('team', NULL)});
		is($state, '55000', 'without a gate nothing of it can be stopped');
		like($err, qr/there is nothing to freeze/, 'which is said');
	}
	$session->close;

	# a superuser
	$session = session('boss');
	(undef, $notice, $undo) = stop('boss');
	like($notice, qr/1 session ended/, 'a superuser is stopped too');
	like(login('boss'), $kept_out, 'and does not get in');
	undo($undo);
	is(login('boss'), '', 'then he does');

	# oneself
	my ($state, undef, $err) = try_sql($node, q{SELECT stop_role('boss', 'no')}, user => 'boss');
	is($state, '55000', 'nobody stops himself');
	like($err, qr/DETAIL:  You are role boss, and could not log in again\./, 'and is told why');
	is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'before anything is frozen');

	# who may
	($state, undef, $err) = try_sql($node, q{SELECT stop_role('app', 'no')}, user => 'other');
	is($state, '42501', 'not everybody may');
	(undef, undef, $undo) = stop('app', user => 'oncall');
	undo($undo, user => 'oncall');
	($state) = try_sql($node, q{SELECT stop_role('boss', 'no')}, user => 'oncall');
	is($state, '42501', 'nor everybody everyone');
	sql($node, q{ALTER SYSTEM SET pg_freeze.max_hold = '10min'}) if $preloaded;
	$node->append_conf('postgresql.conf', 'pg_freeze.max_hold = 10min') unless $preloaded;
	$node->reload;
	wait_until($node, q{SELECT current_setting('pg_freeze.max_hold') = '10min'});
	($state, undef, $err) = try_sql($node, q{SELECT stop_role('app', 'no')}, user => 'oncall');
	is($state, '42501', 'nor without a deadline, where there must be one');
	my ($instead) = $err =~ /HINT:  With a deadline: (SELECT .*\);)/;
	sql($node, 'GRANT EXECUTE ON FUNCTION freeze_role, thaw_role TO oncall');
	sql($node, $instead, user => 'oncall');
	like(login('app'), $kept_out, 'the statement of the HINT does it with one');
	sql($node, q{SELECT * FROM thaw_role('app')}, user => 'oncall');
	(undef, undef, $undo) = stop('app');
	undo($undo);

	# a transaction that has written, and a writing statement
	($state) = try_sql($node, q{BEGIN; INSERT INTO t VALUES (1); SELECT stop_role('app', 'no')});
	is($state, '25001', 'not in a transaction that has written');
	($state) = try_sql($node, q{INSERT INTO t SELECT stop_role('app', 'no')});
	is($state, '25001', 'nor in a statement that is about to');
	($state) = try_sql($node, q{SELECT stop_role(NULL, 'no')});
	is($state, '22023', 'NULL is no role');
	($state) = try_sql($node, q{SELECT stop_role('nobody_there', 'no')});
	is($state, '42704', 'nor is one that does not exist');
	is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'nothing is frozen');

	# a session that does not react
	$session = session('app');
	my $pid = sql($node, q{SELECT pid FROM pg_stat_activity WHERE usename = 'app'});
	my $before = log_size($node);
	kill 'STOP', $pid;
	my $stop = start_sql($node, q{SET pg_freeze.terminate_wait = '50ms'; SET pg_freeze.drain_log_after = '500ms'; SELECT stop_role('app', 'now')});
	$node->wait_for_log(qr/pg_freeze: freeze \d+ waits for: session $pid /, $before);
	kill 'CONT', $pid;
	($state, undef, $err) = finish_sql($stop);
	is($state, '', 'it does not give up with a session that does not react') || diag($err);
	is(of_role('app'), '0', 'nobody is left');
	undo($err =~ /to undo it: (SELECT .*;)/);

	# settings are for other freezes
	$session = session('app');
	(undef, undef, $undo, $err) = do {
		my ($state, $id, $err) = try_sql($node, q{
SET pg_freeze.strategy = 'revoke'; SET pg_freeze.on_leak = 'error'; SET pg_freeze.thaw_after = '1h'; SET pg_freeze.disconnect_role = 'connect';
SET pg_freeze.idle_wait = '1h'; SET pg_freeze.on_drain_timeout = 'abort'; SET pg_freeze.action = 'wait';
SELECT stop_role('app', NULL)});
		is($state, '', 'whatever the settings are') || diag($err);
		my ($undo) = $err =~ /to undo it: (SELECT .*;)/;
		(undef, undef, $undo, $err);
	};
	is(last_words($session), '57P01', 'its sessions are ended');
	like(login('app'), $kept_out, 'it is kept out');
	is(sql($node, 'SELECT count(*) FROM freeze_status WHERE thaw_at IS NOT NULL'), '0', 'without a deadline');
	undo($undo);

	# names
	sql($node, q{CREATE ROLE "it's ""me""; \ " LOGIN});
	(my $state2, undef, $err) = try_sql($node, q{SELECT stop_role('it''s "me"; \ ', 'x')});
	is($state2, '', 'a role with a name') || diag($err);
	($undo) = $err =~ /to undo it: (SELECT .*;)/;
	undo($undo);
	return;
}

# --- what fails on the way --------------------------------------------------------

# stop_role that waits for a change of the role by somebody else
sub stuck
{
	my $changer = open_session($node);
	$changer->query_safe('BEGIN; ALTER ROLE app CONNECTION LIMIT 50');
	my $stop = start_sql($node, q{SELECT stop_role('app', 'now')});
	wait_until($node, q{SELECT count(*) = 1 FROM freeze_status WHERE strategy = 'disconnect' AND state = 'engaging'});
	return ($changer, $stop, sql($node, q{SELECT pid FROM pg_stat_activity WHERE query LIKE 'SELECT stop_role(%' AND backend_type = 'client backend'}));
}


sub failures
{
	sql($node, 'CREATE TABLE IF NOT EXISTS before AS SELECT max(id) FROM freeze_journal');
	my ($changer, $stop, $pid) = stuck();
	like(login('app'), $kept_out, 'while the second freeze is being made the gate keeps it out') if $preloaded;
	sql($node, "SELECT pg_cancel_backend($pid)");
	is((finish_sql($stop))[0], '57014', 'a cancel ends it');
	is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'nothing is left when it does');
	$changer->query_safe('ROLLBACK');
	is(sql($node, q{SELECT string_agg(strategy || ' ' || state, ',' ORDER BY id) FROM freeze_journal WHERE id > (SELECT max FROM before)}),
		$preloaded ? 'gate thawed,disconnect aborted' : 'disconnect aborted', 'the journal has how they ended');
	is(login('app'), '', 'and the role logs in');
	$changer->quit;

	($changer, $stop, $pid) = stuck();
	my $before = log_size($node);
	sql($node, "SELECT pg_terminate_backend($pid)");
	is((finish_sql($stop))[0], '57P01', 'its session is ended');
	$changer->query_safe('ROLLBACK');
	wait_until($node, 'SELECT count(*) = 0 FROM freeze_status');
	is(login('app'), '', 'nothing is left after a moment');
	$changer->quit;

	return unless $preloaded;

	($changer, $stop, $pid) = stuck();
	my ($state, undef, $err) = finish_sql($stop);
	is($state, '55P03', 'it does not wait for ever for somebody who changes the role');
	is(sql($node, 'SELECT count(*) FROM freeze_status'), '0', 'nothing is left when it gives up');
	$changer->query_safe('ROLLBACK');
	is(login('app'), '', 'and the role logs in');
	$changer->quit;
	# a commit that does not end keeps the gate from being closed, but not the role from being stopped
	sql($node, q{ALTER SYSTEM SET synchronous_standby_names = 'nobody_there'});
	$node->reload;
	wait_until($node, q{SELECT current_setting('synchronous_standby_names') <> ''});
	my $committer = session('other');
	# commits wait only once the checkpointer has read the setting, too
	for (my ($try, $waits) = (1, 0); !$waits; $try++)
	{
		send_query($committer, "INSERT INTO t VALUES (1) -- try $try");
		wait_until($node, qq{SELECT count(*) = 1 FROM pg_stat_activity WHERE usename = 'other' AND query LIKE '% -- try $try'
			AND (wait_event = 'SyncRep' OR state = 'idle')});
		$waits = sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND usename = 'other'});
		until_ready($committer) unless $waits;
	}
	my $session = session('app');
	(undef, my $id, $err) = try_sql($node, q{SET pg_freeze.drain_timeout = 0; SELECT stop_role('app', 'now')});
	like($id, qr/^\d+\z/, 'no gate can be had') || diag($err);
	like($err, qr/WARNING:  01000: role app is disconnected, but no gate is closed for it: .*waits for a synchronous standby/, 'which is said, and why');
	is(last_words($session), '57P01', 'its session is ended all the same');
	like(login('app'), $kept_out, 'and it does not get in');
	is(sql($node, q{SELECT string_agg(strategy, ',') FROM freeze_status}), 'disconnect', 'by one freeze');
	my ($undo) = $err =~ /to undo it: (SELECT .*;)/;
	is(sql($node, "SELECT count(*) FROM ($undo) t" =~ s/;\)/)/r), '1', 'that is undone');
	is(login('app'), '', 'and it logs in');
	is(until_ready($committer), 'Z', 'who was committing has committed') if sql($node, q{ALTER SYSTEM RESET synchronous_standby_names; SELECT pg_reload_conf()});
	$_->close for $committer, $session;
	return;
}

sub no_worker
{
	sql($node, 'ALTER SYSTEM SET max_worker_processes = 1');
	$node->restart;
	my $session = session('app');
	my ($state, undef, $err) = try_sql($node, q{SELECT stop_role('app', 'now')});
	is($state, '53400', 'no worker slot');
	like($err, qr/HINT:  .*max_worker_processes/, 'with the setting to raise');
	is(run_query($session, 'SELECT 1'), 'Z', 'and nothing has happened');
	is(login('app'), '', 'nor will it');
	return;
}

foreach my $kind (qw(preloaded plain))
{
	$node = $node{$kind};
	$preloaded = $kind eq 'preloaded';
	note($kind);
	prepare();
	everything();
	callers();
	failures();
	no_worker();
	$node->stop;
}

done_testing();
