# Not one row more: many clients write as the role while it is frozen and thawed
# in a loop.  And the ladder: who is cancelled and terminated by a drain.
#
# PF_CLIENTS (10) and PF_SECONDS (15) make it bigger.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $clients = $ENV{PF_CLIENTS} || 10;
my $seconds = $ENV{PF_SECONDS} || 15;
my $node = new_server('main', conf => "log_statement = none\nlog_min_error_statement = fatal\nlog_min_messages = fatal\n");
make_application($node, tables => 50);
my $before = privileges($node);
my $dir = PostgreSQL::Test::Utils::tempdir('pgbench');

# --- held -----------------------------------------------------------------

# pgbench ends a client at an error, and a frozen client gets errors: so the
# clients are DO blocks that catch them, each try a transaction of its own.
# The wait keeps a role that is refused from filling the machine.
append_to_file("$dir/write.sql", q{
DO $$
BEGIN
	FOR i IN 1 .. 50 LOOP
		BEGIN
			INSERT INTO app.writes (who) VALUES (pg_backend_pid());
		EXCEPTION WHEN insufficient_privilege THEN
			PERFORM pg_sleep(0.002);
		END;
		-- what a drain has to wait for
		IF random() < 0.3 THEN
			PERFORM pg_sleep(random() * 0.2);
		END IF;
		COMMIT;
	END LOOP;
END $$;
});
my ($out, $err) = ('', '');
my $bench = IPC::Run::start(
	[ $node->installed_command('pgbench'), '-n', '-c', $clients, '-j', '2', '-T', $seconds, '-f', "$dir/write.sql", '-U', 'app', $node->connstr('postgres') ],
	'<', \undef, '>', \$out, '2>', \$err);
wait_until($node, q{SELECT count(*) > 100 FROM app.writes});

my $end = time + $seconds - 2;
my ($cycles, $grown, $failed) = (0, 0, 0);
my $rows = sub { return sql($node, 'SELECT count(*) FROM app.writes'); };
while (time < $end)
{
	my $mode = $cycles % 3 == 2 ? 'all' : 'write';
	my ($state, $id, $message) = try_sql($node, "SELECT freeze_role('app', mode => '$mode', strategy => 'revoke', drain_timeout => '30 s')");
	if ($state ne '')
	{
		$failed++ or diag($message);
		next;
	}
	my $held = $rows->();
	foreach (1 .. 5)
	{
		my $now = $rows->();
		diag("cycle $cycles: " . ($now - $held) . ' rows came while frozen') if $now != $held && !$grown;
		$grown++ if $now != $held;
	}
	my $verdict = sql($node, "SELECT held IS DISTINCT FROM false, skipped FROM thaw($id)");
	if ($verdict ne 't|0')
	{
		diag("cycle $cycles: $verdict") unless $failed;
		$failed++;
	}
	$cycles++;
	wait_until($node, "SELECT count(*) > $held FROM app.writes");
}
$bench->finish;
is($grown, 0, 'after freeze_role returned, not one row more');
is($failed, 0, 'every freeze succeeded and held');
cmp_ok($cycles, '>', 5, 'and there were some');
unlike($err, qr/aborted|FATAL/, 'no client was thrown out');
same_privileges(privileges($node), $before, 'all privileges are back');
diag("$clients clients, $seconds s: $cycles freezes");

# --- the ladder -----------------------------------------------------------

my $ladder = q{SELECT freeze_role('app', strategy => 'revoke', drain_timeout => '300ms', on_drain_timeout => '%s')};
my $count = q{SELECT cancelled, terminated FROM (SELECT id, cancelled, terminated FROM freeze_status UNION ALL SELECT id, cancelled, terminated FROM freeze_history) x ORDER BY id DESC LIMIT 1};
$node->append_conf('postgresql.conf', q{pg_freeze.cancel_wait = '500ms'});
$node->reload;

sub idle_writer
{
	my $session = open_session($node, user => 'app');
	$session->query_safe('BEGIN; INSERT INTO app.t2 (id) VALUES (1);');
	return ($session, $session->query_safe('SELECT pg_backend_pid();'));
}

sub busy_writer
{
	my $call = start_sql($node, 'BEGIN; INSERT INTO app.t3 (id) VALUES (1); SELECT pg_sleep(1000);', user => 'app');
	wait_until($node, q{SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep')});
	return ($call, sql($node, q{SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'}));
}

sub there { return sql($node, "SELECT count(*) FROM pg_stat_activity WHERE pid = $_[0]"); }

# abort: nobody is touched, and the blockers are named
my ($idle, $idle_pid) = idle_writer();
my ($busy, $busy_pid) = busy_writer();
my ($state, undef, $said) = try_sql($node, sprintf $ladder, 'abort');
is($state, '55P03', 'abort: the drain timed out');
like($said, qr/DETAIL:.*\b$idle_pid\b/s, 'abort: the idle writer is named');
like($said, qr/DETAIL:.*\b$busy_pid\b/s, 'abort: and the busy one');
is(there($idle_pid) + there($busy_pid), 2, 'abort: nobody is touched');
is(sql($node, $count), '0|0', 'abort: and nobody counted');
same_privileges(privileges($node), $before, 'abort: all privileges are back');

# cancel: a statement ends, an idle transaction doesn't
($state, undef, $said) = try_sql($node, sprintf $ladder, 'cancel');
is($state, '55P03', 'cancel: an idle transaction has no statement that could be cancelled');
my ($ended) = finish_sql($busy);
is($ended, '57014', 'cancel: the busy one was cancelled');
is(there($idle_pid), '1', 'cancel: the idle one is still there');
same_privileges(privileges($node), $before, 'cancel: all privileges are back');
$idle->query_safe('ROLLBACK;');
$idle->quit;
($busy, $busy_pid) = busy_writer();
($state, my $id) = try_sql($node, sprintf $ladder, 'cancel');
is($state, '', 'cancel: a busy writer alone is no obstacle');
is(sql($node, $count), '1|0', 'cancel: and is counted');
is(sql($node, "SELECT rung, pid FROM freeze_sessions_signalled WHERE id = $id"), "cancel|$busy_pid", 'cancel: and listed');
finish_sql($busy);
sql($node, "SELECT thaw($id)");

# terminate: both go
($idle, $idle_pid) = idle_writer();
($busy, $busy_pid) = busy_writer();
($state, $id) = try_sql($node, sprintf $ladder, 'terminate');
is($state, '', 'terminate: nobody stays in the way');
is(there($idle_pid), '0', 'terminate: the idle one is gone');
my ($cancelled, $terminated) = split /\|/, sql($node, $count);
cmp_ok($cancelled, '>=', 1, 'terminate: the busy one was cancelled first');
is($terminated, '1', 'terminate: and only the idle one terminated');
finish_sql($busy);
$idle->{run}->finish;
sql($node, "SELECT thaw($id)");

# a prepared transaction: no signal helps
sql($node, q{BEGIN; INSERT INTO app.t4 (id) VALUES (1); PREPARE TRANSACTION 'two phases';}, user => 'app');
($state, undef, $said) = try_sql($node, sprintf $ladder, 'terminate');
is($state, '55P03', 'a prepared transaction is in the way of every freeze');
like($said, qr/DETAIL:.*two phases/s, 'and is named');
same_privileges(privileges($node), $before, 'all privileges are back');
sql($node, q{ROLLBACK PREPARED 'two phases'}, user => 'app');

# a superuser may have been the role: he is waited for, and never signalled
my $super = open_session($node);
$super->query_safe('BEGIN; SET LOCAL ROLE app; INSERT INTO app.t1 (id) VALUES (1);');
my $super_pid = $super->query_safe('SELECT pg_backend_pid();');
($busy, $busy_pid) = busy_writer();
($state, undef, $said) = try_sql($node, sprintf $ladder, 'terminate');
is($state, '55P03', 'a superuser who wrote is in the way of a freeze');
like($said, qr/DETAIL:.*\b$super_pid\b/s, 'and is named');
like($said, qr/HINT:.*superusers/s, 'and the hint says who has to end it');
finish_sql($busy);
is($super->query('SELECT 1;'), '1', 'but neither cancelled nor terminated');
same_privileges(privileges($node), $before, 'all privileges are back');
$super->query_safe('COMMIT;');
is(sql($node, 'SELECT count(*) FROM app.t1'), '1', 'and can commit');
$super->quit;
($state, $id) = try_sql($node, sprintf $ladder, 'abort');
is($state, '', 'then the role can be frozen');
sql($node, "SELECT thaw($id)");
same_privileges(privileges($node), $before, 'all privileges are back');
done_testing();
