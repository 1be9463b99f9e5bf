# Restores from copies that were made inside "pg_freeze run", and between
# "pg_freeze backup-begin" and "backup-end": with the two files that the program
# has written, what is restored is exactly what was frozen.

use strict;
use warnings;

use FindBin;
use lib $FindBin::RealBin;
use CliTest;
use PgFreezeTest;
use PostgreSQL::Test::Utils;
use Restore;
use Test::More;

my $source = new_source('source', conf => "shared_preload_libraries = 'pg_freeze'\n");

start_load($source);

# A server of the copy, with what is in the folder of labels.
sub restored
{
	my ($what, $copy, $labels, $frozen) = @_;
	my $node = restore($what, $copy, label => slurp_file("$labels/backup_label"), map => slurp_file("$labels/tablespace_map"),
		archive => $source->archive_dir, conf => "recovery_target = 'immediate'\nrecovery_target_action = 'promote'\n");

	same_content(content($node), $frozen, "$what: exactly what was frozen");
	is(files_match($node, $copy), '', "$what: the files outside and the rows go together");
	is((try_sql($node, q{INSERT INTO app.events (client, note) VALUES (0, 'later')}, user => 'app'))[0], '', "$what: the application can use it");
	sound($node, $what);
	return;
}

# --- run ------------------------------------------------------------------------------

{
	my $labels = PostgreSQL::Test::Utils::tempdir('labels');
	my ($command, $file) = waiting_command(0);

	append_to_file("$labels/$_", 'of an earlier backup') foreach qw(backup_label tablespace_map);
	my $run = start_cli($source, 'run', '--cluster', '--backup', 'nightly', '--checkpoint', 'fast', '--timeout', '5min', '--output', $labels, '--', @$command);

	await_file($file, $run);
	my $frozen = content($source);
	my $copy = copy_files($source);
	same_content(content($source), $frozen, 'run: nothing is committed while COMMAND runs');
	is(join(' ', map { s{.*/}{}r } glob "$labels/*"), '', 'run: while COMMAND runs there is no label, that of an earlier backup neither');
	let_go($file);
	my ($status, undef, $err) = finish_cli($run);
	is($status, 0, 'run: it held') || diag($err);
	load_goes_on($source);
	restored('run', $copy, $labels, $frozen);
}

# --- two commands ---------------------------------------------------------------------

{
	my $labels = PostgreSQL::Test::Utils::tempdir('labels');
	my ($status, undef, $err) = cli($source, 'backup-begin', '--cluster', '--checkpoint', 'fast', '--timeout', '5min', '--label', 'hooks');

	is($status, 0, 'hooks: begun') || diag($err);
	my $frozen = content($source);
	my $copy = copy_files($source);
	($status, undef, $err) = cli($source, 'backup-end', '--label', 'hooks', '--output', $labels);
	is($status, 0, 'hooks: it held') || diag($err);
	load_goes_on($source);
	restored('hooks', $copy, $labels, $frozen);
}

stop_load($source);
unlike(slurp_file($source->logfile), qr/PANIC|TRAP|XX000/, 'nothing strange is in the log');
done_testing();
