# pg_freeze run when something dies in the middle: the program, its connection,
# the server.  Nothing stays frozen for longer than the lease, and nothing that
# did not hold is called held.
#
# PF_KILLS: how many kills at random moments (10), PF_SEED: which (printed).

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CliTest;
use IPC::Run ();
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(usleep);

my $kills = $ENV{PF_KILLS} || 10;
my $seed = $ENV{PF_SEED} || int(rand(1 << 30));
my $ours = q{FROM pg_stat_activity WHERE application_name LIKE 'pg_freeze%' AND backend_type = 'client backend'};
my $node;

srand($seed);
diag("PF_SEED=$seed PF_KILLS=$kills");

sub begin
{
	my ($lease, %opt) = @_;
	my ($command, $file) = waiting_command(0, $opt{trap});
	my $run = start_cli($node, 'run', '--role', 'app', '--lease', $lease, @{ $opt{options} || [] }, '--', @$command);

	await_file($file, $run);
	return ($run, $file, sql($node, 'SELECT max(id) FROM freeze_journal'));
}

sub said
{
	my ($run, $what) = @_;
	return polled(sub { slurp_file($run->{err}) =~ $what || ended($run) }) && slurp_file($run->{err}) =~ $what;
}

sub end_of
{
	my ($id) = @_;
	return sql($node, "SELECT state, held FROM freeze_journal WHERE id = $id");
}

sub test_program_killed
{
	my ($run, $file, $id) = begin('3s', trap => 'trap "echo told; exit 0" TERM;');

	wait_until($node, "SELECT thaw_at > frozen_at + interval '3.5s' FROM freeze_journal WHERE id = $id");
	kill 'KILL', $run->{pid};
	finished($run, 137, 'the program is killed');
	ok(polled(sub { slurp_file($run->{out}) eq "told\n" }), 'COMMAND is told');
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	is(writing($node), 'done', 'and the role goes on when the lease is over');

	# while it waits for a drain
	my $busy = open_session($node, user => 'app');
	$busy->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (192)');
	foreach my $victim ('program', 'connection')
	{
		$run = start_cli($node, 'run', '--role', 'app', '--in-flight', 'drain', '--drain-timeout', '1h', '--lease', '2s', '--', 'echo', 'ran');
		wait_until($node, q{SELECT count(*) = 1 FROM freeze_journal WHERE state = 'draining'});
		if ($victim eq 'program')
		{
			kill 'KILL', $run->{pid};
			finished($run, 137, 'the program is killed while it waits for a drain');
		}
		else
		{
			sql($node, "SELECT pg_terminate_backend(pid, 10000) $ours");
			my ($out, $err) = finished($run, 1, 'the connection is lost while it waits for a drain');
			is($out, '', 'COMMAND is not run');
			like($err, qr/^pg_freeze: nothing is left frozen$/m, 'it looks what became of it');
		}
		ok(polled(sub { !live($node) }, 20), 'it is undone at once');
	}
	$busy->query_safe('COMMIT');
	$busy->quit;
	is(writing($node), 'done', 'the role goes on');
	return;
}

# The program stands still for longer than the lease.
sub test_program_stopped
{
	my ($run, $file, $id) = begin('1s', trap => 'trap "exit 9" TERM;');

	kill 'STOP', $run->{pid};
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	kill 'CONT', $run->{pid};
	finished($run, 3, 'the program was stopped for too long');
	return;
}

sub test_connection
{
	my ($run, $file, $id) = begin('10s', options => [ '--timeout', '1min' ]);

	foreach my $n (1 .. 3)
	{
		my $pid = sql($node, "SELECT pid $ours");
		is(sql($node, "SELECT pg_terminate_backend(pid, 10000) $ours"), 't', "the connection is lost, $n");
		wait_until($node, "SELECT count(*) = 1 $ours AND pid <> $pid AND state = 'idle'");
	}
	let_go($file);
	my ($out, $err) = finished($run, 0, 'it comes back, and the freeze held');
	like($err, qr/^pg_freeze: the connection was lost: .*\n(?:.*\n)*pg_freeze: connected again$/m, 'which is said');
	is(end_of($id), 'thawed|t', 'the verdict is the server\'s');

	# the last thing that COMMAND does is to lose the connection: the thaw begins without one
	my ($status, undef, $said) = cli($node, 'run', '--role', 'app', '--', 'psql', '-Xq', '-d', $node->connstr('postgres'),
		'-c', "SELECT pg_terminate_backend(pid) $ours");
	is($status, 0, 'the connection is lost when COMMAND ends') || diag($said);
	is(join(',', live($node)), '', 'nothing is left frozen');

	# a server process that doesn't answer
	($run, $file, $id) = begin('3s', options => [ '--timeout', '1min' ]);
	my $pid = sql($node, "SELECT pid $ours");
	kill 'STOP', $pid;
	ok(said($run, qr/^pg_freeze: the connection was lost: no answer\n(?:.*\n)*pg_freeze: connected again$/m), 'no answer counts as lost');
	wait_until($node, "SELECT thaw_at > frozen_at + interval '5s' FROM freeze_journal WHERE id = $id");
	let_go($file);
	finished($run, 0, 'it goes on with another, and the freeze held');
	kill 'CONT', $pid;
	return;
}

sub test_restart
{
	foreach my $how ('restart', 'crash')
	{
		my ($run, $file, $id) = begin('30s', options => [ '--timeout', '2min' ]);

		if ($how eq 'crash')
		{
			$node->kill9;
			start_again($node);
		}
		else
		{
			$node->restart;
		}
		ok(said($run, qr/^pg_freeze: connected again$/m), "$how: it connects again");
		is(writing($node), 'waits', "$how: the gate is closed all the time");
		let_go($file);
		finished($run, 0, "$how: it held");
		is(end_of($id), 'thawed|t', "$how: the verdict is the server's");
	}

	my ($run, $file, $id) = begin('2s', trap => 'trap "echo told; exit 9" TERM;');
	$node->stop('immediate');
	my ($out, $err) = finished($run, 4, 'the server does not come back');
	is($out, 'told', 'COMMAND is told when the lease is over');
	like($err, qr/^pg_freeze: it is not known whether it held: the server could not be asked$/m, 'nobody knows');
	$node->start;
	wait_until($node, "SELECT state = 'thawed' FROM freeze_journal WHERE id = $id");
	ok(goes_on($node), 'once it is back the role goes on');

	# it comes back when the lease is over, and knows that it was thawed too early
	($run, $file, $id) = begin('3s', trap => q{trap '' TERM;});
	$node->stop('immediate');
	ok(said($run, qr/^pg_freeze: the lease could not be renewed and is over/m), 'the lease runs out');
	$node->start;
	let_go($file);
	finished($run, 3, 'it did not hold');
	return;
}

# The same with a backup, which is kept by a process of the server's.
sub test_backup
{
	my @options = ('--backup', 'b', '--checkpoint', 'fast', '--timeout', '20s');
	my ($run, $file, $id) = begin('2s', options => \@options);

	wait_until($node, "SELECT thaw_at < clock_timestamp() + interval '2s' FROM freeze_journal WHERE id = $id");
	kill 'KILL', $run->{pid};
	finished($run, 137, 'the program is killed in the middle of a backup');
	ok(polled(sub { end_of($id) =~ /^thawed/ }, 15), 'the lease thaws the server');
	is(sql($node, q{SELECT label, state FROM freeze_backup_status WHERE state <> 'failed'}), 'b|running', 'while the backup is still there');
	sql($node, 'SELECT freeze_backup_abort()');

	($run, $file, $id) = begin('10s', options => [ @options, '--timeout', '1min' ]);
	sql($node, "SELECT pg_terminate_backend(pid, 10000) $ours");
	ok(said($run, qr/^pg_freeze: connected again$/m), 'the connection is lost in the middle of a backup');
	let_go($file);
	finished($run, 0, 'and the backup is made');
	is(end_of($id), 'thawed|t', 'the freeze held');

	($run, $file, $id) = begin('10s', options => [ @options, '--timeout', '1min' ], trap => 'trap "exit 9" TERM;');
	sql($node, q{SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'pg_freeze backup'});
	ok(polled(sub { !live($node) }, 20), 'the keeper of the backup ends, and what was frozen is thawed');
	let_go($file);
	my (undef, $err) = finished($run, 3, 'the backup is lost');
	like($err, qr/^pg_freeze: (the backup is not usable|the freeze has ended)/m, 'which is said');

	my $busy = open_session($node, user => 'app');
	$busy->query_safe('BEGIN; INSERT INTO app.writes (who) VALUES (192)');
	foreach my $victim ('program', 'connection')
	{
		$run = start_cli($node, 'run', '--role', 'app', @options, '--in-flight', 'drain', '--drain-timeout', '1h', '--', 'echo', 'ran');
		wait_until($node, q{SELECT count(*) = 1 FROM freeze_journal WHERE state = 'draining'});
		kill 'KILL', $run->{pid} if $victim eq 'program';
		sql($node, "SELECT pg_terminate_backend(pid, 10000) $ours") if $victim eq 'connection';
		finished($run, $victim eq 'program' ? 137 : 1, "the $victim is lost while the freeze of a backup waits for a drain");
		ok(polled(sub { !live($node) && sql($node, q{SELECT count(*) FROM freeze_backup_status WHERE state = 'running'}) eq '0' }, 20),
			'nothing is left of it');
	}
	$busy->query_safe('COMMIT');
	$busy->quit;
	is(writing($node), 'done', 'the role goes on');
	return;
}

# A password that was asked for is used for the connections that follow.
sub test_password
{
	my ($in, $out) = ('', '');
	my ($command, $file) = waiting_command(0);

	sql($node, q{SET password_encryption = 'scram-sha-256'; CREATE ROLE secret LOGIN SUPERUSER PASSWORD 'pw'});
	my $hba = slurp_file($node->data_dir . '/pg_hba.conf');
	unlink $node->data_dir . '/pg_hba.conf';
	$node->append_conf('pg_hba.conf', "local all secret scram-sha-256\n$hba");
	$node->reload;
	my $run = IPC::Run::start([ 'pg_freeze', 'run', '-d', $node->connstr('postgres') . ' application_name=pg_freeze', '-U', 'secret', '--role', 'app', '--', @$command ],
		'<pty<', \$in, '>pty>', \$out, IPC::Run::timeout($PostgreSQL::Test::Utils::timeout_default));
	polled(sub { $run->pump_nb; $out =~ /Password: / || !$run->pumpable });
	$in .= "pw\n";
	polled(sub { $run->pump_nb; -e $file || !$run->pumpable });
	sql($node, "SELECT pg_terminate_backend(pid, 10000) $ours");
	polled(sub { $run->pump_nb; $out =~ /connected again/ || !$run->pumpable });
	let_go($file);
	$run->finish;
	is(($run->full_results)[0], 0, 'the password is asked for once') || diag($out);
	is(() = $out =~ /Password: /g, 1, 'and kept');
	return;
}

# Whatever is killed, at whatever moment.
sub test_random
{
	my %statuses;

	foreach my $n (1 .. $kills)
	{
		my $victim = (qw(program connection connection worker))[ int rand 4 ];
		my $strategy = (qw(gate revoke))[ int rand 2 ];
		my $before = sql($node, 'SELECT coalesce(max(id), 0) FROM freeze_journal');
		my $run = start_cli($node, 'run', '--role', 'agent', '--strategy', $strategy, '--lease', '2s', '--', 'sleep', sprintf('%.3f', rand 0.04));

		usleep(int rand 150_000);
		if ($victim eq 'program')
		{
			kill 'KILL', $run->{pid};
		}
		elsif ($victim eq 'connection')
		{
			sql($node, "SELECT pg_terminate_backend(pid) $ours");
		}
		else
		{
			sql($node, q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'pg_freeze worker'});
		}
		my ($status, undef, $err) = finish_cli($run);
		my $what = "kill $n, of the $victim, $strategy: status $status";
		ok(0, "kill $n: something is left frozen") unless polled(sub { !live($node) }, 30);
		my $ends = sql($node, "SELECT string_agg(state || coalesce(' ' || held::text, ''), ',') FROM freeze_journal WHERE id > $before");
		my $right = $status == 0 ? $ends eq 'thawed true' : $victim eq 'program' && $status == 137 || $status == 1 && $ends !~ /,/ || $status == 3 && $ends =~ /^thawed/;
		ok($right, "$what: $ends") || diag($err);
		$statuses{$status}++;
	}
	diag(join ', ', map { "status $_: $statuses{$_}" } sort keys %statuses);
	is(writing($node), 'done', 'the role goes on after all of that');
	return;
}

$node = new_server('kills', streaming => 1, conf => q{
shared_preload_libraries = 'pg_freeze'
log_connections = on
});
make_application($node, tables => 3);
test_program_killed();
test_program_stopped();
test_connection();
test_backup();
test_restart();
test_password();
test_random();
is(join(',', live($node)), '', 'nothing is left frozen');
$node->stop;

done_testing();
