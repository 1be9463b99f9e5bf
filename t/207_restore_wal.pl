# Restores from backups whose WAL comes from elsewhere than the archive of the
# server: one that holds it with a slot until it is copied, and one of a standby.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Restore;
use Test::More;

my $source = new_source('source', conf => "shared_preload_libraries = 'pg_freeze'\nmin_wal_size = 2MB\n");
my $immediate = "recovery_target = 'immediate'\nrecovery_target_action = 'promote'\n";

start_load($source);

# What a busy server does: it begins new segments, and removes those before the
# last checkpoint as soon as they are archived.
sub turn_over
{
	my ($node) = @_;
	my $from = sql($node, 'SELECT pg_walfile_name(pg_current_wal_insert_lsn())');

	sql($node, join '', map { "SELECT pg_create_restore_point('$_'); SELECT pg_switch_wal();\n" } 1 .. 6);
	wait_until($node, "SELECT last_archived_wal >= '$from' FROM pg_stat_archiver");
	sql($node, 'CHECKPOINT; CHECKPOINT');
	return;
}

# --- held by a slot -------------------------------------------------------------------

my ($standby, $held);
{
	backup_begin($source, q{'held', kind => 'cluster', strategy => 'gate', timeout => '5 minutes', checkpoint => 'fast', hold_wal => true});
	my $first = sql($source, q{SELECT pg_walfile_name(start_lsn) FROM freeze_backup_status WHERE label = 'held'});
	my $frozen = content($source);
	turn_over($source);
	my $copy = copy_files($source);
	my $end = backup_end($source, '');
	is($end->{held} ? 't' : 'f', 't', 'held: it held') || diag($end->{lost_reason}, $end->{evidence});
	turn_over($source);

	my $wal = PostgreSQL::Test::Utils::tempdir('wal');
	my $last = sql($source, "SELECT pg_walfile_name('$end->{stop_lsn}')");
	my @segments = grep { $_ ge $first && $_ le $last } map { /([0-9A-F]{24})$/ } glob $source->data_dir . '/pg_wal/*';
	is($segments[0], $first, 'held: the WAL from the start on is there');
	system_or_bail('cp', (map { $source->data_dir . "/pg_wal/$_" } @segments), $wal);
	my $node = restore('held', $copy, label => $end->{backup_label}, map => $end->{tablespace_map}, archive => $wal, conf => $immediate);
	same_content(content($node), $frozen, 'held: restored with the WAL that was held: exactly what was frozen');
	is(files_match($node, $copy), '', 'held: the files outside and the rows go together');
	sound($node, 'held');

	# the next part's standby
	$standby = restore('standby', $copy, label => $end->{backup_label}, map => $end->{tablespace_map}, archive => $source->archive_dir, standby_of => $source);
	# nobody needs it any more
	sql($source, "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name LIKE 'pg_freeze_backup_%'");
}

# --- of a standby ---------------------------------------------------------------------

{
	my $lsn = sql($source, 'SELECT pg_current_wal_flush_lsn()');
	my $before = rows_match($source, 'standby, before');

	wait_until($standby, "SELECT pg_last_wal_replay_lsn() >= '$lsn'");
	wait_until($standby, "SELECT (SELECT n FROM app.totals WHERE client = 1) >= $before->{1} AND (SELECT n FROM app.totals WHERE client = 2) >= $before->{2}");
	my $id = backup_begin($standby, q{'standby', kind => NULL, timeout => '5 minutes', checkpoint => 'fast'});
	load_goes_on($source);
	my $copy = copy_files($standby);
	my $end = backup_end($standby, $id);
	my $after = rows_match($source, 'standby, after');
	my $segment = sql($source, q{SELECT pg_walfile_name(pg_switch_wal())});
	like($end->{backup_label}, qr/^BACKUP FROM: standby$/m, 'standby: it is a backup of the standby');
	wait_until($source, "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver");
	$standby->stop;

	my $node = restore('from_standby', $copy, label => $end->{backup_label}, map => $end->{tablespace_map}, archive => $source->archive_dir, conf => $immediate);
	my $rows = rows_match($node, 'standby');
	is(scalar(grep { $rows->{$_} < $before->{$_} || $rows->{$_} > $after->{$_} } keys %$rows), 0, 'standby: restored to its end has what was replayed before that');
	is(sql($node, 'SELECT state FROM freeze_backup_status ORDER BY since DESC LIMIT 1'), 'complete', 'standby: only the backup of the primary is known');
	sound($node, 'standby');
}

stop_load($source);
unlike(slurp_file($source->logfile) . slurp_file($standby->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the logs');
done_testing();
