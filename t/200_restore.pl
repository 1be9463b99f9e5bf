# A restore is the test: backups in two calls, of a server that is written to,
# copied file by file between them.  What is restored up to the end of a backup
# is exactly what was frozen; its files and pages are sound; what happened later
# comes with the WAL.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use PgFreezeTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Restore;
use Test::More;

my $source = new_source('source', conf => "shared_preload_libraries = 'pg_freeze'\n");
my $immediate = "recovery_target = 'immediate'\nrecovery_target_action = 'promote'\n";

start_load($source);

# A backup with a freeze: the copy, what freeze_backup_end() said, and what was frozen.
sub frozen_backup
{
	my ($what, $arguments, @databases) = @_;

	backup_begin($source, "'$what', timeout => '5 minutes', checkpoint => 'fast', $arguments");
	my $frozen = content($source, @databases);
	my $copy = copy_files($source);
	same_content(content($source, @databases), $frozen, "$what: nothing is committed during the copy");
	my $end = backup_end($source, '');
	is($end->{held} ? 't' : 'f', 't', "$what: it held") || diag($end->{lost_reason}, $end->{evidence});
	is(sql($source, "SELECT ordered FROM (SELECT array['$end->{start_lsn}', '$end->{frozen_lsn}', '$end->{stop_lsn}', '$end->{thawed_lsn}']::pg_lsn[]) a (a),
		LATERAL (SELECT a = array(SELECT unnest(a) ORDER BY 1) AS ordered) o"), 't',
		"$what: begun, frozen, stopped, thawed") || diag(join ' ', map { $end->{"${_}_lsn"} } qw(start frozen stop thawed));
	load_goes_on($source);
	return ($copy, $end, $frozen);
}

# --- frozen by gate -------------------------------------------------------------------

my ($copy, $end, $frozen) = frozen_backup('gate', q{kind => 'cluster', strategy => 'gate'});
{
	my $node = restore('gate', $copy, label => $end->{backup_label}, map => $end->{tablespace_map}, archive => $source->archive_dir, conf => $immediate);

	same_content(content($node), $frozen, 'gate: restored to the end of the backup: exactly what was frozen');
	rows_match($node, 'gate');
	is(files_match($node, $copy), '', 'gate: the files outside and the rows go together');
	is((try_sql($node, q{INSERT INTO app.events (client, note) VALUES (0, 'later')}, user => 'app'))[0], '', 'gate: the application can use it');
	sound($node, 'gate');
}

# --- not frozen -----------------------------------------------------------------------

# An online backup has what was committed until its end; the files, which were
# copied earlier, don't go with it.
{
	my $folder = PostgreSQL::Test::Utils::tempdir('labels');
	my $before = rows_match($source, 'online, before');

	backup_begin($source, "'online', kind => NULL, checkpoint => 'fast', label_directory => '$folder'");
	my $online = copy_files($source);
	load_goes_on($source);
	my $row = backup_end($source, '');
	is($row->{held}, undef, 'online: nothing was frozen');
	is(slurp_file("$folder/backup_label"), $row->{backup_label}, 'online: backup_label is in its directory');
	is(slurp_file("$folder/tablespace_map"), $row->{tablespace_map}, 'online: tablespace_map, too');
	my $after = rows_match($source, 'online, after');

	my $node = restore('online', $online, archive => $source->archive_dir, conf => $immediate,
		label => slurp_file("$folder/backup_label"), map => slurp_file("$folder/tablespace_map"));
	my $rows = rows_match($node, 'online');
	is(scalar(grep { $rows->{$_} < $before->{$_} + 20 || $rows->{$_} > $after->{$_} } keys %$rows), 0, 'online: restored to its end has what was committed before that');
	isnt(files_match($node, $online), '', 'online: without a freeze the files outside and the rows do not go together');
	sound($node, 'online');
}

# --- frozen by lock, not preloaded ----------------------------------------------------

stop_load($source);
$source->append_conf('postgresql.conf', "shared_preload_libraries = ''\n");
$source->restart;
start_load($source);
{
	my ($copy, $end, $frozen) = frozen_backup('lock', q{strategy => 'lock'}, 'postgres');
	my $node = restore('lock', $copy, label => $end->{backup_label}, map => $end->{tablespace_map}, archive => $source->archive_dir, conf => $immediate);

	same_content(content($node, 'postgres'), $frozen, 'lock: restored to the end of the backup: exactly what was frozen');
	rows_match($node, 'lock');
	sound($node, 'lock');
}

# --- to the end of the WAL ------------------------------------------------------------

stop_load($source);
my $last = content($source);
my $segment = sql($source, 'SELECT pg_walfile_name(pg_switch_wal())');
wait_until($source, "SELECT last_archived_wal >= '$segment' FROM pg_stat_archiver");
{
	my $node = restore('later', $copy, label => $end->{backup_label}, map => $end->{tablespace_map}, archive => $source->archive_dir);

	same_content(content($node), $last, 'later: restored to the end of the WAL: what was there in the end');
	isnt($last->{'postgres app.events'}, $frozen->{'postgres app.events'}, 'later: which is another thing than what was frozen');
	rows_match($node, 'later');
	sound($node, 'later');
}

unlike(slurp_file($source->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
