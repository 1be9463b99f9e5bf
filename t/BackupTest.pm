# What the tests of backups share: a server on which the backup mode can be
# seen, somebody in the way of each phase, what a backup may leave behind.

package BackupTest;

use strict;
use warnings;

use Exporter 'import';
use FindBin;
use lib $FindBin::RealBin;
use IPC::Run ();
use JSON::PP ();
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  backup_conf begin_sql begin_backup status wait_phase wait_state end_row keeper
  backup_mode left_behind nothing_stays failed_backup segments
  stop_checkpointer go_on lock_table client_gone
);

# Full-page writes are off so that the WAL shows whether the server is in backup
# mode; dynamic shared memory is in files so that segments that stay show.
sub backup_conf
{
	my (%opt) = @_;

	return ($opt{preload} ? "shared_preload_libraries = 'pg_freeze'\n" : '')
	  . ($opt{full_pages} ? '' : "full_page_writes = off\n") . q{
checkpoint_completion_target = 0
checkpoint_timeout = 1h
dynamic_shared_memory_type = mmap
autovacuum = off
restart_after_crash = on
};
}

# Of backups that don't say it; gate and lock can be sure that they held.
our $strategy = 'gate';

# freeze_backup_begin() with named arguments, each an SQL expression.
sub begin_sql
{
	my (%arg) = (label => q{'nightly'}, kind => q{'role'}, target => q{'app'}, checkpoint => q{'fast'}, strategy => "'$strategy'", @_);

	delete @arg{'target', 'strategy'} if $arg{kind} eq 'NULL';
	delete $arg{in_flight} if $arg{in_flight} && $arg{strategy} !~ /gate/;
	return 'SELECT freeze_backup_begin(' . join(', ', map { "$_ => $arg{$_}" } sort keys %arg) . ')';
}

sub begin_backup
{
	my ($node, %arg) = @_;
	return sql($node, begin_sql(%arg));
}

# A backup as freeze_backup_status has it, or undef.
sub status
{
	my ($node, $id, %opt) = @_;
	my $row = sql($node, "SELECT row_to_json(s) FROM freeze_backup_status s WHERE id = $id", %opt);
	return $row eq '' ? undef : JSON::PP::decode_json($row);
}

# The row of freeze_backup_end() as a hash; dies if it fails.
sub end_row
{
	my ($node, $arguments, %opt) = @_;
	return JSON::PP::decode_json(sql($node, "SELECT row_to_json(e) FROM freeze_backup_end($arguments) e", %opt));
}

# Polls until the backup that runs is in a phase; its id.
sub wait_phase
{
	my ($node, $phase, %opt) = @_;

	wait_until($node, "SELECT EXISTS (SELECT FROM freeze_backup_status WHERE state = 'running' AND phase = '$phase')", %opt);
	return sql($node, q{SELECT id FROM freeze_backup_status WHERE state = 'running'}, %opt);
}

sub wait_state
{
	my ($node, $id, $state, %opt) = @_;
	return wait_until($node, "SELECT EXISTS (SELECT FROM freeze_backup_status WHERE id = $id AND state = '$state')", %opt);
}

sub keeper
{
	my ($node) = @_;
	return sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'pg_freeze backup'});
}

# Whether the server writes full pages although it need not: somebody has begun
# a backup and not ended it.  Needs public.page, which is made here.
sub backup_mode
{
	my ($node) = @_;

	sql($node, q{SET client_min_messages = warning; CREATE TABLE IF NOT EXISTS public.page (b text);
ALTER TABLE public.page ALTER b SET STORAGE PLAIN; TRUNCATE public.page; INSERT INTO public.page VALUES (repeat('x', 6000)); CHECKPOINT});
	return sql($node, q{CREATE TEMP TABLE here AS SELECT pg_current_wal_insert_lsn() AS lsn;
INSERT INTO public.page VALUES ('y');
SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), lsn) > 5900 FROM here}) eq 't';
}

# What is there of a backup's: processes, slots, locks, freezes, segments.
sub left_behind
{
	my ($node, %opt) = @_;
	return sql($node, q{
SELECT string_agg(what, ', ') FROM (
	SELECT format('%s %s', backend_type, pid) AS what FROM pg_stat_activity WHERE backend_type = 'pg_freeze backup'
	UNION ALL SELECT format('slot %s', slot_name) FROM pg_replication_slots WHERE temporary OR slot_name LIKE 'pg\_freeze%'
	UNION ALL SELECT format('lock of %s: %s', pid, l) FROM pg_locks l WHERE locktype = 'advisory' AND database = 0
	UNION ALL SELECT format('freeze %s is %s', id, state) FROM freeze_journal WHERE state NOT IN ('thawed', 'aborted')
	UNION ALL SELECT format('backup %s is running', id) FROM freeze_backup_status WHERE state = 'running'
	) x}, %opt);
}

# Polls until nothing is left of a backup, and looks whether the application
# writes.
sub nothing_stays
{
	my ($node, $what, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $end = time + 30;
	my $left;

	do
	{
		usleep(50_000) if defined $left;
		$left = left_behind($node);
	} while ($left ne '' && time < $end);
	is($left, '', "$what: nothing is left behind");
	ok(goes_on($node), "$what: the application goes on");
	return if $opt{full_pages};
	ok(!backup_mode($node), "$what: and the server is not in backup mode");
	return;
}

# A backup has failed: it says so and why, nobody can end it, nothing stays.
# crash: nobody knows when.
sub failed_backup
{
	my ($node, $id, $why, $what, %opt) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	nothing_stays($node, $what, %opt);
	my $status = status($node, $id);
	is($status->{state}, 'failed', "$what: the backup has failed");
	like($status->{failure} || '', $why, "$what: and says why");
	my ($state, undef, $err) = try_sql($node, "SELECT * FROM freeze_backup_end($id)");
	is($state, '55000', "$what: a late end fails");
	like($err, qr/ERROR:  55000: backup $id \([^\n]*\) is not usable\n/, "$what: it is told that the backup is not usable");
	like($err, qr/^DETAIL:  [^\n]*$why/m, "$what: and why");
	like($err, qr/^DETAIL:  [^\n]*\d\d:\d\d/m, "$what: and since when") unless $opt{crash};
	return;
}

# How many dynamic shared memory segments there are.
sub segments
{
	my ($node) = @_;
	my @files = glob $node->data_dir . '/pg_dynshmem/mmap.*';
	return scalar @files;
}

# ---- in the way -------------------------------------------------------------

# No checkpoint gets on until go_on() of what this returns.
sub stop_checkpointer
{
	my ($node) = @_;
	my $pid = sql($node, q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'});

	kill 'STOP', $pid or die "no checkpointer: $!";
	return $pid;
}

sub go_on { kill 'CONT', $_[0]; return; }

# A session that keeps pg_freeze from writing to one of its tables.
sub lock_table
{
	my ($node, $table, %opt) = @_;
	my $session = open_session($node, %opt);

	$session->query_safe("BEGIN; LOCK TABLE $table IN SHARE MODE;");
	return $session;
}

# kill -9 of the psql of start_sql().
sub client_gone
{
	my ($running) = @_;

	$running->{harness}->kill_kill;
	return;
}

1;
