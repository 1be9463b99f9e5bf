# What ends a wait at a gate beside what the isolation specs try: a terminate, a
# client that is gone, transaction_timeout (17), the postmaster's death; at the
# door of statements and at that of commits.  And what a waiter is told and shows.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $node = new_server('main', conf => "shared_preload_libraries = 'pg_freeze'\npg_freeze.max_wait = 0\npg_freeze.notice_after = -1\n");
make_application($node, tables => 2);
my $version = sql($node, 'SHOW server_version_num');
my $rows = 0;

sub freeze { return sql($node, "SET client_min_messages = warning; SELECT freeze_database(strategy => 'gate'" . ($_[0] || '') . ')'); }

# A session of the application that waits at a door of the freeze; its pid.
sub waiter
{
	my ($door, $before, $freeze) = @_;
	my $session = open_session($node, user => 'app');
	my $pid = $session->query_safe("SELECT pg_backend_pid();");
	my $insert = 'INSERT INTO app.writes (who) VALUES (1);';

	$session->query_safe($before) if $before;
	$session->query_safe("BEGIN; $insert") if $door eq 'commit';
	my $id = freeze($freeze);
	$session->query_until(qr/here/, "\\echo here\n" . ($door eq 'commit' ? 'COMMIT' : $insert) . ";\n");
	wait_until($node, "SELECT object = '$door' FROM freeze_waiters WHERE pid = $pid");
	return ($session, $pid, $id);
}

sub gone
{
	my ($pid) = @_;
	return $node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)");
}

# The freeze stands, and nothing of the waiter is there, then or later.
sub look
{
	my ($id, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(sql($node, "SELECT state, in_force, waiters FROM freeze_status WHERE id = $id"), 'frozen|t|0', "$what: the freeze stands, and nobody waits");
	is(sql($node, "SELECT held, lost_reason FROM thaw($id)"), 't|', "$what: and held");
	is(sql($node, 'SELECT count(*) FROM app.writes'), $rows, "$what: nothing was written");
	is(writing($node), 'done', "$what: others go on");
	$rows++;
	return;
}

foreach my $door ('statement', 'commit')
{
	# a terminate
	my ($session, $pid, $id) = waiter($door);
	is(sql($node, "SELECT pg_terminate_backend($pid)"), 't', "$door, terminated");
	ok(gone($pid), "$door, terminated: it goes");
	$session->{run}->kill_kill;
	look($id, "$door, terminated");

	# a client that is gone
	($session, $pid, $id) = waiter($door);
	$session->{run}->kill_kill;
	ok(gone($pid), "$door, client gone: it goes");
	look($id, "$door, client gone");

	# a server that ends
	($session, $pid, $id) = waiter($door);
	$node->stop('fast');
	pass("$door: a fast shutdown does not wait for the thaw");
	$session->{run}->kill_kill;
	$node->start;
	look($id, "$door, shutdown");

	# the postmaster's death
	($session, $pid, $id) = waiter($door);
	$node->kill9;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	usleep(10_000) while -e "/proc/$pid" && time < $end;
	ok(!-e "/proc/$pid", "$door, postmaster killed: it goes");
	$session->{run}->kill_kill;
	start_again($node);
	look($id, "$door, postmaster killed");

	# idle_in_transaction_session_timeout is about who does nothing
	($session, $pid, $id) = waiter($door, q{SET idle_in_transaction_session_timeout = '300ms';}, q{, reason => 'patience'});
	sql($node, q{SELECT pg_sleep(0.8)});
	is(sql($node, "SELECT object FROM freeze_waiters WHERE pid = $pid"), $door, "$door: who waits is not idle");
	is(sql($node, "SELECT held FROM thaw($id)"), 't', "$door: thawed");
	is($session->query_safe(q{SELECT 'runs'}), 'runs', "$door: and it has gone on");
	$session->quit;
	is(sql($node, 'SELECT count(*) FROM app.writes'), ++$rows, "$door: and written");

	SKIP:
	{
		skip 'no transaction_timeout', 6 if $version < 170000;
		my $log = log_size($node);
		($session, $pid, $id) = waiter($door, q{SET transaction_timeout = '2s';});
		ok(gone($pid), "$door, transaction_timeout: it goes");
		ok($node->log_contains('terminating connection due to transaction timeout', $log), "$door, transaction_timeout: in the server's own words");
		$session->{run}->kill_kill;
		look($id, "$door, transaction_timeout");
	}

	# the notice, while it waits, and the wait event
	my $before = freeze_settings('notice_after', '200ms');
	($session, $pid, $id) = waiter($door, undef, q{, reason => 'a snapshot'});
	my $patience = time + $PostgreSQL::Test::Utils::timeout_default;
	while ($session->{stderr} !~ /waiting, because/ && time < $patience) { $session->{run}->pump_nb; usleep(10_000); }
	like($session->{stderr}, qr/NOTICE:  waiting, because database postgres is frozen\n.*DETAIL:  Freeze $id of database postgres, made by .* Reason: a snapshot\./s, "$door: a waiter is told");
	is(sql($node, "SELECT wait_event_type || ' ' || wait_event FROM pg_stat_activity WHERE pid = $pid"),
		$version < 170000 ? 'Extension Extension' : 'Extension PgFreezeGate', "$door: and shows a wait event");
	sql($node, "SELECT thaw($id)");
	freeze_settings('notice_after', $before);
	$session->query(q{SELECT 'runs'});
	$session->quit;
	is(sql($node, 'SELECT count(*) FROM app.writes'), ++$rows, "$door: and goes on");
}

# A setting for the calls to come; returns what it was.
sub freeze_settings
{
	my ($name, $value) = @_;
	my $was = sql($node, "SHOW pg_freeze.$name");

	sql($node, "ALTER DATABASE postgres SET pg_freeze.$name = '$value'");
	return $was;
}

# In mode all, who is in a statement is in flight: drain waits for it, hold doesn't.
my $reader = open_session($node, user => 'app');
my $pid = $reader->query_safe('SELECT pg_backend_pid();');
$reader->query_until(qr/here/, "\\echo here\nSELECT pg_sleep(3600);\n");
wait_until($node, "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $pid");
my ($state, undef, $err) = try_sql($node, q{SELECT freeze_database(mode => 'all', strategy => 'gate', in_flight => 'drain', drain_timeout => '300ms')});
is($state, '55P03', 'mode all, drain: a statement is waited for');
like($err, qr/DETAIL:.*\b$pid\b/s, 'and named');
is(join(',', live($node)), '', 'and nothing is frozen');
$reader->{run}->kill_kill;
sql($node, "SELECT pg_terminate_backend($pid)");

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
