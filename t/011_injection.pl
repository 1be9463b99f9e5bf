# Stops the worker at each place of freezing and thawing that has a name
# (PF_INJECTION_POINT in src/), and there kills it, kills the postmaster,
# cancels the caller, or raises an error.  Afterwards the role is either frozen,
# with a live freeze that can be thawed, or has exactly its privileges.  Once by
# each of the strategies revoke, gate (there it means that its statements wait or
# go on), disconnect and read_only.
#
# Needs a server of 17 or newer that was built with --enable-injection-points,
# and its module injection_points.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

chomp(my $sharedir = `pg_config --sharedir`);
plan skip_all => 'this server has no injection points (17 or newer, built with --enable-injection-points)'
  unless `pg_config --configure` =~ /--enable-injection-points/;
plan skip_all => "this server's module injection_points is not installed"
  unless -e "$sharedir/extension/injection_points.control";

# Where: what has to happen to get there, and the state of the freeze after a
# crash, a cancel and an error.  "late": a cancel there comes too late.
my %points = (
	'pg-freeze-journaled' => { action => 'freeze', crash => 'aborted', cancel => 'aborted', error => 'aborted' },
	'pg-freeze-engaged' => { action => 'freeze', crash => 'aborted', cancel => 'aborted', error => 'aborted' },
	'pg-freeze-signal' => { action => 'signal', crash => 'aborted', cancel => 'aborted', error => 'aborted' },
	'pg-freeze-drained' => { action => 'freeze', crash => 'aborted', cancel => 'aborted', error => 'aborted' },
	'pg-freeze-decide' => { action => 'freeze', crash => 'aborted', cancel => 'aborted', error => 'aborted' },
	'pg-freeze-decided' => { action => 'freeze', crash => 'aborted', cancel => 'frozen', error => 'aborted', late => 1 },
	'pg-freeze-frozen' => { action => 'freeze', crash => 'frozen', cancel => 'frozen', error => 'frozen', late => 1 },
	'pg-freeze-undo' => { action => 'undo', crash => 'aborted', cancel => 'aborted', error => 'aborted' },
	'pg-freeze-thawing' => { action => 'thaw', crash => 'thawed', cancel => 'thawed', error => 'thawed', late => 1 },
	'pg-freeze-restored' => { action => 'thaw', crash => 'thawed', cancel => 'thawed', error => 'thawed', late => 1 },
	'pg-freeze-thawed' => { action => 'thaw', crash => 'thawed', cancel => 'thawed', error => 'thawed', late => 1 });

my $source = join '', map { slurp_file($_) } glob "$FindBin::RealBin/../src/*.c";
# those of the doors are tried in t/143_gate_barrier.pl
is_deeply([ sort keys %points ], [ sort { $a cmp $b } grep { !/^pg-freeze-door-/ } $source =~ /PF_INJECTION_POINT\("([^"]+)"\)/g ],
	'every place in src/ that has a name is here');

# what a statement of the role gets while it is frozen; psql says no SQLSTATE of a login
my %stopped = (revoke => '42501', gate => 'waits', disconnect => '08000', read_only => '25006');
my ($strategy, $node, $freeze, $before, $frozen, $gate_file);

sub begin_with
{
	$strategy = shift;
	$node = new_server($strategy, conf => "restart_after_crash = on\n" . ($strategy eq 'gate' ? "shared_preload_libraries = 'pg_freeze'\n" : ''));
	make_application($node, tables => 20);
	sql($node, 'CREATE EXTENSION injection_points');
	$freeze = "SELECT freeze_role('app', strategy => '$strategy'" . ($strategy eq 'disconnect' ? q{, mode => 'all'} : '')
	  . ($strategy eq 'gate' ? q{, in_flight => 'drain'} : '') . q{, drain_timeout => '100ms')};
	$gate_file = $node->data_dir . '/pg_freeze.gates';
	$before = privileges($node);
	my $id = sql($node, $freeze);
	$frozen = privileges($node);
	isnt(writing($node), 'done', "$strategy: a freeze stops the role");
	sql($node, "SELECT thaw($id)");
	$strategy eq 'gate' ? same_privileges($frozen, $before, 'a gate takes nothing') : isnt($frozen, $before, 'a freeze takes something');
	return;
}

sub attach { sql($node, "SELECT injection_points_attach('$_[0]', '$_[1]')"); return; }
sub detach { sql($node, "SELECT injection_points_detach('$_[0]')"); return; }

# Starts what gets to a place; the caller's psql, and the writer in its way.
sub start
{
	my ($point) = @_;
	my $action = $points{$point}{action};
	my $writer;

	# "signal" needs somebody who is idle, and is ended
	$writer = open_session($node, user => 'app') if $action eq 'undo' || $action eq 'signal';
	$writer->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (0);') if $action eq 'undo';
	my $call = $action eq 'thaw' ? 'SELECT id FROM thaw(' . sql($node, $freeze) . ')' : $freeze;
	return (start_sql($node, "$call;", user => 'caller'), $writer);
}

# Until the worker (or the scheduler) has come to a place; its pid.
sub wait_there
{
	my ($point, $who) = @_;
	my $there = sprintf q{FROM pg_stat_activity WHERE backend_type = 'pg_freeze %s' AND wait_event = '%s'}, $who || 'worker', $point;
	wait_until($node, "SELECT EXISTS (SELECT $there)");
	return sql($node, "SELECT pid $there");
}

# Until a process has taken its SIGINT and waits again.
sub wait_quiet
{
	my ($pid) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	while (time < $end)
	{
		my $status = slurp_file("/proc/$pid/status");
		my ($pending) = $status =~ /^ShdPnd:\s*([0-9a-f]+)/m;
		return if !(hex($pending) & 2) && $status =~ /^State:\s+S/m;
		usleep(10_000);
	}
	die "$pid does not take a signal";
}

sub look
{
	my ($what, $expected) = @_;
	my $journal = recovered($node);

	is($journal->{unfinished}, '', "$what: nothing is unfinished");
	is($journal->{orphans}, '0', "$what: no changes are left of what has ended");
	is($journal->{state}, $expected, "$what: $expected");
	if ($journal->{live} ne '')
	{
		is($journal->{force}, 'yes', "$what: in force");
		is(writing($node), $stopped{$strategy}, "$what: and stops the role");
		same_privileges(privileges($node), $frozen, "$what: exactly what a freeze leaves");
		my ($state, $row, $err) = try_sql($node, "SELECT held IS DISTINCT FROM false, skipped FROM thaw($journal->{live})");
		is("$state $row", ' t|0', "$what: can be thawed") || diag($err);
		is(journal($node)->{orphans}, '0', "$what: and leaves no changes");
	}
	same_privileges(privileges($node), $before, "$what: exactly its privileges");
	is(writing($node), 'done', "$what: and writes") if $strategy ne 'revoke';
	ok(!-e $gate_file, "$what: no gate is left on disk") if $strategy eq 'gate';
	return;
}

foreach my $begin (grep { $_ =~ ($ENV{PF_STRATEGIES} || '.') } sort keys %stopped)
{
	begin_with($begin);
	foreach my $point (grep { $_ =~ ($ENV{PF_POINTS} || ".") } sort keys %points)
	{
		my $expected = $points{$point};
		next if $expected->{action} eq 'signal' && $begin !~ /^(disconnect|read_only)$/;
		my ($call, $writer, $state, $out, $err, $what);

		# an error
		$what = "$strategy, $point, error";
		attach($point, 'error');
		($call, $writer) = start($point);
		($state, $out, $err) = finish_sql($call);
		if ($expected->{action} eq 'undo')
		{
			# It is not undone, and not for want of trying; the caller hears why it was to be.
			is($state, '55P03', "$what: the caller hears why there is no freeze");
			like(unfinished($node), qr{^\d+ draining$}, "$what: it can't be undone yet");
		}
		else
		{
			like($err, qr/error triggered for injection point $point/, "$what: the caller hears it");
			like($out, $expected->{error} eq 'frozen' ? qr/^\d+$/ : qr/^$/, "$what: and gets the id of what is frozen, else nothing");
		}
		$writer->{run}->kill_kill if $writer;
		detach($point);
		next_call($node);
		look($what, $expected->{error});

		# a cancel of the caller
		$what = "$strategy, $point, cancel";
		attach($point, 'wait');
		($call, $writer) = start($point);
		wait_there($point);
		my $caller = sql($node, q{SELECT pid FROM pg_stat_activity WHERE usename = 'caller'});
		sql($node, "SELECT pg_cancel_backend($caller)");
		detach($point);
		if ($expected->{late} || $expected->{action} eq 'undo')
		{
			wait_quiet($caller);
			sql($node, "SELECT injection_points_wakeup('$point')");
		}
		($state, $out, $err) = finish_sql($call);
		if ($expected->{late})
		{
			is($state, '', "$what: too late for the caller") || diag($err);
			like($out, qr/^\d+$/, "$what: the caller gets the id");
			like($err, qr/the cancel came too late/, "$what: and hears it");
		}
		else
		{
			is($state, '57014', "$what: the caller is cancelled") || diag($err);
		}
		$writer->{run}->kill_kill if $writer;
		look($what, $expected->{cancel});

		# kill -9 of the worker.  The scheduler cleans up; a freeze that has changed
		# nothing yet has none.
		$what = "$strategy, $point, worker killed";
		attach($point, 'wait');
		($call, $writer) = start($point);
		kill_backend(wait_there($point));
		($state, $out) = finish_sql($call);
		is($out, '', "$what: no answer");
		$writer->{run}->kill_kill if $writer;
		$node->poll_query_until('postgres', 'SELECT true') or die 'no recovery';
		if ($point eq 'pg-freeze-journaled' && $strategy ne 'gate')
		{
			like(unfinished($node), qr/^\d+ engaging$/, "$what: only the row is there");
			same_privileges(privileges($node), $before, "$what: nothing has been changed yet");
			next_call($node);
		}
		look($what, $expected->{crash});

		# kill -9 of the postmaster.  The next call cleans up.
		$what = "$strategy, $point, postmaster killed";
		attach($point, 'wait');
		($call, $writer) = start($point);
		wait_there($point);
		$node->kill9;
		($state, $out) = finish_sql($call);
		is($out, '', "$what: no answer");
		$writer->{run}->kill_kill if $writer;
		start_again($node);
		# before anybody has called
		is(writing($node), $expected->{crash} eq 'frozen' ? 'waits' : 'done', "$what: at the first connection")
		  if $strategy eq 'gate' && $expected->{crash} ne 'aborted';
		next_call($node);
		look($what, $expected->{crash});

		# kill -9 of the scheduler, which thaws on schedule.  It comes again.
		next if $expected->{action} ne 'thaw';
		$what = "$strategy, $point, scheduler killed";
		attach($point, 'wait');
		sql($node, $freeze =~ s{\)$}{, thaw_after => '1ms')}r);
		kill_backend(wait_there($point, 'scheduler'));
		$node->poll_query_until('postgres', 'SELECT true') or die 'no recovery';
		look($what, $expected->{crash});
	}
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, "$begin: nothing strange is in the log");
	$node->stop;
}

done_testing();
