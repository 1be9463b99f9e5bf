# A backup between two one-shot psql calls; whoever dies in between, the server
# included, in every phase: nobody stays frozen beyond the timeout, the backup
# has failed and says why, a late end is told that it is not usable, nothing of
# it stays behind, and the next backup works.  Who called end may go away: the
# backup is ended all the same, and end again tells the result.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use BackupTest;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my ($node, $name);

# Brings a backup into a phase; (id, the call that waits, what lets it go on).
sub bring_into
{
	my ($phase, %arg) = @_;
	my ($id, $call);

	if ($phase eq 'checkpoint')
	{
		my $pid = stop_checkpointer($node);
		$call = start_sql($node, begin_sql(%arg), user => 'caller');
		return (wait_phase($node, 'checkpoint'), $call, sub { go_on($pid) });
	}
	if ($phase eq 'freezing')
	{
		my $writer = open_session($node, user => 'app');
		$writer->query_safe('BEGIN; INSERT INTO app.t1 (id) VALUES (1);');
		$call = start_sql($node, begin_sql(%arg, drain_timeout => q{'1 hour'}, in_flight => q{'drain'}), user => 'caller');
		return (wait_phase($node, 'freezing'), $call, sub { eval { $writer->{run}->kill_kill } });
	}
	$id = begin_backup($node, %arg);
	return ($id, undef, sub { }) if $phase eq 'waiting';

	my $end = "SELECT row_to_json(e) FROM freeze_backup_end($id) e";
	if ($phase eq 'stopping')
	{
		my $lock = lock_table($node, 'freeze_backup');
		$call = start_sql($node, $end, user => 'caller');
		wait_until($node, q{SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'freeze_backup'::regclass AND NOT granted)});
		return ($id, $call, sub { eval { $lock->{run}->kill_kill } });
	}
	# "thawing": the locks of the freeze are not let go
	my $holder = sql($node, 'SELECT freeze_holder_pid(' . status($node, $id)->{freeze_id} . ')');
	kill 'STOP', $holder or die "no holder: $!";
	$call = start_sql($node, $end, user => 'caller');
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE backup = $id");
	return ($id, $call, sub { go_on($holder) });
}

sub pid_of
{
	my ($who) = @_;
	my $pid = $who eq 'keeper' ? keeper($node) : sql($node, q{SELECT pid FROM pg_stat_activity WHERE usename = 'caller'});

	die "no $who" unless $pid =~ /^\d+$/;
	return $pid;
}

# becomes: "failed", "ended" or "running"
sub try_kill
{
	my ($phase, $who, $how, $becomes, $why, %arg) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $what = "$name, $phase, $who: $how";
	my ($id, $call, $release) = bring_into($phase, label => qq{'$phase $who'}, %arg);
	my $crash = $how =~ /^(?:KILL|immediate)$/ && $who ne 'client';
	my $down = $who eq 'server';

	if ($who eq 'client')
	{
		client_gone($call);
		$call = undef;
	}
	elsif ($down && $how eq 'KILL')
	{
		$node->kill9;
	}
	elsif ($down)
	{
		$release->() if $phase eq 'checkpoint';
		$node->stop($how);
	}
	elsif ($how eq 'KILL')
	{
		my $pid = pid_of($who);
		kill_backend($pid);
	}
	else
	{
		sql($node, sprintf 'SELECT pg_%s_backend(%s)', $how, pid_of($who));
	}
	if ($phase eq 'stopping' && $who eq 'caller' && $how eq 'terminate')
	{
		# the scheduler looks a second later, and finds a backup that isn't over yet
		my $then = sql($node, q{SELECT clock_timestamp() + interval '1.5 s'});
		wait_until($node, "SELECT clock_timestamp() > '$then'");
	}
	$release->();
	if ($down)
	{
		start_again($node);
	}
	elsif ($crash)
	{
		server_back($node) or die 'no recovery';
	}
	if ($call)
	{
		my ($state, $out, $err) = finish_sql($call);
		if ($becomes eq 'failed')
		{
			isnt($state, '', "$what: the call fails") || diag($out);
			unlike($err, qr/XX000/, "$what: as somebody can understand it");
		}
	}
	if ($becomes eq 'failed')
	{
		# without preloading nobody is there until somebody calls something
		try_sql($node, "SELECT freeze_backup_end($id)") if $down && $name eq 'plain';
		failed_backup($node, $id, $why, $what, crash => $crash || $down || $how eq 'terminate');
	}
	elsif ($becomes eq 'ended')
	{
		nothing_stays($node, $what);
		is(status($node, $id)->{state}, 'complete', "$what: the backup is complete");
		my $row = end_row($node, "$id, require_held => true");
		is_deeply([ map { defined $row->{$_} } qw(start_lsn stop_lsn backup_label held frozen_lsn thawed_lsn) ], [ (1) x 6 ],
			"$what: end again has all that is needed");
		like($row->{backup_label}, qr/^START WAL LOCATION: \Q$row->{start_lsn}\E .*^LABEL: \Q$phase $who\E$/ms, "$what: the label is this backup's");
	}
	elsif ($becomes eq 'running')
	{
		wait_phase($node, 'waiting for freeze_backup_end');
		is(statement_goes($node, q{INSERT INTO app.t1 (id) VALUES (1)}, user => 'app') =~ /^(?:waits|42501|55P03)$/, 1, "$what: it is frozen");
		is(end_row($node, "$id, require_held => true")->{state}, 'complete', "$what: another shell ends it");
		nothing_stays($node, $what);
	}
	return $id;
}

foreach my $preload (0, 1)
{
	$name = $preload ? 'preload' : 'plain';
	$BackupTest::strategy = $preload ? 'gate' : 'lock';
	$node = new_server($name, streaming => 1, conf => backup_conf(preload => $preload));
	make_application($node, tables => 5);

	# Two shells, two calls.
	my $id = begin_backup($node, label => q{'first'});
	my $status = status($node, $id);
	is(join(' ', map { $status->{$_} } qw(state phase label target)), 'running waiting for freeze_backup_end first role app', "$name: a backup runs");
	ok(backup_mode($node), "$name: the server is in backup mode");
	isnt(writing($node), 'done', "$name: the application does not write");
	is(sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'pg_freeze backup' AND pid = } . $status->{keeper}), '1', "$name: its keeper is there");
	my $row = end_row($node, $id);
	is($row->{held}, JSON::PP::true, "$name: another shell ends it, and it held") || diag($row->{lost_reason}, $row->{evidence});
	is($row->{state}, 'complete', "$name: complete, since nothing archives");
	is(sql($node, "SELECT '$row->{start_lsn}'::pg_lsn < '$row->{frozen_lsn}' AND '$row->{frozen_lsn}'::pg_lsn <= '$row->{stop_lsn}' AND '$row->{stop_lsn}'::pg_lsn <= '$row->{thawed_lsn}'"),
		't', "$name: the stop LSN is inside of the hold");
	like($row->{backup_label}, qr/^LABEL: first$/m, "$name: and backup_label is there");
	is_deeply(end_row($node, $id), $row, "$name: end again returns the same");
	is_deeply(end_row($node, q{label => 'first'}), $row, "$name: by label, too");
	nothing_stays($node, "$name, ended");

	# ---- without a crash ----------------------------------------------------

	foreach my $phase ('checkpoint', 'freezing')
	{
		try_kill($phase, 'caller', 'terminate', 'failed', qr/gone/) if $preload;
		try_kill($phase, 'caller', 'cancel', 'failed', qr/\S/);
		try_kill($phase, 'keeper', 'terminate', 'failed', qr/\S/);
		try_kill($phase, 'client', 'KILL', 'failed', qr/gone/) if $preload;
	}
	try_kill('checkpoint', 'keeper', 'cancel', 'failed', qr/cancel/);
	try_kill('waiting', 'keeper', 'terminate', 'failed', qr/\S/);
	try_kill('waiting', 'keeper', 'cancel', 'running', undef);
	try_kill('stopping', 'keeper', 'terminate', 'failed', qr/\S/);
	try_kill('stopping', 'caller', 'terminate', 'ended', undef);
	try_kill('stopping', 'caller', 'cancel', 'ended', undef) if $preload;
	try_kill('stopping', 'client', 'KILL', 'ended', undef) if $preload;
	if (!$preload)
	{
		try_kill('thawing', 'caller', $_, 'ended', undef) foreach 'terminate', 'cancel';
	}

	# ---- with one -----------------------------------------------------------

	# The scheduler sees that the backup has failed, or after a restart of the
	# server the deadline has passed.
	my %short = (timeout => q{'2 s'});
	try_kill('waiting', 'server', 'fast', 'failed', qr/\S/, %short, $preload ? () : (strategy => q{'revoke'}));
	foreach my $phase ($preload ? ('checkpoint', 'waiting') : ('freezing', 'waiting'))
	{
		try_kill($phase, 'keeper', 'KILL', 'failed', qr/\S/, timeout => q{'1 hour'});
		try_kill($phase, 'server', 'KILL', 'failed', qr/\S/, %short);
	}
	try_kill('stopping', 'keeper', 'KILL', 'failed', qr/\S/, timeout => q{'1 hour'});
	try_kill($preload ? 'freezing' : 'checkpoint', 'caller', 'KILL', 'failed', qr/\S/, %short);

	# ---- and then one that works --------------------------------------------

	$id = begin_backup($node, label => q{'last'});
	is(end_row($node, "$id, require_held => true")->{state}, 'complete', "$name: after all that a backup works");
	nothing_stays($node, "$name, the last one");
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP|XX000/, "$name: nothing strange is in the log");
	$node->stop;
}

done_testing();
