# An HA manager doesn't notice a freeze by gate.  A primary, two standbys, and
# the loop of such a manager: a session of a superuser that looks after slots,
# WAL and replication, and one of a role in pg_freeze.exempt_roles that writes a
# heartbeat.  While the cluster is frozen no round of the loop takes longer than
# a second, the standbys replay, the application waits without an error, and
# the verdict says how many commits of exempt sessions there were.
#
# PF_SECONDS (5) is how long each freeze holds, PF_CLIENTS (5) how many write.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CutOver;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

my $seconds = $ENV{PF_SECONDS} || 5;
my $clients = $ENV{PF_CLIENTS} || 5;
my $folder = PostgreSQL::Test::Utils::tempdir('ha');
my $primary = new_server('primary', streaming => 1, conf => q{
shared_preload_libraries = 'pg_freeze'
pg_freeze.exempt_roles = 'heartbeat'
pg_freeze.max_wait = 0
log_statement = none
});
sql($primary, q{
CREATE EXTENSION pg_freeze;
CREATE ROLE manager LOGIN SUPERUSER;
CREATE ROLE heartbeat LOGIN;
CREATE TABLE beats (n int PRIMARY KEY, at timestamptz);
GRANT SELECT, INSERT ON beats TO heartbeat;
} . numbers_table());
$primary->backup('backup');
my @standbys;
foreach my $name (qw(one two))
{
	sql($primary, "SELECT pg_create_physical_replication_slot('$name')");
	my $standby = PostgreSQL::Test::Cluster->new($name);
	$standby->init_from_backup($primary, 'backup', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "primary_slot_name = '$name'\n");
	$standby->start;
	push @standbys, $standby;
}

my $manager = open_session($primary, user => 'manager');
my $heartbeat = open_session($primary, user => 'heartbeat');
# where the loop is stopped, let the test end
$_->query_safe(q{SET statement_timeout = '5 s'}) foreach $manager, $heartbeat;
$_->set_query_timer_restart foreach $manager, $heartbeat;
my @rounds = (
	q{SELECT pg_is_in_recovery(), pg_current_wal_lsn(), pg_walfile_name(pg_current_wal_lsn()), timeline_id FROM pg_control_checkpoint()},
	q{SELECT slot_name, slot_type, restart_lsn, active FROM pg_replication_slots},
	q{SELECT pg_create_physical_replication_slot('probe_%d', true)},
	q{SELECT pg_replication_slot_advance('probe_%d', pg_current_wal_lsn())},
	q{SELECT pg_drop_replication_slot('probe_%d')},
	q{SELECT application_name, state, sync_state, replay_lsn FROM pg_stat_replication},
	q{SELECT pg_create_restore_point('round %d')},
	q{CHECKPOINT},
	q{SELECT id, target, state, in_force FROM freeze_status},
);
# not in each round: a segment is 16 MB
my $every_tenth = q{SELECT pg_switch_wal()};
my ($beats, $slowest, $slow, $failed) = (0, 0, '', 0);

# A round of the loop.
sub round
{
	my $begun = time;

	$beats++;
	foreach my $step ([ $heartbeat, 'INSERT INTO beats VALUES (%d, now())' ], map { [ $manager, $_ ] } @rounds, $beats % 10 == 1 ? $every_tenth : ())
	{
		my ($session, $query) = @$step;
		my $before = time;
		(my $text = $query) =~ s/%d/$beats/g;
		my (undef, $error) = $session->query($text);

		$failed++ if $error || $session->{stderr} =~ /(ERROR|FATAL)/;
		diag("$text: $session->{stderr}") if $session->{stderr} ne '';
		$session->{stderr} = '';
		($slow, $slowest) = ($query, time - $before) if time - $before > $slowest;
	}
	# the rhythm of the loop
	usleep(200_000 - 1_000_000 * (time - $begun)) if time - $begun < 0.2;
	return;
}

# Rounds, as long as a query doesn't answer "t".
sub rounds_until
{
	my ($query) = @_;
	my $end = time + $PostgreSQL::Test::Utils::timeout_default;

	round();
	until (sql($primary, $query) eq 't')
	{
		die "timed out waiting for: $query" if time > $end;
		round();
	}
	return;
}

# Polls until both standbys have a heartbeat.
sub replayed
{
	my ($beat) = @_;
	wait_until($_, "SELECT EXISTS (SELECT FROM beats WHERE n = $beat)") foreach @standbys;
	return 1;
}

address($folder, $primary);
start_clients($folder, $clients, 'service=app');
clients_write($primary, $clients, 10);

foreach my $mode (qw(write all))
{
	# the loop goes on while the freeze is being made
	my $freeze = start_sql($primary, "SELECT freeze_cluster(mode => '$mode', strategy => 'gate', label => '$mode', thaw_after => '1 hour')");
	my $early = $beats;
	rounds_until("SELECT EXISTS (SELECT FROM freeze_status WHERE label = '$mode' AND state = 'frozen')");
	my ($state, $id, $err) = finish_sql($freeze);
	is($state, '', "$mode: frozen") or diag($err);
	my ($rows, $first, $begun) = (sql($primary, 'SELECT count(*) FROM app.numbers'), $beats, time);
	my $lsn = sql($primary, "SELECT frozen_lsn FROM freeze_status WHERE id = $id");

	round() while time < $begun + $seconds;
	rounds_until("SELECT count(DISTINCT pid) = $clients FROM freeze_waiters WHERE id = $id");
	cmp_ok($beats - $first, '>=', 2, "$mode: the loop went on for " . ($beats - $first) . ' rounds');
	ok(replayed($beats), "$mode: both standbys replay what it wrote");
	is(sql($primary, "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND replay_lsn > '$lsn'"), 2, "$mode: both stream");
	is(sql($_, 'SELECT count(*) FROM app.numbers'), $rows, "$mode: of the application nothing more has come to " . $_->name) foreach @standbys;

	my ($exempt, $in_force) = split /\|/, sql($primary, "SELECT exempt_commits, in_force FROM freeze_status WHERE id = $id");
	cmp_ok($exempt, '>=', $beats - $first, "$mode: freeze_status counts the commits of the exempt session");
	cmp_ok($exempt, '<=', $beats - $early, "$mode: and no others");
	is($in_force, 't', "$mode: the freeze is in force");

	my ($held, $evidence) = split /\|/, sql($primary, "SELECT held, evidence FROM thaw($id)");
	is($held, 't', "$mode: it held");
	like($evidence, qr/\b$exempt commits by exempt sessions/, "$mode: and the verdict says how many commits of exempt sessions there were");
	note($evidence);
	clients_write($primary, $clients, 10);
	round();
}

# A superuser's session is no exception in mode write, an exempt role is.
my $id = sql($primary, q{SELECT freeze_cluster(strategy => 'gate', action => 'reject')});
my ($state) = try_sql($primary, 'INSERT INTO beats VALUES (0)', user => 'manager');
is($state, '25006', 'a manager that writes must be exempt');
round();
sql($primary, "SELECT thaw($id)");

stop_clients();
$heartbeat->quit;
$manager->quit;
is($failed, 0, "no statement of the loop has failed in $beats rounds");
cmp_ok($slowest, '<', 1, sprintf('none took longer than a second (%.3f s: %s)', $slowest, $slow));
is(sql($primary, 'SELECT count(*) FROM beats'), $beats, 'every heartbeat was written');
my $errors = client_errors($folder, $clients);
is(join(' ', grep { $_ ne '25006' } keys %$errors), '', 'the application has seen no error but where it was asked for');
notes_match($primary, $folder, $clients, 'application');
unlike(slurp_file($_->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log of ' . $_->name) foreach $primary, @standbys;
done_testing();
