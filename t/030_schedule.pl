# Thawing on schedule, without shared_preload_libraries: on time and not before,
# by one worker that sleeps and is in nobody's way.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = new_server('main', conf => "pg_freeze.remind_after = 1h\n");
make_application($node, tables => 10);
my $before = privileges($node);
my $scheduler = qr/pg_freeze scheduler/;

sub freeze { return sql($node, "SELECT freeze_role('$_[0]', strategy => 'revoke', thaw_after => '$_[1]')"); }
sub state_of { return sql($node, "SELECT state FROM freeze_journal WHERE id = $_[0]"); }
sub wait_thawed { return wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $_[0]", @_[ 1 .. $#_ ]); }
sub wait_for_time { return wait_until($node, "SELECT clock_timestamp() > '$_[0]'::timestamptz + interval '$_[1]'"); }

sub on_time
{
	my ($id, $what, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($early, $late, $why) = split /\|/,
	  sql($node, "SELECT thawed_at < thaw_at, thawed_at > thaw_at + interval '5 s', end_reason FROM freeze_journal WHERE id = $id", %opt);

	is($early, 'f', "$what: not before its time");
	is($late, 'f', "$what: nor long after it");
	like($why, qr/^thawed on schedule/, "$what: and that is written down");
	return;
}

# --- on time --------------------------------------------------------------

my $forgotten = freeze('reader', '0');
my $id = freeze('app', '2 s');
is(state_of($id), 'frozen', 'frozen until its time');
wait_thawed($id);
on_time($id, 'a freeze');

# Making it takes longer than it is to last: the scheduler looks in the middle.
my $writer = open_session($node, user => 'app');
$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (0);');
my $call = start_sql($node, q{SELECT freeze_role('app', strategy => 'revoke', thaw_after => '10 ms', drain_timeout => '1 min');});
wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_journal WHERE state = 'draining' AND engaged_at < clock_timestamp() - interval '1 s')});
$writer->query_safe('COMMIT;');
$writer->quit;
$id = (finish_sql($call))[1];
wait_thawed($id);
on_time($id, 'a freeze whose drain took longer than its hold');

# Several at once: each at its own time, by one process.
my $early = freeze('agent', '1 hour');
my $late = freeze('app', '2 s');
my $endless = freeze('other', '2 s');
my $old_time = sql($node, "SELECT max(thaw_at) FROM freeze_status WHERE id IN ($late, $endless)");
sql($node, "SELECT freeze_extend($late, '1 hour')");
is(sql($node, "SELECT freeze_extend($endless, '0')"), '', 'no deadline any more');
my $replaced = freeze('app', '2 s');
sql($node, "SELECT thaw($replaced)");
my $newer = freeze('app', '0');
my $at = sql($node, "SELECT freeze_extend($early, '1 s')");
wait_thawed($early);
on_time($early, 'a deadline that was brought forward');
is(sql($node, "SELECT thaw_at = '$at' FROM freeze_journal WHERE id = $early"), 't', 'freeze_extend returns the deadline');

wait_for_time($old_time, '1 s');
is(state_of($late), 'frozen', 'a deadline that was put off');
is(state_of($endless), 'frozen', 'a deadline that was removed');
is(state_of($newer), 'frozen', 'the timer of an old freeze leaves a newer one of the same target alone');

# --- asleep ---------------------------------------------------------------

SKIP:
{
	skip 'finds processes in /proc', 4 unless -r '/proc/self/status';

	# one may just be handing over to the next
	my $connected = q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_freeze scheduler' AND datname IS NOT NULL};
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;
	my @pids;
	my ($last, $same) = ('', 0);
	while ($same < 5 && time < $end)
	{
		select(undef, undef, undef, 0.1);
		@pids = backends($node, $scheduler);
		my $now = sql($node, $connected) eq '0' && @pids == 1 ? $pids[0] : '';
		$same = $now && $now eq $last ? $same + 1 : 0;
		$last = $now;
	}
	is(scalar @pids, 1, 'one scheduler for four live freezes');
	is(sql($node, $connected), '0', 'and it is connected to no database');

	# How often a process has gone to sleep.  The pause is what is measured.
	my $sleeps = sub {
		my ($pid) = @_;
		return slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s*(\d+)/m ? $1 : 'gone';
	};
	my $slept = $sleeps->($pids[0]);
	select(undef, undef, undef, 3);
	is($sleeps->($pids[0]), $slept, 'it does not wake up while nothing is due');
	is_deeply([ backends($node, $scheduler) ], \@pids, 'and it is still the same');
}

# --- the scheduler dies ---------------------------------------------------

# for the reminder below
sql($node, "ALTER SYSTEM SET pg_freeze.remind_after = '10s'");
sql($node, 'SELECT pg_reload_conf()');

sql($node, "SELECT freeze_extend($late, '2 s')");
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze scheduler'});
wait_thawed($late);
is(sql($node, "SELECT thawed_at >= thaw_at FROM freeze_journal WHERE id = $late"), 't', 'a terminated scheduler comes back and thaws');

# --- the reminder ---------------------------------------------------------

$node->wait_for_log(qr/pg_freeze: freeze $forgotten of role reader, made by \S+, has been in force since .* and has no deadline.*\n.*HINT:  To thaw it: SELECT \* FROM public\.thaw\($forgotten\);/);
pass('the log reminds of a freeze without a deadline, with the statement that thaws it');

sql($node, 'SELECT thaw_all()');
same_privileges(privileges($node), $before, 'all privileges are back');
if (-r '/proc/self/status')
{
	my $end = time + 60;
	while (backends($node, $scheduler) && time < $end) { select(undef, undef, undef, 0.1); }
	is_deeply([ backends($node, $scheduler) ], [], 'nobody is left when nothing is frozen');
}

# --- a restart ------------------------------------------------------------

$id = freeze('app', '1 s');
my $kept = freeze('agent', '1 hour');
$node->stop;
$node->start;
wait_for_time(sql($node, "SELECT thaw_at FROM freeze_journal WHERE id = $id"), '1 s');
is(state_of($id), 'frozen', 'after a restart, without preload, nobody is there');
sql($node, 'SELECT thaw(' . sql($node, q{SELECT freeze_schema('spare', strategy => 'revoke')}) . ')');
is(state_of($id), 'thawed', 'until the next call, which thaws what is due');
is(state_of($kept), 'frozen', 'and not what is not');
sql($node, "SELECT freeze_extend($kept, '1 s')");
wait_thawed($kept);
on_time($kept, 'from then on the schedule is kept again');
same_privileges(privileges($node), $before, 'all privileges are back');

$id = freeze('app', '0');
$node->append_conf('postgresql.conf', q{pg_freeze.on_restart = 'thaw'});
$node->reload;
sql($node, 'SELECT thaw(' . sql($node, q{SELECT freeze_schema('spare', strategy => 'revoke')}) . ')');
is(state_of($id), 'frozen', 'on_restart = thaw leaves what was frozen since the start');
$node->restart;
sql($node, 'SELECT thaw(' . sql($node, q{SELECT freeze_schema('spare', strategy => 'revoke')}) . ')');
is(state_of($id), 'thawed', 'on_restart = thaw thaws at the first call after a start');
like(sql($node, "SELECT end_reason FROM freeze_journal WHERE id = $id"), qr/on_restart is thaw/, 'and says so');
same_privileges(privileges($node), $before, 'all privileges are back');

done_testing();
