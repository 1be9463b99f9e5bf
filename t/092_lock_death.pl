# Strategy lock: whoever dies, the server included, a freeze either holds its
# locks, or takes them again and says that it did not hold, or is gone and
# nothing is locked.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $freeze = q{SELECT freeze_role('app', strategy => 'lock')};
my $node;
my $name;

sub column { return sql($node, "SELECT $_[1] FROM freeze_journal WHERE id = $_[0]", @_[ 2 .. $#_ ]); }
sub holder { return sql($node, "SELECT freeze_holder_pid($_[0])", @_[ 1 .. $#_ ]); }

# Somebody has written and not committed: a freeze keeps trying.
my $writer;
sub writer_begins
{
	$writer = open_session($node, user => 'app');
	$writer->query_safe('BEGIN; INSERT INTO app.t2 (id) VALUES (1);');
	return;
}

# Starts a freeze that can't succeed; returns when its holder is trying.
sub attempt
{
	writer_begins();
	my $call = start_sql($node, q{SELECT freeze_role('app', strategy => 'lock', drain_timeout => '1 hour');}, user => 'caller');
	wait_until($node, q{SELECT EXISTS (SELECT FROM freeze_journal j WHERE state = 'draining'
		AND EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_freeze holder'))});
	return $call;
}

# Nothing is left of a freeze: no row that anybody has to finish, no lock.
sub nothing_left
{
	my ($what, $state) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	is(join(',', live($node)), '', "$what: nothing is live");
	is(sql($node, q{SELECT state FROM freeze_journal WHERE strategy = 'lock' ORDER BY id DESC LIMIT 1}), $state, "$what: the last freeze is $state");
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE a.backend_type LIKE 'pg_freeze %' AND l.locktype IN ('relation', 'object') AND l.mode IN ('ExclusiveLock', 'AccessExclusiveLock'))});
	is(writing($node), 'done', "$what: the application writes");
	return;
}

# A freeze lost its locks and has them again.
sub taken_again
{
	my ($id, $what, $log_from) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	wait_until($node, "SELECT state = 'lost' AND in_force AND holder IS NOT NULL AND retaken_at >= lost_at FROM freeze_status WHERE id = $id");
	pass("$what: lost, and in force again");
	is(column($id, 'NOT stays_lost AND lost_at >= frozen_at AND retaken_at <= clock_timestamp()'), 't', "$what: with the times of both");
	is(column($id, 'lost_reason IS NOT NULL'), 't', "$what: and why");
	cmp_ok(sql($node, "SELECT count(*) FROM freeze_journal_gap WHERE freeze_id = $id"), '>=', 2, "$what: the gap has a beginning and an end");
	$node->wait_for_log(qr/pg_freeze: freeze $id\b[^\n]*\blost\b/, $log_from);
	$node->wait_for_log(qr/pg_freeze: freeze $id\b[^\n]*\btaken again\b/, $log_from);
	pass("$what: the log says both");
	is(writing($node), 'waits', "$what: the application waits again");
	is(statement_goes($node, 'SELECT count(*) FROM app.t1', user => 'app'), 'done', "$what: and reads");
	return;
}

sub did_not_hold
{
	my ($id, $what) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my ($held, $why, $skipped) = split /\|/, sql($node, "SELECT held, lost_reason, skipped FROM thaw($id)");

	is($held, 'f', "$what: the verdict is that it did not hold");
	is(sql($node, sprintf q{SELECT $why$%s$why$ ~ '\d\d:\d\d:\d\d.*\d\d:\d\d:\d\d'}, $why), 't', "$what: from when to when") || diag($why);
	nothing_left($what, 'thawed');
	return;
}

sub crash
{
	$node->kill9;
	start_again($node);
	return;
}

# After a start: with preload somebody is there by himself, without the next
# call starts him.
sub somebody_comes
{
	my ($preload) = @_;
	next_call($node) unless $preload;
	return;
}

foreach my $preload (0, 1)
{
	$name = $preload ? 'preload' : 'plain';
	$node = new_server($name, conf => "restart_after_crash = on\n" . ($preload ? "shared_preload_libraries = 'pg_freeze'\n" : ''));
	make_application($node, tables => 10);
	my ($id, $call, $from, $state, $out, $err, $pid);

	# --- the holder -------------------------------------------------------

	$id = sql($node, $freeze);
	$pid = holder($id);
	is(sql($node, "SELECT backend_type FROM pg_stat_activity WHERE pid = $pid"), 'pg_freeze holder', "$name: somebody holds a freeze");
	is(writing($node), 'waits', "$name: and the application waits");
	is(sql($node, "SELECT held IS DISTINCT FROM false FROM thaw($id)"), 't', "$name: a freeze whose holder lives holds");
	nothing_left("$name, thawed", 'thawed');

	$id = sql($node, $freeze);
	$pid = holder($id);
	$from = log_size($node);
	sql($node, "SELECT pg_terminate_backend($pid)");
	taken_again($id, "$name, holder terminated", $from);
	isnt(holder($id), $pid, "$name, holder terminated: by another process");

	# a backup's script: the freeze was lost before it asked
	($state, $out, $err) = try_sql($node, "SELECT id FROM thaw($id, require_held => true); SELECT 'the backup is good'");
	is($state, '55000', "$name: require_held raises an error after a gap");
	unlike($out, qr/the backup is good/, "$name: and the script fails");
	nothing_left("$name, require_held", 'thawed');
	is(column($id, 'held'), 'f', "$name, require_held: the verdict is written down");

	# twice, then a crash
	$id = sql($node, $freeze);
	foreach my $n (1 .. 2)
	{
		$from = log_size($node);
		sql($node, "SELECT pg_terminate_backend(freeze_holder_pid($id))");
		taken_again($id, "$name, holder terminated, $n", $from);
	}
	did_not_hold($id, "$name, holder terminated twice");

	$id = sql($node, $freeze);
	$from = log_size($node);
	kill_backend(holder($id));
	server_back($node) or die 'no recovery';
	# a scheduler's registration outlives a crash
	taken_again($id, "$name, holder killed", $from);
	did_not_hold($id, "$name, holder killed");

	# --- the server -------------------------------------------------------

	foreach my $how ('postmaster killed', 'orderly restart')
	{
		my $what = "$name, $how";
		$id = sql($node, $freeze);
		$from = log_size($node);
		$how =~ /killed/ ? crash() : $node->restart;
		if (!$preload)
		{
			is(sql($node, "SELECT coalesce(in_force, false), freeze_holder_pid(id) IS NULL FROM freeze_status WHERE id = $id"), 'f|t',
				"$what: nobody holds it, and freeze_status says so");
			is(writing($node), 'done', "$what: the application writes");
		}
		somebody_comes($preload);
		taken_again($id, $what, $from);
		did_not_hold($id, $what);
	}

	# --- while it is made -------------------------------------------------

	$call = attempt();
	crash();
	finish_sql($call);
	$writer->{run}->kill_kill;
	somebody_comes($preload);
	recovered($node);
	nothing_left("$name, postmaster killed while draining", 'aborted');

	$call = attempt();
	kill_backend(sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_freeze holder'}));
	server_back($node) or die 'no recovery';
	finish_sql($call);
	$writer->{run}->kill_kill;
	recovered($node);
	nothing_left("$name, holder killed while draining", 'aborted');

	# --- while it is thawed -----------------------------------------------

	# The holder, stopped, can't let go: the freeze is thawed, and its locks are
	# still there.
	$id = sql($node, $freeze);
	$pid = holder($id);
	kill 'STOP', $pid or die;
	$call = start_sql($node, "SELECT thaw($id);", user => 'caller');
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	is(writing($node), 'waits', "$name: thawed, and the holder has not let go");
	is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'caller'}), '1', "$name: so thaw has not returned");
	$node->kill9;
	kill 'KILL', $pid;
	start_again($node);
	finish_sql($call);
	somebody_comes($preload);
	nothing_left("$name, postmaster killed while thawing", 'thawed');
	is(holder($id), '', "$name, postmaster killed while thawing: not taken again");

	next unless $preload;

	# --- on_restart -------------------------------------------------------

	$id = sql($node, $freeze);
	$node->append_conf('postgresql.conf', q{pg_freeze.on_restart = 'thaw'});
	$node->restart;
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	nothing_left("$name, on_restart = thaw", 'thawed');
	is(column($id, q{held || ' ' || (end_reason ~ 'on_restart is thaw')}), 'false true', "$name, on_restart = thaw: no claim that it held, and why it ended");
	$node->append_conf('postgresql.conf', q{pg_freeze.on_restart = 'keep'});
	$node->restart;
}
continue
{
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, "$name: nothing strange is in the log");
	$node->stop;
}

# --- without a crash: the other processes ------------------------------------

$name = 'orderly';
$node = new_server('orderly');
make_application($node, tables => 10);

foreach my $who ('worker', 'caller')
{
	my $call = attempt();
	sql($node, $who eq 'caller' ? q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'caller'} :
		q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze worker'});
	my ($state) = finish_sql($call);
	is($state, '57P01', "the $who terminated while the freeze is tried: the call fails");
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM freeze_journal WHERE state IN ('engaging', 'draining'))});
	nothing_left("$who terminated", 'aborted');
	$writer->query_safe('ROLLBACK;');
	$writer->quit;
}

# The holder terminated while the freeze is tried: another one goes on trying,
# or the call fails; either way nothing is locked while it isn't frozen.
my $call = attempt();
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze holder'});
$writer->query_safe('ROLLBACK;');
$writer->quit;
my ($state, $id) = finish_sql($call);
if ($state eq '')
{
	is(writing($node), 'waits', 'holder terminated while the freeze is tried: frozen all the same');
	is(sql($node, "SELECT held IS DISTINCT FROM false FROM thaw($id)"), 't', 'holder terminated while the freeze is tried: and held since then');
	nothing_left('holder terminated while the freeze is tried', 'thawed');
}
else
{
	wait_until($node, q{SELECT NOT EXISTS (SELECT FROM freeze_journal WHERE state IN ('engaging', 'draining'))});
	nothing_left('holder terminated while the freeze is tried', 'aborted');
}

# The scheduler has nothing to do with the locks.
$id = sql($node, $freeze);
my $pid = holder($id);
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze scheduler'});
wait_until($node, q{SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE backend_type = 'pg_freeze scheduler')});
is(holder($id), $pid, 'scheduler terminated: the holder stays');
is(writing($node), 'waits', 'scheduler terminated: and the application waits');
is(sql($node, "SELECT held IS DISTINCT FROM false FROM thaw($id)"), 't', 'scheduler terminated: the freeze held');
nothing_left('scheduler terminated', 'thawed');

# Both at once: nobody is there to see it until the scheduler is back, or the
# next call.
$id = sql($node, $freeze);
my $from = log_size($node);
sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type IN ('pg_freeze scheduler', 'pg_freeze holder')});
taken_again($id, 'scheduler and holder terminated', $from);
did_not_hold($id, 'scheduler and holder terminated');

# --- on schedule ------------------------------------------------------------

$id = sql($node, q{SELECT freeze_role('app', strategy => 'lock', thaw_after => '2 s')});
is(writing($node), 'waits', 'a freeze with a deadline');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
nothing_left('thawed on schedule', 'thawed');
is(column($id, q{concat_ws(' ', thawed_at >= thaw_at, thawed_at < thaw_at + interval '5 s', end_reason ~ '^thawed on schedule', held IS DISTINCT FROM false, lost_reason)}), 't t t t',
	'thawed on schedule: on time, having held');

$id = sql($node, q{SELECT freeze_role('app', strategy => 'lock', thaw_after => '1 s')});
my $old = sql($node, "SELECT thaw_at FROM freeze_journal WHERE id = $id");
my $later = sql($node, "SELECT freeze_extend($id, '4 s')");
wait_until($node, "SELECT clock_timestamp() > '$old'::timestamptz + interval '1 s'");
is(column($id, 'state'), 'frozen', 'a deadline that was put off');
is(writing($node), 'waits', 'a deadline that was put off: the application waits');
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
nothing_left('at the new deadline', 'thawed');
is(column($id, "thawed_at >= '$later'"), 't', 'at the new deadline, not before');

# A deadline that passes while the server is down, seen by the next call.
$id = sql($node, q{SELECT freeze_role('app', strategy => 'lock', thaw_after => '1 s')});
$node->restart;
wait_until($node, "SELECT clock_timestamp() > thaw_at FROM freeze_journal WHERE id = $id");
next_call($node);
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
nothing_left('due while the server was down', 'thawed');
is(column($id, 'held'), 'f', 'due while the server was down: no claim that it held');

# A session has a lock on a catalog that every process needs, and waits behind
# the freeze: no thaw works, and the holder lets go by itself.
$id = sql($node, q{SELECT freeze_role('app', strategy => 'lock', thaw_after => '1 s')});
my ($stuck_state, $stuck_out, $stuck_err) = finish_sql(start_sql($node,
	q{BEGIN; LOCK TABLE pg_catalog.pg_class IN ACCESS EXCLUSIVE MODE; INSERT INTO app.writes (who) VALUES (1); COMMIT; SELECT 'through';}));
is($stuck_out, 'through', 'a deadline that nobody can keep: the application goes on all the same') || diag($stuck_err);
wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
nothing_left('after that', 'thawed');
is(column($id, 'held'), 'f', 'after that, no claim that it held');

# --- the way out without the library ----------------------------------------

# The other freeze has the same holder: it is lost, and taken again.
my $other = sql($node, q{SELECT freeze_schema('other', strategy => 'lock')});
$id = sql($node, $freeze);
my $undo = sql($node, "SELECT freeze_undo($id)");
unlike($undo, qr/\b(thaw|freeze)_?\w*\(/, 'freeze_undo calls nothing of the library');
sql($node, $undo);
ok(goes_on($node), 'freeze_undo as plain SQL: the application writes');
wait_until($node, "SELECT state = 'lost' AND in_force FROM freeze_status WHERE id = $other");
is(statement_goes($node, 'INSERT INTO other.t1 (id) VALUES (1)', user => 'other'), 'waits', 'freeze_undo: another freeze is taken again');
is(writing($node), 'done', 'freeze_undo: and this one is not');
sql($node, "SELECT thaw($other)");
next_call($node);
nothing_left('freeze_undo', 'thawed');
is(holder($id), '', 'freeze_undo: not taken again');

unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000|deadlock detected/, 'nothing strange is in the log');
done_testing();
